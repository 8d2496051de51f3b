//! RAM of several regions, and who writes to it.

use std::sync::Arc;

use interp::{Cpu, CpuBus, Exit, PageMap, ProcessTable, RamRegion, Registers, System};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const PVR: u32 = 0x004e_1203;
const CODE: u64 = 0x1_0000;
const END: u32 = 0x4400_0022;
const SF: u64 = 1 << 63;
const ME: u64 = 1 << 12;
const IR_DR: u64 = 3 << 4;

type Ram = GuestMemoryMmap<PageMap>;

/// RAM at 0, a hole, RAM, a hole, RAM: and the last starts in the middle of a page of 64 KiB.
const LOW: u64 = 0;
const MIDDLE: u64 = 0x1_0000_0000;
const HIGH: u64 = 0x40_0000_1000;
const BYTES: usize = 1 << 20;

struct Board<'a>(Vec<RamRegion<'a>>);

impl<'a> Board<'a> {
    fn new(ram: &'a Ram) -> Self {
        Self(ram.iter().map(|region| RamRegion::of(region).unwrap()).collect())
    }
}

impl CpuBus for Board<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.0
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }
}

fn ram() -> Ram {
    let starts = [LOW, MIDDLE, HIGH];
    let ram = Ram::from_ranges(&starts.map(|start| (GuestAddress(start), BYTES))).unwrap();
    for vector in (0x100..0x1000).step_by(0x20) {
        put(&ram, vector, &[END]);
    }
    ram
}

fn put(ram: &Ram, at: u64, words: &[u32]) {
    for (at, word) in (at..).step_by(4).zip(words) {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
}

fn get(ram: &Ram, at: u64) -> u64 {
    u64::from_be(ram.read_obj(GuestAddress(at)).unwrap())
}

fn pages_of(ram: &Ram, number: usize) -> PageMap {
    Board::new(ram).0[number].pages().unwrap().clone()
}

fn cpu(set: impl FnOnce(&mut Registers)) -> Cpu {
    let mut cpu = Cpu::new(0, PVR, Arc::new(System::new(1)));
    cpu.start(CODE, true);
    set_registers(&mut cpu, set);
    cpu
}

fn set_registers(cpu: &mut Cpu, set: impl FnOnce(&mut Registers)) {
    let mut registers = cpu.registers();
    set(&mut registers);
    cpu.set_registers(&registers);
}

fn to_the_end(cpu: &mut Cpu, ram: &Ram) -> Registers {
    let exit = cpu.run(&Board::new(ram), 10_000);
    assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
    cpu.registers()
}

#[test]
fn every_region_is_fetched_loaded_and_stored() {
    for start in [LOW, MIDDLE, HIGH] {
        let ram = ram();
        let at = start + 0x2_0000;
        // ldarx r5,0,r3; stdcx. r3,0,r3; mfcr r7; ld r6,0(r3); std r6,8(r3); dcbz 0,r4
        let words =
            [0x7ca0_18a8, 0x7c60_19ad, 0x7ce0_0026, 0xe8c3_0000, 0xf8c3_0008, 0x7c00_27ec, END];
        put(&ram, at, &words);
        let data = start + 0x3_0000;
        ram.write_obj(7_u64.to_be(), GuestAddress(data)).unwrap();
        ram.write_obj(7_u64.to_be(), GuestAddress(data + 0x108)).unwrap();
        let mut cpu = cpu(|r| (r.pc, r.gpr[3], r.gpr[4]) = (at, data, data + 0x100));
        let after = to_the_end(&mut cpu, &ram);
        assert_eq!((after.pc, after.gpr[5], after.gpr[7] >> 28), (at + 28, 7, 2));
        assert_eq!(
            (get(&ram, data), get(&ram, data + 8), get(&ram, data + 0x108)),
            (data, data, 0)
        );
    }
}

/// Between regions there is no RAM; an access over an edge is made nowhere, nor is there code.
#[test]
fn holes_are_no_ram() {
    let ram = ram();
    // ld r5,0(r3)
    put(&ram, CODE, &[0xe8a3_0000, END]);
    for at in [BYTES as u64, MIDDLE - 8, MIDDLE + BYTES as u64, HIGH - 8, HIGH + BYTES as u64] {
        let mut cpu = cpu(|r| r.gpr[3] = at);
        let exit = cpu.run(&Board::new(&ram), 100);
        assert!(matches!(exit, Exit::MmioRead { address, bytes: 8 } if address == at), "{exit:?}");
    }
    for at in [BYTES as u64 - 4, MIDDLE - 4, MIDDLE + BYTES as u64 - 4, HIGH - 4] {
        let after = to_the_end(&mut cpu(|r| r.gpr[3] = at), &ram);
        assert_eq!((after.pc, after.dar), (0x604, at));
    }
    for pc in [BYTES as u64, MIDDLE - 4, HIGH - 4, HIGH + BYTES as u64] {
        let after = to_the_end(&mut cpu(|r| r.pc = pc), &ram);
        assert_eq!((after.pc, after.srr0), (0x404, pc));
    }
}

#[test]
fn tables_are_in_any_region() {
    let ram = ram();
    let (table, node) = (HIGH, MIDDLE + 0x1_0000);
    let be = |at: u64, entry: u64| ram.write_obj(entry.to_be(), GuestAddress(at)).unwrap();
    // 52 bits: 13, 9, 9 and 5; code in the low region.
    be(table, 2 << 61 | node | 5 << 5 | 13);
    be(node, 1 << 63 | (HIGH + 0x1_0000 - 0x1000) | 9);
    be(HIGH + 0xf000, 1 << 63 | (MIDDLE + 0x2_0000) | 9);
    be(MIDDLE + 0x2_0000, 1 << 63 | 0x4_0000 | 5);
    be(0x4_0000, 3 << 62 | CODE | 0xf);
    put(&ram, CODE, &[END]);
    let mut cpu = cpu(|r| (r.msr, r.pc) = (SF | ME | IR_DR, 0xc000_0000_0000_0000));
    cpu.set_process_table(Some(ProcessTable { base: table, size_bytes: 4096 }));
    assert_eq!(to_the_end(&mut cpu, &ram).pc, 0xc000_0000_0000_0004);
}

/// RAM that is elsewhere is elsewhere: nothing is kept of what was there.
#[test]
fn regions_may_change_between_runs() {
    let (first, second) = (ram(), ram());
    // li r5,1; li r5,2
    put(&first, CODE, &[0x38a0_0001, END]);
    put(&second, CODE, &[0x38a0_0002, END]);
    let mut cpu = cpu(|_| {});
    for (ram, value) in [(&first, 1), (&second, 2), (&first, 1)] {
        set_registers(&mut cpu, |r| r.pc = CODE);
        assert_eq!(to_the_end(&mut cpu, ram).gpr[5], value);
    }
}

/// "Whoever writes": a handler, a device. Nobody has to say so, and no `icbi` is needed.
#[test]
fn code_that_anybody_writes_is_executed() {
    let ram = ram();
    let at = HIGH + 0x2_0000;
    let mut cpu = cpu(|_| {});
    for value in 0..4 {
        put(&ram, at, &[0x38a0_0000 | value, END]);
        set_registers(&mut cpu, |r| r.pc = at);
        assert_eq!(to_the_end(&mut cpu, &ram).gpr[5], u64::from(value));
    }
    // By several at once, as devices do.
    let page: Vec<u8> = [0x38a0_0009_u32, END].iter().flat_map(|word| word.to_be_bytes()).collect();
    ram.write_slice(&page, GuestAddress(at)).unwrap();
    set_registers(&mut cpu, |r| r.pc = at);
    assert_eq!(to_the_end(&mut cpu, &ram).gpr[5], 9);
}

fn dirty(pages: &PageMap) -> Vec<u64> {
    let words = pages.take_dirty();
    let is_set = |page: &u64| words[(page / 64) as usize] >> (page % 64) & 1 != 0;
    (0..words.len() as u64 * 64).filter(is_set).collect()
}

#[test]
fn stores_are_in_the_log() {
    let ram = ram();
    let pages = pages_of(&ram, 1);
    // std r5,0(r3); std r5,0(r4); sc 1; b .-12
    put(&ram, CODE, &[0xf8a3_0000, 0xf8a4_0000, END, 0x4bff_fff4]);
    let mut cpu = cpu(|r| (r.gpr[3], r.gpr[4]) = (MIDDLE + 0x3000, MIDDLE + 0x5ff8));
    // Translations by which the CPU stores without a word are there before the log is.
    to_the_end(&mut cpu, &ram);
    assert!(dirty(&pages).is_empty());
    pages.start_log();
    for _ in 0..3 {
        to_the_end(&mut cpu, &ram);
        ram.write_obj(1_u8, GuestAddress(MIDDLE + 0x8000)).unwrap();
        assert_eq!(dirty(&pages), [3, 5, 8]);
        assert!(dirty(&pages).is_empty());
    }
    pages.stop_log();
    to_the_end(&mut cpu, &ram);
    assert!(dirty(&pages).is_empty());
}

/// dcbz, stdcx. and stqcx. are stores like others, and so are reference and change bits.
#[test]
fn all_that_stores_is_in_the_log() {
    // dcbz 0,r3; ldarx + stdcx.; lqarx + stqcx.; stxvx; std across a page
    let programs: [&[u32]; 5] = [
        &[0x7c00_1fec, END],
        &[0x7ca0_18a8, 0x7c80_19ad, END],
        &[0x7cc0_1a28, 0x7d00_196d, END],
        &[0x7c00_1b18, END],
        &[0xf8a3_fffc, END],
    ];
    for program in programs {
        let ram = ram();
        let pages = pages_of(&ram, 2);
        pages.start_log();
        put(&ram, CODE, program);
        let mut cpu = cpu(|r| (r.msr, r.gpr[3]) = (SF | ME | 1 << 23, HIGH + 0x3000));
        to_the_end(&mut cpu, &ram);
        let expected: &[u64] = if program[0] == 0xf8a3_fffc { &[2, 3] } else { &[3] };
        assert_eq!(dirty(&pages), expected, "{program:x?}");
    }
}

/// While another thread takes the log again and again, no store is lost.
#[test]
fn no_store_is_lost_to_a_log_that_is_taken() {
    const PAGES: u64 = 16;
    let ram = ram();
    let pages = pages_of(&ram, 1);
    pages.start_log();
    // addi r5,r5,1; clrldi r6,r5,60; sldi r6,r6,12; add r6,r6,r3; std r5,0(r6); bdnz .-20; sc 1
    let words = [0x38a5_0001, 0x78a6_0720, 0x78c6_64e4, 0x7cc6_1a14, 0xf8a6_0000, 0x4200_ffec, END];
    put(&ram, CODE, &words);
    let mut copy = vec![0; PAGES as usize];
    let take = |copy: &mut Vec<u64>| {
        for page in dirty(&pages) {
            copy[page as usize] = get(&ram, MIDDLE + (page << 12));
        }
    };
    std::thread::scope(|scope| {
        let stores = scope.spawn(|| {
            let mut cpu = cpu(|r| (r.gpr[3], r.ctr) = (MIDDLE, 20_000_000));
            let exit = cpu.run(&Board::new(&ram), u64::MAX);
            assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
        });
        while !stores.is_finished() {
            take(&mut copy);
        }
        stores.join().unwrap();
    });
    take(&mut copy);
    let last: Vec<u64> = (0..PAGES).map(|page| get(&ram, MIDDLE + (page << 12))).collect();
    assert_eq!(copy, last);
    assert_eq!(last.iter().max(), Some(&20_000_000));
}

/// Every one of many regions is found, in whatever order they are, and nothing between them.
#[test]
fn many_regions_are_found() {
    const REGIONS: u64 = 1000;
    const STRIDE: u64 = 0x20_0000;
    let at = |number: u64| GuestAddress(number * STRIDE);
    let ranges: Vec<_> = (0..REGIONS)
        .map(|number| (at(number), if number == 0 { 0x2_0000 } else { 0x1000 }))
        .collect();
    let ram = Ram::from_ranges(&ranges).unwrap();
    // 1: ld r5,0(r3); add r6,r6,r5; std r6,8(r3); add r3,r3,r4; bdnz 1b; ld r7,0(r8); sc 1
    let words = [0xe8a3_0000, 0x7cc6_2a14, 0xf8c3_0008, 0x7c63_2214, 0x4200_fff0, 0xe8e8_0000, END];
    put(&ram, CODE, &words);
    for number in 0..REGIONS {
        ram.write_obj((number + 1).to_be(), at(number)).unwrap();
    }
    let mut board = Board::new(&ram);
    for _ in 0..2 {
        let mut cpu = Cpu::new(0, PVR, Arc::new(System::new(1)));
        let mut registers = Registers { pc: CODE, ctr: REGIONS, ..Registers::default() };
        registers.gpr[4] = STRIDE;
        // Behind the last but one.
        registers.gpr[8] = at(REGIONS - 2).0 + 0x1000;
        cpu.set_registers(&registers);
        match cpu.run(&board, u64::MAX) {
            Exit::MmioRead { address, bytes: 8 } => assert_eq!(address, registers.gpr[8]),
            other => panic!("{other:?}"),
        }
        assert_eq!(cpu.gpr(6), REGIONS * (REGIONS + 1) / 2);
        assert_eq!(get(&ram, at(REGIONS - 1).0 + 8), cpu.gpr(6));
        // In no order.
        board.0.swap(7, 900);
    }
}
