//! What is not there, not available or not for users is the interrupt that the architecture names
//! (Power ISA 3.0B, Book III §6.5.9 and the facility unavailable interrupt), and never the end of
//! the machine.

mod common;

use common::*;
use interp::{Exit, Level, Registers};
use vm_memory::Bytes;
use vm_memory::bitmap::Bitmap;

const USER: u64 = 0x1_0000_0000;
const FP: u64 = 1 << 13;
const VEC_VSX: u64 = 1 << 25 | 1 << 23;

const PROGRAM: u64 = 0x700;
const FACILITY: u64 = 0xf60;
const ILLEGAL: u64 = 1 << 19;
const PRIVILEGED_INSTRUCTION: u64 = 1 << 18;

/// Executes one word as a user, or as a kernel.
fn execute(word: u32, msr: u64, set: impl FnOnce(&mut Registers)) -> Registers {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[word, END]);
    bench.map(USER, CODE, READ_WRITE | EXECUTE);
    bench.registers(|r| {
        r.msr = SF | ME | msr;
        r.pc = if msr & PR != 0 { USER } else { CODE };
        set(r);
    });
    bench.run()
}

/// The vector, without the end that is there, and what SRR1 tells of a program interrupt.
fn interrupt(after: &Registers) -> (u64, u64) {
    (after.pc - 4, after.srr1 & (ILLEGAL | PRIVILEGED_INSTRUCTION))
}

#[test]
fn a_users_instructions_never_end_the_machine() {
    for (name, word, vector, cause) in [
        ("no instruction", 0, PROGRAM, ILLEGAL),
        ("dadd", 0xec00_0004, PROGRAM, ILLEGAL),
        ("dsubq", 0xfc00_0404, PROGRAM, ILLEGAL),
        ("msgsndp", 0x7c00_011c, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("msgclrp", 0x7c00_015c, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("slbmte", 0x7c00_0324, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("slbie", 0x7c00_0364, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("slbieg", 0x7c00_03a4, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("slbsync", 0x7c00_02a4, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("slbmfev", 0x7c00_06a6, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("slbmfee", 0x7c00_0726, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("slbfee.", 0x7c00_07a7, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("slbia", 0x7c00_03e4, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("treclaim.", 0x7c00_075d, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("hrfid", 0x4c00_0224, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("stop", 0x4c00_02e4, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("tbegin.", 0x7c00_051d, FACILITY, 0),
        ("rfebb", 0x4c00_0124, FACILITY, 0),
        ("mfspr r3,BESCR", 0x7c66_caa6, FACILITY, 0),
    ] {
        let after = execute(word, PR, |_| ());
        assert_eq!(interrupt(&after), (vector, cause), "{name}: {:#x}", after.pc);
        assert_eq!(after.srr0, USER, "{name}");
    }
}

#[test]
fn a_kernel_gets_them_too() {
    for (name, word, vector, cause) in [
        ("no instruction", 0, PROGRAM, ILLEGAL),
        ("dadd", 0xec00_0004, PROGRAM, ILLEGAL),
        ("stop", 0x4c00_02e4, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("hrfid", 0x4c00_0224, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("lbzcix", 0x7c00_06aa, PROGRAM, PRIVILEGED_INSTRUCTION),
        ("tbegin.", 0x7c00_051d, FACILITY, 0),
        ("trechkpt.", 0x7c00_07dd, FACILITY, 0),
    ] {
        let after = execute(word, 0, |_| ());
        assert_eq!(interrupt(&after), (vector, cause), "{name}: {:#x}", after.pc);
    }
}

/// The other way round: the kernel of a guest that is debugged stops at either.
#[test]
fn who_debugs_can_stop_there() {
    for (word, stops) in [(0, [true, false]), (0xec00_0004, [true, true])] {
        for (msr, stops) in [0, PR].into_iter().zip(stops) {
            let mut ram = Vec::new();
            let mut bench = bench(&mut ram, &[word]);
            bench.map(USER, CODE, READ_WRITE | EXECUTE);
            bench.cpu.stop_at_unimplemented(true);
            bench.registers(|r| {
                r.msr = SF | ME | msr;
                r.pc = if msr == PR { USER } else { CODE };
            });
            let exit = bench.cpu.run(&bench.board, 100);
            let stopped = matches!(exit, Exit::Unimplemented(_));
            assert_eq!(stopped, stops, "{word:#x} {msr:#x}: {exit:?}");
        }
    }
}

/// No vector of this guest holds an instruction: it ends, and does not spin.
#[test]
fn a_vector_that_is_no_instruction_is_stuck() {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[0]);
    bench.board.ram.write_obj(0u32, PROGRAM as usize).unwrap();
    let exit = bench.cpu.run(&bench.board, 10_000);
    let Exit::Stuck(stuck) = exit else { panic!("{exit:?}") };
    assert_eq!((stuck.registers.pc, bench.cpu.instructions()), (PROGRAM, 2));
}

/// Two of them that lead to each other are for ever, but not for the machine.
#[test]
fn an_endless_chain_of_interrupts_spends_the_budget() {
    let mut ram = Vec::new();
    // At 0x700: scv 0, which goes to 0x17000, where there is no instruction.
    let mut bench = bench(&mut ram, &[0]);
    bench.board.ram.write_obj(0x4400_0001u32.to_be(), PROGRAM as usize).unwrap();
    let exit = bench.cpu.run(&bench.board, 10_000);
    assert!(matches!(exit, Exit::Budget), "{exit:?}");
    assert!(bench.cpu.instructions() >= 10_000);
}

/// A kernel needs no bit of FSCR (Book III §6.2).
#[test]
fn fscr_is_for_problem_state() {
    // mfspr r3,TAR; mfspr r3,DSCR (3); mfspr r3,BESCR; bctar 20,0; rfebb 0; scv 0
    let words = [0x7c6f_caa6, 0x7c63_02a6, 0x7c66_caa6, 0x4e80_0460, 0x4c00_0124, 0x4400_0001];
    for word in words {
        assert_eq!(interrupt(&execute(word, PR, |_| ())), (FACILITY, 0), "{word:08x}");
        let mut ram = Vec::new();
        let mut bench = bench(&mut ram, &[word, END]);
        // Where those that branch get to: TAR, EBBRR, the vector of scv.
        for at in [0, 0x1_7000] {
            bench.board.ram.write_obj(END.to_be(), at).unwrap();
        }
        let after = bench.run();
        assert!([CODE + 8, 4, 0x1_7004].contains(&after.pc), "{word:08x}: {:#x}", after.pc);
    }
}

/// An instruction that ends in an interrupt for what is not available, not permitted or not
/// aligned has done nothing. Those that access storage in parts may have done some of them.
#[test]
fn an_interrupt_leaves_the_registers() {
    // lmw, stmw, lswi, lswx, and what stores the time.
    let in_parts = |word: u32| {
        matches!(word >> 26, 46 | 47) || word >> 26 == 31 && matches!(word >> 1 & 0x3ff, 533 | 597)
    };
    let mut random = Random(3);
    let mut interrupts = 0;
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[0, END]);
    bench.map(USER, CODE, READ_WRITE | EXECUTE);
    for round in 0..100_000 {
        let primary = [4, 17, 19, 31, 31, 57, 60, 61, 63, random.next() as u32 & 63];
        let word = random.next() as u32 & 0x03ff_ffff | primary[round % 10] << 26;
        if in_parts(word) {
            continue;
        }
        bench.board.ram.write_obj(word.to_be(), CODE as usize).unwrap();
        // The page is dropped as if another had written there.
        bench.board.pages.mark_dirty(CODE as usize, 4);
        let on = [0, FP, VEC_VSX, FP | VEC_VSX][random.next() as usize % 4];
        let before = Registers {
            gpr: std::array::from_fn(|_| random.next()),
            vsr: std::array::from_fn(|_| u128::from(random.next()) << 64 | 7),
            pc: USER,
            msr: SF | ME | PR | EE | IR_DR | on,
            lr: random.next(),
            ctr: random.next(),
            cr: random.next() as u32,
            xer: random.next() & 0xe00c_0000,
            ..Registers::default()
        };
        bench.cpu.set_registers(&before);
        let exit = bench.cpu.step(&bench.board);
        assert!(exit.is_none(), "{word:08x}: {exit:?}");
        let after = bench.cpu.registers();
        // Of interrupts, the system call has completed, and the others are where it was.
        if after.msr & PR != 0 || after.srr0 != USER || [0xc00, 0x1_7000].contains(&after.pc) {
            continue;
        }
        interrupts += 1;
        let same = Registers {
            pc: after.pc,
            msr: after.msr,
            srr0: after.srr0,
            srr1: after.srr1,
            dar: after.dar,
            dsisr: after.dsisr,
            ..before
        };
        assert_eq!(after, same, "{word:08x}");
    }
    assert!(interrupts > 10_000, "{interrupts}");
}

/// Book III §2.5, PCR, "v2.07": "the availability, in problem state, of [what is] newly available" since
/// then. A kernel is not held to it.
#[test]
fn a_program_that_is_held_to_version_2_07_has_nothing_newer() {
    let run = |word: u32, msr: u64, level: Level| {
        let mut ram = Vec::new();
        let mut bench = bench(&mut ram, &[word, END]);
        bench.map(USER, CODE, READ_WRITE | EXECUTE);
        bench.cpu.set_level(level);
        bench.registers(|r| {
            r.msr = SF | ME | FP | VEC_VSX | msr;
            r.pc = if msr & PR != 0 { USER } else { CODE };
            r.gpr[4] = 8;
            r.fpscr = 0x9200_0000;
        });
        bench.run()
    };
    for (name, word) in [
        ("cnttzd r3,r4", 0x7c83_0474),
        ("modsd r3,r4,r4", 0x7c64_2612),
        ("setb r3,cr0", 0x7c60_0100),
        ("maddld r3,r4,r4,r4", 0x1064_2133),
        ("darn r3,1", 0x7c61_05e6),
        ("mtvsrdd vs0,r4,r4", 0x7c04_2366),
        ("vnegw v0,v0", 0x1006_0602),
        ("cp_abort", 0x7c00_068c),
        ("xsabsqp v0,v0", 0xfc00_0648),
    ] {
        let held = run(word, PR, Level::V2_07);
        assert_eq!(interrupt(&held), (PROGRAM, ILLEGAL), "{name}");
        assert_eq!((held.srr0, held.gpr[3]), (USER, 0), "{name}");
        // An instruction of the architecture that comes next is not the end of the bench.
        let free = run(word, PR, Level::V3_0);
        assert_ne!(interrupt(&free), (PROGRAM, ILLEGAL), "{name}");
        let kernel = run(word, 0, Level::V2_07);
        assert_ne!(interrupt(&kernel), (PROGRAM, ILLEGAL), "{name}");
    }
    for (name, word) in
        [("popcntd r3,r4", 0x7c83_03f4), ("xxlxor vs0,vs0,vs0", 0xf000_04d0), ("nop", 0x6000_0000)]
    {
        let after = run(word, PR, Level::V2_07);
        assert_ne!(interrupt(&after), (PROGRAM, ILLEGAL), "{name}");
    }
    // mffsl f0: a form of mffs, before it had a name.
    let shown = |level| (run(0xfc18_048e, PR, level).vsr[0] >> 64) as u64;
    assert_eq!(shown(Level::V2_07) & 0xffff_ffff, 0x9200_0000);
    assert_ne!(shown(Level::V3_0) & 0xffff_ffff, 0x9200_0000);
}
