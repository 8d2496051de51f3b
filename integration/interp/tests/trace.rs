//! Trace interrupts (Power ISA 3.0B, Book III): what single steps of a debugger are.

mod common;

use common::*;
use vm_memory::Bytes;

const SE: u64 = 1 << 10;
const BE: u64 = 1 << 9;
const NOP: u32 = 0x6000_0000;
const TRACED: u64 = 1 << 30;
const LOAD: u64 = 1 << 28;
const STORE: u64 = 1 << 27;
const CAUSE: u64 = 0x783f_0000;

/// Runs a program in a traced state to its first interrupt: the vector, SRR0 from the start on,
/// and the cause in SRR1.
fn first(words: &[u32], msr: u64) -> (u64, u64, u64) {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, words);
    bench.registers(|r| {
        r.msr = SF | ME | msr;
        (r.gpr[3], r.gpr[4], r.ctr) = (0x2_0000, SF | ME, 2);
        r.lr = CODE + 0x40;
        (r.srr0, r.srr1) = (CODE + 0x80, SF | ME | msr);
    });
    let after = bench.run();
    (after.pc - 4, after.srr0 - CODE, after.srr1 & CAUSE)
}

#[test]
fn each_instruction_is_traced_when_it_has_completed() {
    for (name, word, next, access) in [
        ("nop", NOP, 4, 0),
        ("addi r5,r5,1", 0x38a5_0001, 4, 0),
        ("lwz r5,0(r3)", 0x80a3_0000, 4, LOAD),
        ("ldarx r5,0,r3", 0x7ca0_18a8, 4, LOAD),
        ("lvsl v1,0,r3", 0x7c20_180c, 4, 0),
        ("stw r5,0(r3)", 0x90a3_0000, 4, STORE),
        ("dcbz 0,r3", 0x7c00_1fec, 4, STORE),
        ("b .+16", 0x4800_0010, 16, 0),
        ("bdnz .+8", 0x4200_0008, 8, 0),
        ("blr", 0x4e80_0020, 0x40, 0),
        ("isync", 0x4c00_012c, 4, 0),
        // What counts is MSR.SE before the instruction: this one sets it to 0.
        ("mtmsrd r4", 0x7c80_0164, 4, 0),
        ("mtdec r5", 0x7cb6_03a6, 4, 0),
    ] {
        let traced = first(&[word], SE | 1 << 25);
        assert_eq!(traced, (0xd00, next, TRACED | access), "{name}");
    }
}

/// A system call, a trap that traps and what else is another interrupt.
#[test]
fn what_does_not_complete_is_not_traced() {
    // sc; trap; no instruction; ld r5,1(r3) outside RAM
    for (word, vector, at) in [(0x4400_0002, 0xc00, 4), (0x7fe0_0008, 0x700, 0), (0, 0x700, 0)] {
        let (to, from, cause) = first(&[word], SE);
        assert_eq!((to, from, cause & TRACED), (vector, at, 0), "{word:08x}");
    }
}

/// `rfid` is not traced; what it leads to is, if it sets the bit.
#[test]
fn return_leads_to_a_step() {
    let mut words = [NOP; 40];
    words[0] = 0x4c00_0024;
    assert_eq!(first(&words, SE), (0xd00, 0x84, TRACED));
    // mtmsrd r5 sets the bit: the instruction behind it is the first.
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[0x7ca0_0164, NOP, NOP]);
    bench.registers(|r| r.gpr[5] = SF | ME | SE);
    let after = bench.run();
    assert_eq!((after.pc, after.srr0), (0xd04, CODE + 8));
}

#[test]
fn branches_are_traced_taken_or_not() {
    // nop; nop; b .+8; -; nop; bt 2,.+8; nop
    let words = [NOP, NOP, 0x4800_0008, 0, NOP, 0x4182_0008, NOP];
    assert_eq!(first(&words, BE), (0xd00, 0x10, TRACED));
    assert_eq!(first(&words[4..], BE), (0xd00, 8, TRACED));
}

/// The interrupt that waited comes behind the trace interrupt, which clears EE.
#[test]
fn trace_comes_before_what_waited() {
    let mut ram = Vec::new();
    // mtmsrd r5,1
    let mut bench = bench(&mut ram, &[0x7ca1_0164]);
    bench.board.external.set(true);
    bench.registers(|r| (r.msr, r.gpr[5]) = (SF | ME | SE, EE));
    let after = bench.run();
    assert_eq!((after.pc, after.srr0), (0xd04, CODE + 4));
    assert_eq!(after.srr1 & EE, EE);
}

/// A handler that returns steps through a program: each program counter once, across a page.
#[test]
fn a_handler_steps_through_a_program() {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[]);
    // The handler keeps SRR0 behind r6 and returns: mfsrr0 r7; stdu r7,8(r6); rfid
    for (at, word) in (0xd00..).step_by(4).zip([0x7cfa_02a6u32, 0xf8e6_0009, 0x4c00_0024]) {
        bench.board.ram.write_obj(word.to_be(), at).unwrap();
    }
    // Two at the end of a page, three on the next: bdnz back to the first, sc 1.
    let start = CODE + 0xff8;
    for (at, word) in (start as usize..).step_by(4).zip([NOP, NOP, NOP, 0x4200_fff4, END]) {
        bench.board.ram.write_obj(word.to_be(), at).unwrap();
    }
    bench.registers(|r| {
        (r.pc, r.ctr, r.gpr[6]) = (start, 2, 0x2_0000);
        r.msr = SF | ME | SE;
    });
    let after = bench.run();
    assert_eq!((after.pc, after.ctr), (start + 20, 0));
    let steps = [4, 8, 12, 0, 4, 8, 12, 16].map(|offset| start + offset);
    assert_eq!(after.gpr[6], 0x2_0000 + 8 * steps.len() as u64);
    for (number, step) in steps.iter().enumerate() {
        assert_eq!(bench.read(0x2_0008 + 8 * number as u64), *step, "step {number}");
    }
}
