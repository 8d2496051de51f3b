//! Translation by segments and a hashed page table: Power ISA 3.0B, Book III §5.7.8 to §5.7.12.

mod common;
#[path = "common/ram_only.rs"]
mod ram_only;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::{Bench, CODE, EE, END, IR_DR, ME, PR, SF, bench};
use interp::{GonePage, HashTable, PageEntry, Registers, VirtualPage};
use ram_only::RamOnly;
use vm_memory::Bytes;

/// ld r3,0(r4); std r3,0(r4)
const LOAD: u32 = 0xe864_0000;
const STORE: u32 = 0xf864_0000;

const DR: u64 = 1 << 4;

// Interrupts: an end is behind each vector.
const DATA_STORAGE: u64 = 0x304;
const DATA_SEGMENT: u64 = 0x384;
const INSTRUCTION_STORAGE: u64 = 0x404;
const INSTRUCTION_SEGMENT: u64 = 0x484;

// DSISR, and SRR1 of instruction storage interrupts.
const NOT_FOUND: u32 = 0x4000_0000;
const NO_EXECUTE: u64 = 0x1000_0000;
const PROTECTION: u32 = 0x0800_0000;
const STORED: u32 = 0x0200_0000;
const KEY: u32 = 0x0020_0000;

// Entries of the SLB.
const VALID: u64 = 1 << 27;
const LARGE_SEGMENT: u64 = 1 << 62;
const KS: u64 = 0x800;
const KP: u64 = 0x400;
const N: u64 = 0x200;
const CLASS: u64 = 0x80;

// Entries of the table.
const R: u64 = 0x100;
const C: u64 = 0x80;
const M: u64 = 0x10;
const G: u64 = 0x8;
const ALL: u64 = M | 2;

const AMR: u32 = 29;
const IAMR: u32 = 61;

/// Pages by segment and number, with the second doubleword of their entries, and the sizes.
#[derive(Debug, Default)]
struct Pages(Mutex<BTreeMap<(u64, u64), (u64, u32)>>);

impl Pages {
    fn key(page: &VirtualPage) -> (u64, u64) {
        (page.vsid << 8 | u64::from(page.base_shift), page.offset >> page.base_shift)
    }

    fn second(&self, page: &VirtualPage) -> u64 {
        self.0.lock().unwrap()[&Self::key(page)].0
    }
}

impl HashTable for Pages {
    fn find(&self, page: &VirtualPage) -> Option<PageEntry> {
        let pages = self.0.lock().unwrap();
        let (number, (_, &(second, shift))) =
            pages.iter().enumerate().find(|(_, (key, _))| **key == Self::key(page))?;
        Some(PageEntry { number: number as u64, second, shift })
    }

    fn record(&self, entry: &PageEntry, set: u64) -> bool {
        let mut pages = self.0.lock().unwrap();
        let (second, _) = pages.values_mut().nth(entry.number as usize).unwrap();
        let is_same = *second == entry.second;
        if is_same {
            *second |= set;
        }
        is_same
    }
}

struct Guest<'a> {
    bench: Bench<'a>,
    pages: Arc<Pages>,
    /// ESID and VSID.
    segments: Vec<(u64, u64)>,
}

/// A machine with these words at its start and a segment there, which all may use.
fn guest<'a>(ram: &'a mut Vec<u8>, words: &[u32]) -> Guest<'a> {
    let mut words = words.to_vec();
    words.push(END);
    let bench = bench(ram, &words);
    let pages = Arc::new(Pages::default());
    bench.system.set_hash_table(pages.clone());
    let mut guest = Guest { bench, pages, segments: Vec::new() };
    guest.segment(0, 0x99 << 12);
    guest.map(&page(0x99, CODE, 12), CODE | ALL, 12);
    guest
}

fn page(vsid: u64, offset: u64, base_shift: u32) -> VirtualPage {
    VirtualPage { vsid, segment_shift: 28, offset, base_shift }
}

impl Guest<'_> {
    fn segment(&mut self, ea: u64, vsid: u64) {
        self.segments.push((ea | VALID, vsid));
    }

    fn map(&self, page: &VirtualPage, second: u64, shift: u32) {
        self.pages.0.lock().unwrap().insert(Pages::key(page), (second, shift));
    }

    fn unmap(&self, page: &VirtualPage) {
        self.pages.0.lock().unwrap().remove(&Pages::key(page));
    }

    fn start(&mut self, msr: u64, spr: &[(u32, u64)]) {
        let mut state = self.bench.cpu.state().unwrap();
        state.slb = self.segments.clone();
        state.uses_hash = true;
        for &(number, value) in spr {
            state.spr.iter_mut().find(|(found, _)| *found == number).unwrap().1 = value;
        }
        state.msr = SF | ME | msr;
        self.bench.cpu.set_state(&state).unwrap();
    }

    /// Runs from the start, which works on `ea`, to an end.
    fn run(&mut self, ea: u64) -> Registers {
        self.bench.registers(|r| (r.pc, r.gpr[3], r.gpr[4]) = (CODE, 0x5555, ea));
        self.bench.run()
    }
}

/// Whether it came to the end of the program, and not to an interrupt.
fn ended(registers: &Registers) -> bool {
    registers.pc >> 12 == CODE >> 12
}

/// A base page size has a code in the SLB, and pages of such and larger sizes.
#[test]
fn pages_of_each_size_are_where_their_entry_says() {
    const SIZES: [(u32, u64, &[u32]); 3] =
        [(12, 0, &[12, 16, 24]), (16, 0x110, &[16, 24]), (24, 0x100, &[24])];
    for (base_shift, code, shifts) in SIZES {
        for &shift in shifts {
            for segment_shift in [28, 40] {
                let mut ram = Vec::new();
                let mut guest = guest(&mut ram, &[LOAD]);
                // Its offset in the segment, and in the page, where RAM is in a page of that size.
                let (at, in_page) = (0x0b7a_0000, 0x7_0238 & ((1 << shift) - 1));
                let ea = 0xc123_4100_0000_0000 | at & !((1 << shift) - 1) | in_page;
                let kind = if segment_shift == 40 { LARGE_SEGMENT } else { 0 };
                guest.segment(ea & !0xfff_ffff, 0x77 << (segment_shift - 16) | kind | code);
                let offset = ea & ((1 << segment_shift) - 1);
                let page = VirtualPage { vsid: 0x77, segment_shift, offset, base_shift };
                let real = 0x8_0000 & !((1 << shift) - 1);
                guest.map(&page, real | ALL, shift);
                guest.bench.write(real + in_page, 0x1234_5678);
                guest.start(DR, &[]);
                let after = guest.run(ea);
                assert!(ended(&after), "{after}");
                assert_eq!(after.gpr[3], 0x1234_5678, "{base_shift} {shift} {segment_shift}");
                assert_eq!(guest.pages.second(&page), real | ALL | R);
            }
        }
    }
}

#[test]
fn a_store_records_that_the_page_has_changed() {
    let mut ram = Vec::new();
    let mut guest = guest(&mut ram, &[LOAD, STORE]);
    let ea = 0xc000_0000_0000_0000;
    guest.segment(ea, 0x5_5000);
    let page = page(0x55, 0, 12);
    guest.map(&page, 0x2_0000 | ALL, 12);
    guest.start(DR, &[]);
    assert!(ended(&guest.run(ea)));
    assert_eq!(guest.pages.second(&page), 0x2_0000 | ALL | R | C);
}

/// Book III §5.7.12.1: by PP and by the key of the state, none, read only, or both.
#[test]
fn protection_is_that_of_the_page_and_the_key() {
    const PP0: u64 = 1 << 63;
    for (pp, without_key, with_key) in [
        (0, (true, true), (false, false)),
        (1, (true, true), (true, false)),
        (2, (true, true), (true, true)),
        (3, (true, false), (true, false)),
        (PP0 | 2, (true, false), (false, false)),
        (PP0, (false, false), (false, false)),
        (PP0 | 1, (false, false), (false, false)),
        (PP0 | 3, (false, false), (false, false)),
    ] {
        for (msr, keys, has_key) in [
            (DR, 0, false),
            (DR, KP, false),
            (DR, KS, true),
            (EE | IR_DR | PR, 0, false),
            (EE | IR_DR | PR, KS, false),
            (EE | IR_DR | PR, KP, true),
        ] {
            for (word, is_store) in [(LOAD, false), (STORE, true)] {
                let mut ram = Vec::new();
                let mut guest = guest(&mut ram, &[word]);
                let ea = 0xc000_0000_1000_0100;
                guest.segment(ea & !0xfff_ffff, 0x5_5000 | keys);
                guest.map(&page(0x55, 0x100, 12), 0x2_0000 | M | pp, 12);
                // A program ends with an interrupt: sc 1 is the kernel's.
                guest.start(msr, &[]);
                let after = guest.run(ea);
                let (may_read, may_write) = if has_key { with_key } else { without_key };
                let may = if is_store { may_write } else { may_read };
                assert_eq!(after.pc != DATA_STORAGE, may, "{pp:#x} {msr:#x} {keys:#x} {is_store}");
                if !may {
                    let dsisr = PROTECTION | if is_store { STORED } else { 0 };
                    assert_eq!((after.dar, after.dsisr), (ea, dsisr));
                }
            }
        }
    }
}

#[test]
fn keys_keep_loads_and_stores_off() {
    for key in [0_u64, 1, 9, 31] {
        let bits = (key >> 3) << 60 | (key & 7) << 9;
        for (amr, word, may) in [
            (u64::MAX ^ 3 << (62 - 2 * key), STORE, true),
            (1 << (62 - 2 * key), LOAD, false),
            (1 << (62 - 2 * key), STORE, true),
            (2 << (62 - 2 * key), LOAD, true),
            (2 << (62 - 2 * key), STORE, false),
        ] {
            let mut ram = Vec::new();
            let mut guest = guest(&mut ram, &[word]);
            let ea = 0xc000_0000_1000_0000;
            guest.segment(ea, 0x5_5000);
            guest.map(&page(0x55, 0, 12), 0x2_0000 | ALL | bits, 12);
            guest.start(DR, &[(AMR, amr)]);
            let after = guest.run(ea);
            assert_eq!(ended(&after), may, "{key} {amr:#x}");
            if !may {
                assert_eq!(after.dsisr & !STORED, KEY);
            }
        }
    }
}

#[test]
fn what_is_not_there_is_an_interrupt() {
    let mut ram = Vec::new();
    let mut guest = guest(&mut ram, &[STORE]);
    let ea = 0xc000_0000_1000_0008;
    guest.start(DR, &[]);
    let after = guest.run(ea);
    assert_eq!((after.pc, after.dar), (DATA_SEGMENT, ea));
    guest.segment(ea & !0xfff_ffff, 0x5_5000);
    guest.start(DR, &[]);
    let after = guest.run(ea);
    assert_eq!((after.pc, after.dar, after.dsisr), (DATA_STORAGE, ea, NOT_FOUND | STORED));
    // A page size that there is not.
    guest.segments.last_mut().unwrap().1 |= 0x130;
    guest.start(DR, &[]);
    let after = guest.run(ea);
    assert_eq!((after.pc, after.dsisr), (DATA_STORAGE, NOT_FOUND | STORED));
    // Code.
    guest.segments.clear();
    guest.start(IR_DR, &[]);
    let after = guest.run(ea);
    assert_eq!((after.pc, after.srr0), (INSTRUCTION_SEGMENT, CODE));
    guest.segment(0, 0x5_5000);
    guest.start(IR_DR, &[]);
    let after = guest.run(ea);
    assert_eq!((after.pc, after.srr1 & 0x7fff_0000), (INSTRUCTION_STORAGE, NOT_FOUND.into()));
}

#[test]
fn what_must_not_be_executed_is_not() {
    let pp_none = 1 << 63;
    for (segment, second, iamr, why) in [
        (N, ALL, 0, NO_EXECUTE),
        (0, ALL | 4, 0, NO_EXECUTE),
        (0, ALL | G, 0, NO_EXECUTE),
        (0, pp_none | M, 0, PROTECTION.into()),
        (0, ALL, 1 << 62, KEY.into()),
        (0, ALL | 1 << 9, 1 << 62, 0),
    ] {
        let mut ram = Vec::new();
        let mut guest = guest(&mut ram, &[0x6000_0000]);
        guest.segments = vec![(VALID, 0x99 << 12 | segment)];
        guest.map(&page(0x99, CODE, 12), CODE | second, 12);
        guest.start(IR_DR, &[(IAMR, iamr)]);
        let after = guest.run(0);
        match why {
            0 => assert!(ended(&after), "{after}"),
            why => {
                assert_eq!(after.pc, INSTRUCTION_STORAGE);
                assert_eq!(after.srr1 & 0x7fff_0000, why);
            }
        }
    }
}

/// Whether a page is still known that went from the table before these words.
fn is_known_behind(high: bool, class: u64, words: &[u32], r5: u64, r6: u64) -> bool {
    let mut ram = Vec::new();
    // ld; sc 1; …; isync; ld
    let mut all = vec![LOAD, END];
    all.extend(words);
    all.extend([0x4c00_012c, LOAD]);
    let mut guest = guest(&mut ram, &all);
    let ea = if high { 0xc000_0000_1000_0000 } else { 0x1000_0000 };
    guest.segment(ea, 0x5_5000 | class);
    guest.map(&page(0x55, 0, 12), 0x2_0000 | ALL, 12);
    guest.start(DR, &[]);
    assert!(ended(&guest.run(ea)));
    guest.unmap(&page(0x55, 0, 12));
    guest.bench.registers(|r| (r.gpr[5], r.gpr[6]) = (r5, r6));
    ended(&guest.bench.run())
}

/// Unless somebody says so, what went from the table may be used; and what segments translated, after
/// others have taken their place.
#[test]
fn what_segments_translated_is_forgotten_with_them() {
    let x = |rs: u32, rb: u32, xo: u32| 31 << 26 | rs << 21 | rb << 11 | xo << 1;
    let slbmte = x(5, 6, 402);
    let slbie = x(0, 4, 434);
    let slbia = |hint: u32| x(hint, 0, 498);
    let high = 0xc000_0000_1000_0000;
    assert!(is_known_behind(true, 0, &[], 0, 0));
    assert!(!is_known_behind(true, 0, &[slbie], 0, 0));
    assert!(!is_known_behind(false, CLASS, &[slbie], 0, 0));
    for hint in [0, 1, 2, 4, 6, 7] {
        assert!(!is_known_behind(true, 0, &[slbia(hint)], 0, 0), "{hint}");
    }
    // Class 1 is for programs, and may be elsewhere.
    assert!(is_known_behind(true, 0, &[slbia(3)], 0, 0));
    assert!(!is_known_behind(false, CLASS, &[slbia(3)], 0, 0));
    assert!(!is_known_behind(true, CLASS, &[slbia(3)], 0, 0));
    // Entry 1 is another segment, with the same address or not.
    assert!(!is_known_behind(true, 0, &[slbmte], 0x7_7000, high | VALID | 1));
    assert!(!is_known_behind(true, CLASS, &[slbmte, slbia(3)], 0x7_7000, VALID | 1));
    assert!(!is_known_behind(false, CLASS, &[slbmte, slbia(3)], 0x7_7000, high | VALID | 1));
    assert!(!is_known_behind(false, CLASS, &[slbmte, slbie], 0x7_7000, high | VALID | 1));
}

#[test]
fn a_change_of_keys_is_seen_at_once() {
    let mtamr = 31 << 26 | 5 << 21 | 29 << 16 | 467 << 1;
    assert!(!is_known_behind(true, 0, &[mtamr], 1, 0));
    assert!(is_known_behind(true, 0, &[mtamr], 0, 0));
}

#[test]
fn pages_that_went_are_forgotten_and_others_are_not() {
    let ea = 0xc000_0000_1001_2000;
    for (offset, shift, is_known) in [
        (0x1_2000, 12, false),
        (0x1_0000, 16, false),
        (0, 24, false),
        // Its neighbours.
        (0x1_1000, 12, true),
        (0x1_3000, 12, true),
        (0x2_0000, 16, true),
    ] {
        let mut ram = Vec::new();
        let mut guest = guest(&mut ram, &[LOAD, END, LOAD]);
        guest.segment(ea & !0xfff_ffff, 0x5_5000);
        guest.map(&page(0x55, 0x1_2000, 12), 0x2_0000 | ALL, 12);
        guest.start(DR, &[]);
        assert!(ended(&guest.run(ea)));
        guest.unmap(&page(0x55, 0x1_2000, 12));
        guest.bench.system.pages_gone(&[GonePage { offset, shift }]);
        assert_eq!(ended(&guest.bench.run()), is_known, "{offset:#x} {shift}");
    }
    // More than are remembered one by one.
    let mut ram = Vec::new();
    let mut guest = guest(&mut ram, &[LOAD, END, LOAD]);
    guest.segment(ea & !0xfff_ffff, 0x5_5000);
    guest.map(&page(0x55, 0x1_2000, 12), 0x2_0000 | ALL, 12);
    guest.start(DR, &[]);
    assert!(ended(&guest.run(ea)));
    guest.unmap(&page(0x55, 0x1_2000, 12));
    for offset in (0x10_0000..0x20_0000).step_by(0x1000) {
        guest.bench.system.pages_gone(&[GonePage { offset, shift: 12 }]);
    }
    assert!(!ended(&guest.bench.run()));
}

/// Another table takes the place of the first: what that one said counts no more.
#[test]
fn another_table_is_looked_into_at_once() {
    let mut ram = Vec::new();
    let mut guest = guest(&mut ram, &[LOAD, END, LOAD]);
    let ea = 0xc000_0000_1000_0000;
    guest.segment(ea, 0x5_5000);
    guest.map(&page(0x55, 0, 12), 0x2_0000 | ALL, 12);
    guest.bench.write(0x3_0000, 77);
    guest.start(DR, &[]);
    assert!(ended(&guest.run(ea)));
    let other = Arc::new(Pages::default());
    other.0.lock().unwrap().insert(Pages::key(&page(0x55, 0, 12)), (0x3_0000 | ALL, 12));
    guest.bench.system.set_hash_table(other);
    assert_eq!(guest.bench.run().gpr[3], 77);
}

/// In real mode nothing is looked up, and where translation is radix, no segment.
#[test]
fn other_modes_do_without() {
    let mut ram = Vec::new();
    let mut guest = guest(&mut ram, &[LOAD]);
    guest.bench.write(0x2_0000, 5);
    guest.segments.clear();
    guest.start(0, &[]);
    assert_eq!(guest.run(0x2_0000).gpr[3], 5);
    guest.start(DR, &[]);
    assert_eq!(guest.run(common::KERNEL).pc, DATA_SEGMENT);
    guest.bench.map(common::KERNEL, 0x2_0000, common::PRIVILEGED | common::READ_WRITE);
    guest.bench.cpu.use_hash(false);
    // The interrupt was taken in real mode.
    guest.bench.registers(|r| r.msr = SF | ME | DR);
    assert_eq!(guest.run(common::KERNEL).gpr[3], 5);
    guest.bench.cpu.use_hash(true);
    assert_eq!(guest.run(common::KERNEL).pc, DATA_SEGMENT);
}

/// A CPU executes while pages go: behind that, it loads nothing from there.
#[test]
fn no_other_cpu_uses_what_went() {
    use interp::{Cpu, Exit, PageMap, RamRegion, System};
    use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

    let ram = GuestMemoryMmap::<PageMap>::from_ranges(&[(GuestAddress(0), common::RAM_BYTES)]);
    let ram = ram.unwrap();
    ram.write_obj(END.to_be(), GuestAddress(0x300)).unwrap();
    // ld r3,0(r4); b .-4
    for (at, word) in [(CODE, LOAD), (CODE + 4, 0x4bff_fffc)] {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
    for round in 0..50 {
        let pages = Arc::new(Pages::default());
        let system = Arc::new(System::new(2));
        system.set_hash_table(pages.clone());
        let put = |number: u64| ram.write_obj(number.to_be(), GuestAddress(0x2_0000)).unwrap();
        put(1);
        let key = Pages::key(&page(0x55, 0, 12));
        pages.0.lock().unwrap().insert(key, (0x2_0000 | ALL, 12));
        std::thread::scope(|scope| {
            let (ram, system, pages) = (&ram, &system, &pages);
            let runs = scope.spawn(move || {
                let mut cpu = Cpu::new(1, 0x004e_1203, system.clone());
                cpu.start(CODE, true);
                let mut state = cpu.state().unwrap();
                state.slb = vec![(common::KERNEL | VALID, 0x5_5000)];
                state.uses_hash = true;
                state.msr = SF | ME | DR;
                state.gpr[4] = common::KERNEL;
                cpu.set_state(&state).unwrap();
                let board = RamOnly([RamRegion::of(ram.iter().next().unwrap()).unwrap()]);
                let exit = cpu.run(&board, u64::MAX);
                assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
                (cpu.registers().pc, cpu.gpr(3))
            });
            while pages.0.lock().unwrap()[&key].0 & R == 0 {
                std::thread::yield_now();
            }
            pages.0.lock().unwrap().remove(&key);
            system.pages_gone(&[GonePage { offset: 0, shift: 12 }]);
            put(2);
            let (pc, loaded) = runs.join().unwrap();
            assert_eq!((pc, loaded <= 1), (DATA_STORAGE, true), "{round}: {loaded}");
        });
    }
}
