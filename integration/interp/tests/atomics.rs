//! Atomic memory operations, quadword reservations and copies (Power ISA 3.0B, Book II §4.4 to
//! §4.6).

mod common;

use common::*;
use interp::Registers;

const AT: u64 = 0x2_0010;
/// r4 = lwat, ldat of r3; stwat, stdat of r4 to r3.
const LWAT: u32 = 31 << 26 | 4 << 21 | 3 << 16 | 582 << 1;
const LDAT: u32 = 31 << 26 | 4 << 21 | 3 << 16 | 614 << 1;
const STWAT: u32 = 31 << 26 | 4 << 21 | 3 << 16 | 710 << 1;
const STDAT: u32 = 31 << 26 | 4 << 21 | 3 << 16 | 742 << 1;

/// Executes one word where three doublewords are given around [`AT`]; the registers, and the
/// doublewords after it. r5 and r6 are the operands.
fn execute(word: u32, memory: [u64; 3], set: impl FnOnce(&mut Registers)) -> (Registers, [u64; 3]) {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[word, END]);
    let places = [AT - 8, AT, AT + 8];
    for (at, value) in places.into_iter().zip(memory) {
        bench.write(at, value);
    }
    bench.registers(|r| {
        r.gpr[3] = AT;
        set(r);
    });
    let after = bench.run();
    (after, places.map(|at| bench.read(at)))
}

/// The table of function codes, what it does to a doubleword: code, operands, memory before, what
/// is loaded, memory after.
#[test]
fn functions_of_two_places_or_operands() {
    const LEAST: u64 = 1 << 63;
    for (what, code, [r5, r6], before, loaded, after) in [
        ("compare and swap not equal", 16, [1, 9], [0, 2, 0], 2, [0, 9, 0]),
        ("and equal", 16, [2, 9], [0, 2, 0], 2, [0, 2, 0]),
        ("increment bounded", 24, [0; 2], [7, 2, 4], 2, [7, 3, 4]),
        ("at its bound", 24, [0; 2], [7, 4, 4], LEAST, [7, 4, 4]),
        ("increment equal", 25, [0; 2], [7, 4, 4], 4, [7, 5, 4]),
        ("not equal", 25, [0; 2], [7, 2, 4], LEAST, [7, 2, 4]),
        ("decrement bounded", 28, [0; 2], [1, 0, 4], 0, [1, u64::MAX, 4]),
        ("at its bound", 28, [0; 2], [2, 2, 4], LEAST, [2, 2, 4]),
    ] {
        let set = |r: &mut Registers| (r.gpr[5], r.gpr[6]) = (r5, r6);
        let (registers, memory) = execute(LDAT | code << 11, before, set);
        assert_eq!(registers.pc, CODE + 8, "{what}");
        assert_eq!((registers.gpr[4], memory), (loaded, after), "{what}");
    }
}

/// Words: the upper halves of registers do not count, and are zero in what is loaded.
#[test]
fn functions_of_words() {
    let set = |r: &mut Registers| (r.gpr[5], r.gpr[6]) = (0xff_0000_0001, 0xee_0000_0009);
    let (registers, memory) = execute(LWAT | 16 << 11, [0, 1 << 32 | 5, 0], set);
    assert_eq!((registers.gpr[4], memory[1]), (1, 1 << 32 | 5));
    let (registers, memory) = execute(LWAT | 16 << 11, [0, 2 << 32 | 5, 0], set);
    assert_eq!((registers.gpr[4], memory[1]), (2, 9 << 32 | 5));
    let (registers, memory) = execute(LWAT | 24 << 11, [0, 0xffff_ffff << 32 | 5, 0], set);
    assert_eq!((registers.gpr[4], memory[1]), (0xffff_ffff, 5));
    let (registers, memory) = execute(LWAT | 24 << 11, [0, 5 << 32 | 5, 0], set);
    assert_eq!((registers.gpr[4], memory[1]), (0x8000_0000, 5 << 32 | 5));
    let (registers, memory) = execute(LWAT | 28 << 11, [6, 5 << 32, 0], set);
    assert_eq!((registers.gpr[4], memory[1]), (5, 4 << 32));
    // max and min of signed words
    for (code, after) in [(5, 1), (7, 0xffff_fff0)] {
        let (registers, memory) = execute(LWAT | code << 11, [0, 0xffff_fff0 << 32, 0], set);
        assert_eq!((registers.gpr[4], memory[1] >> 32), (0xffff_fff0, after));
    }
}

/// Store twin: both places get RS if they hold the same.
#[test]
fn store_twin() {
    let set = |r: &mut Registers| r.gpr[4] = 0x1_0000_0009;
    assert_eq!(execute(STDAT | 24 << 11, [7, 5, 5], set).1, [7, 0x1_0000_0009, 0x1_0000_0009]);
    assert_eq!(execute(STDAT | 24 << 11, [5, 5, 6], set).1, [5, 5, 6]);
    assert_eq!(execute(STWAT | 24 << 11, [7, 5 << 32 | 5, 5], set).1, [7, 9 << 32 | 9, 5]);
    assert_eq!(execute(STWAT | 24 << 11, [7, 5 << 32 | 6, 5], set).1, [7, 5 << 32 | 6, 5]);
}

/// DSISR names the cause, and a store even where the instruction loads.
#[test]
fn other_functions_are_data_storage_interrupts() {
    let codes = |word: u32, known: &[u32]| {
        for code in 0..32 {
            let (registers, memory) = execute(word | code << 11, [1, 2, 3], |_| ());
            let wanted = if known.contains(&code) { CODE + 8 } else { 0x304 };
            assert_eq!(registers.pc, wanted, "{word:08x} {code}");
            if wanted == 0x304 {
                assert_eq!((registers.dsisr, registers.dar, memory), (0x0200_0004, AT, [1, 2, 3]));
            }
        }
    };
    codes(LWAT, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 24, 25, 28]);
    codes(LDAT, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 24, 25, 28]);
    codes(STWAT, &[0, 1, 2, 3, 4, 5, 6, 7, 24]);
    codes(STDAT, &[0, 1, 2, 3, 4, 5, 6, 7, 24]);
}

/// Places that are not aligned, or in two blocks of 32 bytes.
#[test]
fn places_that_cannot_be_changed_at_once() {
    for (word, at) in [
        (LDAT, AT + 4),
        (LWAT, AT + 2),
        (LDAT | 24 << 11, AT + 8),
        (LDAT | 28 << 11, AT - 16),
        (STDAT | 24 << 11, AT + 8),
    ] {
        let (registers, memory) = execute(word, [5, 5, 5], |r| r.gpr[3] = at);
        assert_eq!((registers.pc, registers.dar), (0x604, at), "{word:08x} {at:#x}");
        assert_eq!(memory, [5, 5, 5]);
    }
}

/// lqarx r6,0,r3; stqcx. r8,0,r3
const LQARX: u32 = 31 << 26 | 6 << 21 | 3 << 11 | 276 << 1;
const STQCX: u32 = 31 << 26 | 8 << 21 | 3 << 11 | 182 << 1 | 1;

/// The even register is the upper half, in either byte order.
#[test]
fn quadwords_are_reserved() {
    for little in [false, true] {
        let order = |word: u32| if little { word.swap_bytes() } else { word };
        // What is between them decides: nothing, or a store of r10 to the second half.
        for (between, stored) in [(0x6000_0000, true), (0xf943_0008, false)] {
            let mut ram = Vec::new();
            let words = [LQARX, between, STQCX, END].map(order);
            let mut bench = bench(&mut ram, &words);
            bench.write(AT, 1);
            bench.write(AT + 8, 2);
            bench.registers(|r| {
                (r.gpr[3], r.gpr[8], r.gpr[9], r.gpr[10]) = (AT, 8, 9, 10);
                r.msr = SF | ME | u64::from(little);
            });
            let after = bench.run();
            let swap = |value: u64| if little { value.swap_bytes() } else { value };
            let pair = if little { (swap(2), swap(1)) } else { (1, 2) };
            assert_eq!((after.gpr[6], after.gpr[7]), pair);
            assert_eq!(after.cr >> 28, if stored { 2 } else { 0 });
            let memory = [swap(bench.read(AT)), swap(bench.read(AT + 8))];
            match (stored, little) {
                (true, false) => assert_eq!(memory, [8, 9]),
                (true, true) => assert_eq!(memory, [9, 8]),
                (false, _) => assert_eq!(memory, [swap(1), 10]),
            }
        }
    }
}

/// Another size, another place, and twice: a reservation is for one.
#[test]
fn a_quadword_reservation_is_for_one_store() {
    // stdcx. r8,0,r3; lqarx; stqcx. at r4; lqarx, stqcx., stqcx.
    let elsewhere = STQCX & !(31 << 11) | 4 << 11;
    for words in [
        [LQARX, 31 << 26 | 8 << 21 | 3 << 11 | 214 << 1 | 1, END, END],
        [LQARX, elsewhere, END, END],
        [LQARX, STQCX, STQCX, END],
    ] {
        let mut ram = Vec::new();
        let mut bench = bench(&mut ram, &words);
        bench.registers(|r| (r.gpr[3], r.gpr[4]) = (AT, AT + 16));
        let after = bench.run();
        assert_eq!(after.cr >> 28, 0, "{words:08x?}");
    }
    let (after, _) = execute(LQARX, [0; 3], |r| r.gpr[3] = AT + 8);
    assert_eq!((after.pc, after.dar), (0x604, AT + 8));
}

/// copy 0,r3; paste. 0,r3; cpabort: there is no accelerator, so nothing can be pasted to.
#[test]
fn copies_find_no_accelerator() {
    const COPY: u32 = 31 << 26 | 1 << 21 | 3 << 11 | 774 << 1;
    const PASTE: u32 = 31 << 26 | 1 << 21 | 3 << 11 | 902 << 1 | 1;
    const CPABORT: u32 = 31 << 26 | 838 << 1;
    for (word, at, pc, dsisr) in [
        (COPY, 0x2_0080, CODE + 8, 0),
        (COPY, AT, 0x604, 0),
        (COPY, 0x100_0000, 0x304, 8),
        (PASTE, 0x2_0080, 0x304, 0x0200_0008),
        (PASTE, AT, 0x604, 0),
        (PASTE, 0x100_0000, 0x304, 0x0200_0008),
        (CPABORT, 0, CODE + 8, 0),
    ] {
        let (after, _) = execute(word, [0; 3], |r| r.gpr[3] = at);
        assert_eq!((after.pc, after.dsisr), (pc, dsisr), "{word:08x} {at:#x}");
        if pc < CODE {
            assert_eq!(after.dar, at, "{word:08x}");
        }
    }
}
