//! Doorbells, event-based branches and the segment buffer (Power ISA 3.0B: Book II,
//! event-based branches; Book III, processor control and §5.9.3).

mod common;

use common::*;
use vm_memory::Bytes;
use vm_memory::bitmap::Bitmap;

/// msgsndp r3, msgclrp r3
const RING: u32 = 0x7c00_191c;
const SILENCE: u32 = 0x7c00_195c;
/// A directed privileged doorbell to thread 0.
const TO_THREAD_0: u64 = 5 << 27;

#[test]
fn a_doorbell_is_an_interrupt_where_ee_is_set() {
    for (message, msr, words, pc) in [
        (TO_THREAD_0, EE, [RING, END, END], 0xa04),
        (TO_THREAD_0, 0, [RING, END, END], CODE + 8),
        // mtmsrd r4,1: it has waited.
        (TO_THREAD_0, 0, [RING, 0x7c81_0164, END], 0xa04),
        (TO_THREAD_0, 0, [RING, SILENCE, END], CODE + 12),
        // Another type, another thread: it reaches nobody.
        (4 << 27, EE, [RING, END, END], CODE + 8),
        (TO_THREAD_0 | 1, EE, [RING, END, END], CODE + 8),
    ] {
        let mut ram = Vec::new();
        let mut bench = bench(&mut ram, &words);
        bench.registers(|r| {
            r.msr = SF | ME | msr;
            (r.gpr[3], r.gpr[4]) = (message, EE);
        });
        assert_eq!(bench.run().pc, pc, "{message:#x} {msr:#x} {words:08x?}");
    }
}

/// DPDES shows it until the interrupt is taken, and it ends the sleep of H_CEDE.
#[test]
fn a_doorbell_is_pending_until_it_is_taken() {
    let mut ram = Vec::new();
    // msgsndp r3; mfspr r5,DPDES; sc 1; mfspr r6,DPDES; sc 1
    let words = [RING, 0x7cb0_2aa6, END, 0x7cd0_2aa6, END];
    let mut bench = bench(&mut ram, &words);
    bench.registers(|r| r.gpr[3] = TO_THREAD_0);
    assert_eq!(bench.run().gpr[5], 1);
    assert!(bench.cpu.interrupt_is_pending(&bench.board));
    bench.registers(|r| r.msr |= EE);
    let after = bench.run();
    assert_eq!((after.pc, after.srr0), (0xa04, CODE + 12));
    assert!(!bench.cpu.interrupt_is_pending(&bench.board));
    bench.registers(|r| r.pc = CODE + 12);
    assert_eq!(bench.run().gpr[6], 0);
}

const USER: u64 = 0x1_0000_0000;
/// mtspr NUMBER,r3
fn mtspr(number: u32) -> u32 {
    31 << 26 | 3 << 21 | (number & 31) << 16 | (number >> 5) << 11 | 467 << 1
}

/// mfspr r5,NUMBER
fn mfspr(number: u32) -> u32 {
    31 << 26 | 5 << 21 | (number & 31) << 16 | (number >> 5) << 11 | 339 << 1
}

/// What a user's program does with FSCR.EBB set; each register is written with r3 first.
fn with_events(registers: &[(u32, u64)], program: &[u32]) -> (u64, u64) {
    let mut ram = Vec::new();
    let mut words: Vec<u32> =
        registers.iter().flat_map(|(number, _)| [mtspr(*number), END]).collect();
    words.extend(program);
    let mut bench = bench(&mut ram, &words);
    bench.map(USER, CODE, READ_WRITE | EXECUTE);
    for (_, value) in registers {
        bench.registers(|r| r.gpr[3] = *value);
        bench.run();
    }
    bench.registers(|r| {
        r.pc = USER + 8 * registers.len() as u64;
        r.msr = SF | ME | PR;
    });
    let after = bench.run();
    (after.srr0, after.gpr[5])
}

const FSCR: u32 = 153;
const EBB: u64 = 1 << 7;
const BESCR: u32 = 806;
const EBBHR: u32 = 804;
const EBBRR: u32 = 805;
const GE: u64 = 1 << 63;
const PME: u64 = 1 << 32;
const PMEO: u64 = 1;
const RFEBB_0: u32 = 0x4c00_0124;
const RFEBB_1: u32 = 0x4c00_0924;

/// To EBBRR, with S in BESCR.GE: the word there is no instruction, which tells where it got to.
#[test]
fn rfebb_returns() {
    let to = USER + 0x1000;
    for (word, status, wanted) in [(RFEBB_0, GE | PME, PME), (RFEBB_1, PME, GE | PME)] {
        let registers = [(FSCR, EBB), (BESCR, status), (EBBRR, to)];
        assert_eq!(with_events(&registers, &[word]).0, to);
        // mfspr r5,BESCR there
        let to = USER + 8 * 3 + 4;
        let registers = [(FSCR, EBB), (BESCR, status), (EBBRR, to)];
        assert_eq!(with_events(&registers, &[word, mfspr(BESCR)]).1, wanted);
    }
}

/// An event that has occurred and is enabled branches to EBBHR; EBBRR is where it came from, and
/// GE is 0 then.
#[test]
fn events_branch_to_their_handler() {
    let handler = USER + 8 * 4 + 8;
    for status in [GE | PME | PMEO, GE | 1 << 33 | 1 << 1] {
        let registers = |number| {
            [(FSCR, EBB), (EBBHR, handler), (EBBRR, USER + 8 * 4 + 4), (number, status & !GE)]
        };
        // rfebb 1 enables it: before the word behind it. At the handler: mfspr.
        for (shown, wanted) in [(EBBRR, USER + 8 * 4 + 4), (BESCR, status & !GE)] {
            let program = [RFEBB_1, 0, mfspr(shown)];
            assert_eq!(with_events(&registers(BESCR), &program), (handler + 4, wanted));
        }
        // Without its enable bit or its occurrence, nothing comes.
        let (at, _) =
            with_events(&[(FSCR, EBB), (EBBHR, handler), (BESCR, PMEO)], &[mtspr(808), 0]);
        assert!(at < handler, "{at:#x}");
    }
}

/// Segments are kept, found, and dropped, and translate nothing.
#[test]
fn the_segment_buffer_is_kept() {
    let word = |xo: u32, rc: u32| 31 << 26 | 5 << 21 | 4 << 11 | xo << 1 | rc;
    let (slbmte, slbfee, slbie) =
        (word(402, 0) & !(31 << 21) | 3 << 21, word(979, 1), word(434, 0));
    let (slbmfee, slbmfev, slbia) =
        (word(915, 0), word(851, 0), |ih: u32| 31 << 26 | ih << 21 | 498 << 1);
    const ESID: u64 = 0xc000_0000_1000_0000;
    const VALID: u64 = 1 << 27;
    const VSID: u64 = 0x1234_5000 | 0x400;
    const CLASS: u64 = 0x80;
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[]);
    let mut execute = |word: u32, r3: u64, r4: u64| {
        bench.board.ram.write_obj(word.to_be(), CODE as usize).unwrap();
        bench.board.ram.write_obj(END.to_be(), CODE as usize + 4).unwrap();
        bench.board.pages.mark_dirty(CODE as usize, 8);
        bench.registers(|r| (r.pc, r.cr, r.gpr[3], r.gpr[4]) = (CODE, 0, r3, r4));
        let after = bench.run();
        assert_eq!(after.pc, CODE + 8);
        (after.gpr[5], after.cr >> 28)
    };
    execute(slbmte, VSID, ESID | VALID | 7);
    assert_eq!(execute(slbmfee, 0, 7).0, ESID | VALID);
    assert_eq!(execute(slbmfev, 0, 7).0, VSID);
    assert_eq!(execute(slbmfev, 0, 8).0, 0);
    // An entry that there is not.
    execute(slbmte, VSID, ESID | VALID | 0xfff);
    assert_eq!(execute(slbmfev, 0, 0xfff).0, 0);
    assert_eq!(execute(slbfee, 0, ESID | 0x123_4567), (VSID, 2));
    assert_eq!(execute(slbfee, 0, ESID + (1 << 28)), (0, 0));
    // What was only looked up goes; then entry 7, but 0 only by name.
    execute(slbia(7), 0, 0);
    assert_eq!(execute(slbfee, 0, ESID), (VSID, 2));
    execute(slbmte, VSID, (ESID + (1 << 28)) | VALID);
    execute(slbia(0), 0, 0);
    assert_eq!(execute(slbfee, 0, ESID), (0, 0));
    assert_eq!(execute(slbfee, 0, ESID + (1 << 28)), (VSID, 2));
    execute(slbie, 0, ESID + (1 << 28));
    assert_eq!(execute(slbmfee, 0, 0).0, 0);
    // Which of entry 0 of class 1 and entries 7 and 8 of classes 0 and 1 stay.
    for (hint, stays) in [
        (0, [true, false, false]),
        (1, [true, false, false]),
        (2, [true, false, false]),
        (3, [false, true, false]),
        (4, [false, false, false]),
        (6, [true, false, false]),
        (7, [true, true, true]),
    ] {
        let entries = [(0, VSID | CLASS), (7, VSID), (8, VSID | CLASS)];
        for (number, vsid) in entries {
            execute(slbmte, vsid, (ESID + (number << 28)) | VALID | number);
        }
        execute(slbia(hint), 0, 0);
        for ((number, vsid), stays) in entries.into_iter().zip(stays) {
            let wanted = if stays { vsid } else { 0 };
            assert_eq!(execute(slbmfev, 0, number).0, wanted, "{hint} {number}");
        }
    }
}

/// or rx,rx,rx
fn or_itself(register: u32) -> u32 {
    31 << 26 | register << 21 | register << 16 | register << 11 | 444 << 1
}

/// "The priority is set only if the program may have it": Book II §3.1, by the register and state.
#[test]
fn or_of_a_register_with_itself_sets_the_priority() {
    const PPR: u32 = 896;
    const PSPB: u32 = 159;
    for (register, kernel, user, user_with_time) in [
        (31, 1, 1, 1),
        (1, 2, 2, 2),
        (6, 3, 3, 3),
        (2, 4, 4, 4),
        (5, 5, 0, 5),
        (3, 6, 0, 0),
        // The hypervisor's, and one that means something else.
        (7, 0, 0, 0),
        (27, 0, 0, 0),
    ] {
        for (msr, time, priority) in [(0, 0, kernel), (PR, 0, user), (PR, 1000, user_with_time)] {
            let mut ram = Vec::new();
            let code = [or_itself(register), mfspr(PPR), 0x4400_0002];
            let mut bench = bench(&mut ram, &[mtspr(PSPB), END]);
            bench.registers(|r| r.gpr[3] = time);
            bench.run();
            bench.map(USER, CODE, READ_WRITE | EXECUTE);
            for (at, word) in (CODE as usize..).step_by(4).zip(code) {
                bench.board.ram.write_obj(word.to_be(), at).unwrap();
            }
            bench.board.pages.mark_dirty(CODE as usize, 12);
            bench.registers(|r| {
                r.msr = SF | ME | msr;
                r.pc = if msr == 0 { CODE } else { USER | CODE & 0xffff };
                r.gpr[register as usize] = 77;
            });
            let after = bench.run();
            assert_eq!(after.gpr[5], priority << 50, "or {register}, {msr:#x}, {time}");
            assert_eq!(
                after.gpr[register as usize],
                if register == 5 { priority << 50 } else { 77 }
            );
        }
    }
}
