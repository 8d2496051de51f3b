//! The guest is untrusted: whatever it executes, in whatever state, the core does not panic and
//! comes back.

mod common;

use std::sync::{Arc, Mutex};

use interp::{
    Cpu, CpuBus, Exit, GonePage, HashTable, PageEntry, ProcessTable, RamRegion, Registers, System,
    VirtualPage, disassemble,
};
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

use common::{CODE, EXECUTE, ME, PR, READ_WRITE, Random};

const RAM_BYTES: u64 = 1 << 18;

struct Board<'a>([RamRegion<'a>; 1]);

impl CpuBus for Board<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.0
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }

    fn external_interrupt(&self) -> bool {
        true
    }
}

/// Often an edge, often near the edges of RAM.
fn value(random: &mut Random) -> u64 {
    match random.next() % 6 {
        0 => [0, 1, u64::MAX, 1 << 63, 0xffff_ffff, 1 << 32][(random.next() % 6) as usize],
        1 => RAM_BYTES.wrapping_add(random.next() % 64).wrapping_sub(32),
        2 => (random.next() % 64).wrapping_sub(32),
        3 => random.next() % RAM_BYTES,
        _ => random.next(),
    }
}

#[test]
fn random_words_in_random_states() {
    let mut random = Random(1);
    let mut ram = vec![0; RAM_BYTES as usize];
    let ram = VolatileSlice::from(ram.as_mut_slice());
    let board = Board([RamRegion::new(GuestAddress(0), ram)]);
    let mut cpu = Cpu::new(0, 0x004e_1203, Arc::new(System::new(1)));
    for round in 0..500_000 {
        if round % 4096 == 0 {
            // Memory full of words, some of which are radix trees.
            for at in (0..RAM_BYTES).step_by(8) {
                // The larger half of the instructions has one of these primary opcodes.
                let primary =
                    [4, 19, 30, 31, 57, 59, 60, 61, 62, 63][(random.next() % 10) as usize];
                let word = random.next() as u32 & 0x03ff_ffff | primary << 26;
                let doubleword = random.next() << 32 | u64::from(word);
                ram.write_obj(doubleword.to_be(), at as usize).unwrap();
            }
        }
        let mut registers = Registers {
            gpr: std::array::from_fn(|_| value(&mut random)),
            vsr: std::array::from_fn(|_| {
                u128::from(random.next()) << 64 | u128::from(value(&mut random))
            }),
            pc: value(&mut random),
            msr: random.next(),
            lr: value(&mut random),
            ctr: value(&mut random),
            cr: random.next() as u32,
            xer: random.next(),
            fpscr: random.next(),
            vscr: random.next() as u32,
            ..Registers::default()
        };
        // Facilities on, mostly; translation off, mostly.
        if random.next() % 8 != 0 {
            registers.msr |= 1 << 63 | 1 << 25 | 1 << 23 | 1 << 13;
            registers.msr &= !(1 << 14 | 3 << 4);
            registers.pc = (random.next() % RAM_BYTES) | 4;
        }
        cpu.set_registers(&registers);
        let table =
            ProcessTable { base: value(&mut random), size_bytes: 1 << (random.next() % 40) };
        cpu.set_process_table(Some(table));
        cpu.set_interrupt_location((random.next() % 4) as u8);
        cpu.set_interrupt_endianness(random.next() % 2 == 0);
        let exit = cpu.run(&board, 64);
        assert!(!matches!(exit, Exit::Unimplemented(_)), "{exit:?}");
        cpu.step(&board);
        drop(cpu.complete_mmio(random.next().to_ne_bytes()));
    }
    assert!(cpu.instructions() > 0);
}

/// A hashed page table that has every page, and says something else of it each time.
#[derive(Debug)]
struct AnyTable(Mutex<Random>);

impl HashTable for AnyTable {
    fn find(&self, page: &VirtualPage) -> Option<PageEntry> {
        assert!(page.offset >> page.segment_shift == 0 && page.segment_shift <= 40);
        let mut random = self.0.lock().unwrap();
        let second = match random.next() % 4 {
            0 => random.next(),
            _ => (random.next() % RAM_BYTES) & !0xfff | 0x192,
        };
        let shift = [12, 16, 24][(random.next() % 3) as usize];
        (random.next() % 8 != 0).then_some(PageEntry { number: 0, second, shift })
    }

    fn record(&self, _: &PageEntry, _: u64) -> bool {
        self.0.lock().unwrap().next() % 4 != 0
    }
}

/// Whatever segments a guest makes, and whatever is in its table, from one moment to the next.
#[test]
fn random_words_in_random_segments() {
    let mut random = Random(5);
    let mut ram = vec![0; RAM_BYTES as usize];
    let ram = VolatileSlice::from(ram.as_mut_slice());
    let board = Board([RamRegion::new(GuestAddress(0), ram)]);
    let system = Arc::new(System::new(1));
    system.set_hash_table(Arc::new(AnyTable(Mutex::new(Random(6)))));
    let mut cpu = Cpu::new(0, 0x004e_1203, system.clone());
    cpu.use_hash(true);
    for round in 0..50_000 {
        if round % 4096 == 0 {
            for at in (0..RAM_BYTES).step_by(8) {
                // Loads, stores, and what is in opcode 31: segments, keys, translation.
                let word = random.next() as u32 & 0x03ff_ffff
                    | [31, 31, 32, 36, 58, 62][(random.next() % 6) as usize] << 26;
                let segment = [402, 434, 466, 498, 851, 915, 979][(random.next() % 7) as usize];
                let segment = 31 << 26 | random.next() as u32 & 0x03ff_f800 | segment << 1;
                ram.write_obj((u64::from(word) << 32 | u64::from(segment)).to_be(), at as usize)
                    .unwrap();
            }
        }
        let mut state = cpu.state().unwrap();
        state.slb = (0..random.next() % 33)
            .map(|_| (random.next() & 3 << 62 | random.next() & 0x1fff_ffff, random.next()))
            .collect();
        state.gpr = std::array::from_fn(|_| value(&mut random));
        (state.msr, state.pc) = (1 << 63 | 1 << 12 | 3 << 4, (random.next() % RAM_BYTES) & !3);
        cpu.set_state(&state).unwrap();
        drop(cpu.run(&board, 64));
        drop(cpu.complete_mmio(random.next().to_ne_bytes()));
        while cpu.complete_mmio([0; 8]).is_some() {}
        system.pages_gone(&[GonePage { offset: random.next(), shift: 12 }]);
    }
}

#[test]
fn every_word_has_a_disassembly() {
    let mut random = Random(2);
    for _ in 0..200_000 {
        assert!(!disassemble(random.next() as u32).is_empty());
    }
}

/// Whatever a user executes, the machine is needed for nothing but the kernel's own calls.
#[test]
fn random_words_of_a_user() {
    const USER: u64 = 0x1_0000_0000;
    let mut random = Random(4);
    let mut ram = Vec::new();
    let mut bench = common::bench(&mut ram, &[]);
    bench.map(USER, CODE, READ_WRITE | EXECUTE);
    for round in 0..50_000u64 {
        if round % 64 == 0 {
            for at in (CODE..CODE + 0x1_0000).step_by(8) {
                bench.write(at, random.next());
            }
            bench.board.pages.mark_dirty(CODE as usize, 0x1_0000);
        }
        bench.registers(|r| {
            r.gpr = std::array::from_fn(|_| USER + 0x8000 + random.next() % 64);
            (r.lr, r.ctr) = (USER + random.next() % 0x1_0000, USER + random.next() % 0x1_0000);
            r.pc = USER + random.next() % 0x1_0000;
            // Facilities at random, and tracing, and both widths and orders.
            r.msr = PR | ME | random.next();
        });
        let exit = bench.cpu.run(&bench.board, 64);
        assert!(matches!(exit, Exit::Hypercall | Exit::Budget), "{exit:?}");
        assert!(bench.cpu.registers().msr & PR == 0 || matches!(exit, Exit::Budget));
    }
}
