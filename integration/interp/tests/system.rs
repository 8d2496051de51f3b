//! What vectors cannot show: translation, interrupts, reservations, changed code, both widths.
//! Small programs, on a machine of a megabyte.

mod common;

use interp::{Cpu, CpuBus, Exit, RamRegion};
use vm_memory::Bytes;

use common::*;

#[test]
fn walk_sets_reference_and_change() {
    let mut ram = Vec::new();
    // ld r5,0(r3); std r5,8(r3)
    let mut bench = bench(&mut ram, &[0xe8a3_0000, 0xf8a3_0008, END]);
    bench.map(KERNEL, CODE, PRIVILEGED | READ_WRITE | EXECUTE);
    bench.registers(|r| {
        r.msr = SF | ME | IR_DR;
        r.pc = KERNEL;
        r.gpr[3] = KERNEL + 0x100;
    });
    bench.write(CODE + 0x100, 0x1234);
    let after = bench.run();
    assert_eq!((after.gpr[5], bench.read(CODE + 0x108)), (0x1234, 0x1234));
    assert_eq!(bench.read(LEAF) & 0x180, 0x180);
}

/// DSISR tells what was missing, DAR where (Power ISA 3.0B, Book III §6.5.3).
#[test]
fn faults_tell_their_cause() {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[0xf8a3_0000, END]);
    bench.map(KERNEL, CODE, PRIVILEGED | 4 | EXECUTE);
    for (ea, vector, dsisr) in [
        (KERNEL + 0x100, 0x300, 0x0a00_0000),
        (KERNEL + 0x2_0000, 0x300, 0x4200_0000),
        (0x4000_0000_0000_0000, 0x380, 0),
    ] {
        bench.registers(|r| {
            (r.msr, r.pc, r.gpr[3], r.dsisr) = (SF | ME | IR_DR, KERNEL, ea, 0);
        });
        let after = bench.run();
        assert_eq!((after.pc, after.dar, after.dsisr), (vector + 4, ea, dsisr));
        assert_eq!((after.srr0, after.msr & IR_DR), (KERNEL, 0));
    }
}

#[test]
fn users_cannot_have_the_kernels_pages() {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[END]);
    bench.map(KERNEL, CODE, PRIVILEGED | READ_WRITE | EXECUTE);
    bench.registers(|r| (r.msr, r.pc) = (SF | ME | PR, KERNEL));
    let after = bench.run();
    assert_eq!((after.pc, after.srr1 & 0x0800_0000), (0x404, 0x0800_0000));
}

/// "`tlbie`" drops what was translated: the page is gone only then.
#[test]
fn tlbie_forgets_a_translation() {
    let mut ram = Vec::new();
    // ld r5,0(r3); sc 1; tlbie r4,0 (R = 1, PRS = 1); ld r5,0(r3)
    let words = [0xe8a3_0000, END, 0x7c03_2264, 0xe8a3_0000, END];
    let mut bench = bench(&mut ram, &words);
    bench.map(KERNEL, CODE, PRIVILEGED | READ_WRITE | EXECUTE);
    bench.registers(|r| {
        (r.msr, r.pc, r.gpr[3]) = (SF | ME | 1 << 4, CODE, KERNEL + 0x100);
        // A page of 64 KiB.
        r.gpr[4] = KERNEL | 5 << 5;
    });
    assert_eq!(bench.run().pc, CODE + 8);
    bench.write(LEAF, 0);
    let after = bench.run();
    assert_eq!((after.pc, after.srr0), (0x304, CODE + 12));
}

#[test]
fn interrupts_wait_for_ee() {
    let mut ram = Vec::new();
    // nop; mtmsrd r3,1; nop
    let mut bench = bench(&mut ram, &[0x6000_0000, 0x7c61_0164, 0x6000_0000, END]);
    bench.board.external.set(true);
    bench.registers(|r| r.gpr[3] = EE);
    let after = bench.run();
    assert_eq!((after.pc, after.srr0), (0x504, CODE + 8));
}

#[test]
fn decrementer_interrupts_below_zero() {
    let mut ram = Vec::new();
    // mtdec r3; mtmsrd r4,1; b .
    let mut bench = bench(&mut ram, &[0x7c76_03a6, 0x7c81_0164, 0x4800_0000]);
    bench.registers(|r| (r.gpr[3], r.gpr[4]) = (100, EE));
    let after = bench.run();
    assert_eq!((after.pc, after.srr0), (0x904, CODE + 8));
}

/// LPCR.LD is 0: the decrementer has 32 bits (Book III chapter 7), as `ibm,dec-bits` says.
#[test]
fn the_decrementer_has_32_bits() {
    let mut ram = Vec::new();
    // mtdec r3; mfdec r5
    let mut bench = bench(&mut ram, &[0x7c76_03a6, 0x7cb6_02a6, END]);
    bench.registers(|r| r.gpr[3] = 0x7_c000_0000);
    let left = bench.run().gpr[5] as i32;
    assert!((-0x4000_0008..=-0x4000_0000).contains(&left), "{left:#x}");
    assert!(bench.cpu.interrupt_is_pending(&bench.board));
}

/// Interrupts with translation on go to 0xc000_0000_0000_4000 and keep it on, if LPCR.AIL is 3.
#[test]
fn ail_3_keeps_translation() {
    let mut ram = Vec::new();
    // sc
    let mut bench = bench(&mut ram, &[0x4400_0002]);
    bench.map(KERNEL, 0, PRIVILEGED | READ_WRITE | EXECUTE);
    bench.write(0x4c00, u64::from(END) << 32);
    bench.write(0x8000, 0x4400_0002 << 32);
    bench.cpu.set_interrupt_location(3);
    bench.registers(|r| (r.msr, r.pc) = (SF | ME | IR_DR, KERNEL + 0x8000));
    let after = bench.run();
    assert_eq!(after.pc, KERNEL + 0x4c04);
    assert_eq!((after.srr0, after.msr & IR_DR), (KERNEL + 0x8004, IR_DR));
}

/// A store conditional succeeds once, and only where the reserved value still is.
#[test]
fn reservations() {
    let mut ram = Vec::new();
    // ldarx r5,0,r3; [std r6,0(r3)]; stdcx. r4,0,r3; mfcr r7; stdcx. r4,0,r3; mfcr r8
    let words = [0x7ca0_18a8, 0x6000_0000, 0x7c80_19ad, 0x7ce0_0026, 0x7c80_19ad, 0x7d00_0026, END];
    let mut bench = bench(&mut ram, &words);
    bench.registers(|r| (r.gpr[3], r.gpr[4], r.gpr[6]) = (0x2_0000, 7, 9));
    let after = bench.run();
    assert_eq!((after.gpr[7] >> 28, after.gpr[8] >> 28), (2, 0));
    assert_eq!(bench.read(0x2_0000), 7);

    let mut changed = words;
    changed[1] = 0xf8c3_0000;
    let mut ram = Vec::new();
    let mut bench = self::bench(&mut ram, &changed);
    bench.registers(|r| (r.gpr[3], r.gpr[4], r.gpr[6]) = (0x2_0000, 7, 9));
    assert_eq!(bench.run().gpr[7] >> 28, 0);
    assert_eq!(bench.read(0x2_0000), 9);
}

/// Code that was executed and is stored over is what was stored, after `isync`.
#[test]
fn changed_code_is_decoded_again() {
    let mut ram = Vec::new();
    // bl +20; stw r4,24(r3); icbi 0,r3; isync; bl +8; sc 1; (+24:) li r5,1; blr
    let words = [
        0x4800_0019,
        0x9083_0018,
        0x7c00_1fac,
        0x4c00_012c,
        0x4800_0009,
        END,
        0x38a0_0001,
        0x4e80_0020,
    ];
    let mut bench = bench(&mut ram, &words);
    // addi r5,r5,41
    bench.registers(|r| (r.gpr[3], r.gpr[4]) = (CODE, 0x38a5_0029));
    assert_eq!(bench.run().gpr[5], 42);
}

/// In 32-bit mode the upper halves of addresses, of CTR and of compared results do not count.
#[test]
fn narrow_mode() {
    let mut ram = Vec::new();
    // lwz r5,0(r3); add. r6,r4,r4; mfcr r7; bdnz .-12
    let words = [0x80a3_0000, 0x7cc4_2215, 0x7ce0_0026, 0x4200_fff4, END];
    let mut bench = bench(&mut ram, &words);
    bench.write(0x2_0000, 0x1234_5678_0000_0000);
    bench.registers(|r| {
        r.msr = ME;
        r.gpr[3] = 0xffff_ffff_0002_0000;
        r.gpr[4] = 0x1_4000_0000;
        r.ctr = 0x1_0000_0001;
    });
    let after = bench.run();
    assert_eq!((after.gpr[5], after.gpr[7] >> 28), (0x1234_5678, 8));
    assert_eq!(after.ctr, 0x1_0000_0000);
}

/// A step is one instruction: along, to another place of the page, to another page, and nowhere.
#[test]
fn steps() {
    let mut ram = Vec::new();
    // nop; b +8; -; mtctr r3; bctr
    let words = [0x6000_0000, 0x4800_0008, 0, 0x7c69_03a6, 0x4e80_0420];
    let mut bench = bench(&mut ram, &words);
    bench.registers(|r| r.gpr[3] = 0x2_0000);
    bench.board.ram.write_obj(0x4800_0000u32.to_be(), 0x2_0000).unwrap();
    for pc in [CODE + 4, CODE + 12, CODE + 16, 0x2_0000, 0x2_0000] {
        assert!(bench.cpu.step(&bench.board).is_none());
        assert_eq!(bench.cpu.registers().pc, pc);
    }
    assert_eq!(bench.cpu.instructions(), 5);
    // Other code at the same place.
    bench.board.ram.write_obj(0x6000_0000u32.to_be(), 0x2_0000).unwrap();
    assert!(bench.cpu.step(&bench.board).is_none());
    assert_eq!(bench.cpu.registers().pc, 0x2_0004);
}

/// Those who debug are told the address, the word and its disassembly.
#[test]
fn what_is_not_there_is_said() {
    let mut ram = Vec::new();
    // dadd f1,f2,f3
    let mut bench = bench(&mut ram, &[0xec22_1804]);
    bench.cpu.stop_at_unimplemented(true);
    let Exit::Unimplemented(what) = bench.cpu.run(&bench.board, 100) else { panic!() };
    assert_eq!((what.word, what.registers.pc), (0xec22_1804, CODE));
    assert_eq!(what.disassembly, "dadd f1,f2,f3");
}

#[test]
fn missing_vectors_end_the_run() {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[END]);
    bench.cpu.set_interrupt_location(3);
    bench.registers(|r| (r.msr, r.pc) = (SF | ME | IR_DR, KERNEL));
    assert!(matches!(bench.cpu.run(&bench.board, 100), Exit::Stuck(_)));
}

/// Quadrant 0 is the process's, whoever executes there: another process has other code, or none.
#[test]
fn a_kernel_at_user_addresses_notices_another_process() {
    const USER: u64 = 0x1000_0000;
    let mtpid = |register: u32| 31 << 26 | register << 21 | 16 << 16 | 1 << 11 | 467 << 1;
    let mut ram = Vec::new();
    // mtpid r5; sc 1; mtpid r4; isync; nop; sc 1
    let words = [mtpid(5), END, mtpid(4), 0x4c00_012c, 0x6000_0000, END];
    let mut bench = bench(&mut ram, &words);
    bench.map(USER, CODE, PRIVILEGED | READ_WRITE | EXECUTE);
    bench.registers(|r| (r.gpr[4], r.gpr[5]) = (2, 1));
    assert_eq!(bench.run().pc, CODE + 8);
    bench.registers(|r| (r.msr, r.pc) = (SF | ME | 1 << 5, USER + 8));
    let after = bench.run();
    // Process 2 has no tree.
    assert_eq!((after.pc, after.srr0), (0x404, USER + 16));
}

#[test]
fn cpus_can_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Cpu>();
}

/// A program that is not in memory yet may lie where the vector for that would: it is fetched, and
/// nothing is stuck.
#[test]
fn a_page_fault_at_the_offset_of_a_vector_is_one() {
    for pc in [0x1000_0400, 0x1000_0480] {
        let mut ram = Vec::new();
        let mut bench = bench(&mut ram, &[]);
        bench.registers(|r| {
            (r.pc, r.srr0) = (pc, pc);
            r.msr = SF | ME | PR | IR_DR;
        });
        let registers = bench.run();
        assert_eq!(registers.srr0, pc);
        assert!([0x404, 0x484].contains(&registers.pc), "{:#x}", registers.pc);
    }
}

/// Where there is no instruction at the vector, nothing can ever come.
#[test]
fn a_vector_without_memory_is_stuck() {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[]);
    bench.cpu.set_interrupt_location(3);
    bench.registers(|r| r.msr = SF | ME | IR_DR);
    let exit = bench.cpu.run(&bench.board, 10_000);
    assert!(matches!(exit, Exit::Stuck(_)), "{exit:?}");
}

/// A host may be away for longer than DEC has bits.
#[test]
fn a_decrementer_is_due_however_late_it_is() {
    struct Late<'a>(Board<'a>, u64);
    impl CpuBus for Late<'_> {
        fn ram(&self) -> &[RamRegion<'_>] {
            &self.0.regions
        }
        fn timebase(&self, _: u64) -> u64 {
            self.1
        }
    }
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[END]);
    bench.run();
    let mut late = Late(bench.board, 0);
    for ticks in [0x7fff_0000_u64, 0x8001_0000, 0xffff_ffff, 0x1_8000_0000, 0x7_0000_0000] {
        late.1 = ticks;
        let due = ticks > 0x8000_0000;
        assert_eq!(bench.cpu.interrupt_is_pending(&late), due, "{ticks:#x}");
    }
}
