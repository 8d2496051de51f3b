//! What the machine answers where there is no RAM belongs to the instruction that asked, which
//! completes once.

mod common;

use interp::Exit;

use common::*;

const DEVICE: u64 = 0x100_0000;

fn read_of(exit: Exit) -> (u64, usize) {
    match exit {
        Exit::MmioRead { address, bytes } => (address, bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_machine_answers_a_load_and_takes_a_store() {
    let mut ram = Vec::new();
    // lwz r5,0(r3); stw r5,4(r3)
    let mut bench = bench(&mut ram, &[0x80a3_0000, 0x90a3_0004, END]);
    bench.registers(|r| r.gpr[3] = DEVICE);
    assert_eq!(read_of(bench.cpu.run(&bench.board, 100)), (DEVICE, 4));
    // Until it is answered, it is asked.
    assert_eq!(read_of(bench.cpu.run(&bench.board, 100)), (DEVICE, 4));
    assert!(bench.cpu.complete_mmio([0, 0, 0, 5, 0, 0, 0, 0]).is_none());
    // No guest code was needed for that.
    assert_eq!((bench.cpu.gpr(5), bench.cpu.registers().pc), (5, CODE + 4));
    assert!(bench.cpu.complete_mmio([9; 8]).is_none());
    let exit = bench.cpu.run(&bench.board, 100);
    let Exit::MmioWrite { address, data, bytes } = exit else { panic!("{exit:?}") };
    assert_eq!((address, &data[..bytes]), (DEVICE + 4, &[0, 0, 0, 5][..]));
    bench.cpu.complete_mmio([0; 8]);
    assert_eq!(bench.run().pc, CODE + 12);
}

/// An interrupt comes before the load goes on; its handler reads the same register.
#[test]
fn an_answer_is_for_the_load_that_asked() {
    let mut ram = Vec::new();
    // lwz r5,0(r3)
    let mut bench = bench(&mut ram, &[0x80a3_0000, END]);
    // lwz r6,0(r3)
    bench.write(0x500, 0x80c3_0000 << 32 | u64::from(END));
    bench.registers(|r| (r.msr, r.gpr[3]) = (SF | ME | EE, DEVICE));
    read_of(bench.cpu.run(&bench.board, 100));
    bench.cpu.complete_mmio([0, 0, 0, 1, 0, 0, 0, 0]);
    bench.board.external.set(true);
    read_of(bench.cpu.run(&bench.board, 100));
    bench.cpu.complete_mmio([0, 0, 0, 2, 0, 0, 0, 0]);
    let after = bench.run();
    assert_eq!((after.gpr[5], after.gpr[6], after.srr0), (1, 2, CODE + 4));
}

/// A handler's store reaches the machine, and the one that it interrupted only once.
#[test]
fn every_store_reaches_the_machine_once() {
    let mut ram = Vec::new();
    // stw r5,0(r3); sc 1
    let mut bench = bench(&mut ram, &[0x90a3_0000, END]);
    // li r6,9; stw r6,0(r3); rfid
    bench.write(0x500, 0x38c0_0009 << 32 | 0x90c3_0000);
    bench.write(0x508, 0x4c00_0024 << 32);
    bench.registers(|r| (r.msr, r.gpr[3], r.gpr[5]) = (SF | ME | EE, DEVICE, 5));
    let mut written = Vec::new();
    loop {
        match bench.cpu.run(&bench.board, 100) {
            Exit::MmioWrite { address, data, bytes } => {
                assert_eq!((address, bytes), (DEVICE, 4));
                written.push(data[3]);
                bench.board.external.set(written.len() == 1);
            }
            Exit::Hypercall => break,
            other => panic!("{other:?}"),
        }
        bench.cpu.complete_mmio([0; 8]);
    }
    assert_eq!(written, [5, 9]);
}

/// A translation that goes away while the machine answers changes nothing.
#[test]
fn an_instruction_completes_without_its_translation() {
    let mut ram = Vec::new();
    // lxvd2x vs34,0,r3
    let mut bench = bench(&mut ram, &[0x7c40_1e99, END]);
    bench.map(KERNEL, DEVICE, PRIVILEGED | READ_WRITE);
    bench.registers(|r| (r.msr, r.gpr[3]) = (SF | ME | 1 << 4 | 1 << 23, KERNEL + 0x100));
    assert_eq!(read_of(bench.cpu.run(&bench.board, 100)), (DEVICE + 0x100, 8));
    bench.write(LEAF, 0);
    bench.cpu.set_process_table(None);
    let next = bench.cpu.complete_mmio([1; 8]).unwrap();
    assert_eq!(read_of(next), (DEVICE + 0x108, 8));
    assert!(bench.cpu.complete_mmio([2; 8]).is_none());
    assert_eq!(bench.run().vsr[34] >> 64, 0x0101_0101_0101_0101);
}

/// What is partly in RAM is accessed nowhere.
#[test]
fn the_end_of_ram_is_an_alignment_interrupt() {
    // ld r5,0(r3); std r5,0(r3); lxvx vs34,0,r3; stxvx vs34,0,r3; stxvw4x vs34,0,r3
    for word in [0xe8a3_0000, 0xf8a3_0000, 0x7c40_1a19, 0x7c40_1b19, 0x7c40_1f19] {
        let mut ram = Vec::new();
        let mut bench = bench(&mut ram, &[word, END]);
        let at = RAM_BYTES as u64 - 4;
        bench.registers(|r| (r.msr, r.gpr[3]) = (SF | ME | 1 << 23 | 1 << 25, at));
        let after = bench.run();
        assert_eq!((after.pc, after.srr0, after.dar), (0x604, CODE, at), "{word:#x}");
        assert_eq!(bench.read(RAM_BYTES as u64 - 8), 0);
    }
}

/// A step over an access is traced when the access is made.
#[test]
fn a_traced_access_is_traced_when_it_completes() {
    let mut ram = Vec::new();
    // lwz r5,0(r3)
    let mut bench = bench(&mut ram, &[0x80a3_0000, END]);
    bench.registers(|r| (r.msr, r.gpr[3]) = (SF | ME | 1 << 10, DEVICE));
    read_of(bench.cpu.run(&bench.board, 100));
    bench.cpu.complete_mmio([0, 0, 0, 5, 0, 0, 0, 0]);
    let after = bench.run();
    assert_eq!((after.pc, after.srr0, after.gpr[5]), (0xd04, CODE + 4, 5));
}
