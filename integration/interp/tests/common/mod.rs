//! A machine of a megabyte for small programs.

// Each test file takes what it needs.
#![allow(dead_code)]

use std::cell::Cell;
use std::sync::Arc;

use interp::{Cpu, CpuBus, Exit, PageMap, ProcessTable, RamRegion, Registers, System};
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

pub(crate) const RAM_BYTES: usize = 1 << 20;
pub(crate) const CODE: u64 = 0x1_0000;
/// `sc 1`: the end of each program.
pub(crate) const END: u32 = 0x4400_0022;

pub(crate) const SF: u64 = 1 << 63;
pub(crate) const EE: u64 = 1 << 15;
pub(crate) const PR: u64 = 1 << 14;
pub(crate) const ME: u64 = 1 << 12;
pub(crate) const IR_DR: u64 = 3 << 4;

pub(crate) struct Board<'a> {
    pub(crate) ram: VolatileSlice<'a>,
    pub(crate) regions: [RamRegion<'a>; 1],
    pub(crate) pages: PageMap,
    pub(crate) external: Cell<bool>,
}

impl CpuBus for Board<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.regions
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }

    fn external_interrupt(&self) -> bool {
        self.external.get()
    }
}

pub(crate) struct Bench<'a> {
    pub(crate) board: Board<'a>,
    pub(crate) cpu: Cpu,
    pub(crate) system: Arc<System>,
}

/// A big-endian machine with `words` at [`CODE`], and an end at each interrupt vector.
pub(crate) fn bench<'a>(ram: &'a mut Vec<u8>, words: &[u32]) -> Bench<'a> {
    ram.resize(RAM_BYTES, 0);
    let ram = VolatileSlice::from(ram.as_mut_slice());
    let pages = PageMap::new(RAM_BYTES);
    let regions = [RamRegion::new(GuestAddress(0), ram).with_pages(pages.clone())];
    let board = Board { ram, regions, pages, external: Cell::new(false) };
    for vector in (0x100..0x1000).step_by(0x20) {
        board.ram.write_obj(END.to_be(), vector).unwrap();
    }
    for (at, word) in (CODE as usize..).step_by(4).zip(words) {
        board.ram.write_obj(word.to_be(), at).unwrap();
    }
    let system = Arc::new(System::new(1));
    let mut cpu = Cpu::new(0, 0x004e_1203, system.clone());
    cpu.start(CODE, true);
    Bench { board, cpu, system }
}

impl Bench<'_> {
    pub(crate) fn registers(&mut self, set: impl FnOnce(&mut Registers)) {
        let mut registers = self.cpu.registers();
        set(&mut registers);
        self.cpu.set_registers(&registers);
    }

    /// Runs to the end; the registers there.
    pub(crate) fn run(&mut self) -> Registers {
        let exit = self.cpu.run(&self.board, 10_000);
        assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
        self.cpu.registers()
    }

    pub(crate) fn write(&self, at: u64, doubleword: u64) {
        self.board.ram.write_obj(doubleword.to_be(), at as usize).unwrap();
    }

    pub(crate) fn read(&self, at: u64) -> u64 {
        u64::from_be(self.board.ram.read_obj(at as usize).unwrap())
    }

    /// A radix tree of one leaf of 64 KiB at `ea`, for the kernel's process 0 and for process 1.
    pub(crate) fn map(&mut self, ea: u64, real: u64, protection: u64) {
        const TABLE: u64 = 0x8_0000;
        const NODES: [u64; 4] = [0x9_0000, 0xa_0000, 0xb_0000, 0xc_0000];
        // 52 bits: 13 + 9 + 9 + 5.
        let root = 2 << 61 | NODES[0] | 5 << 5 | 13;
        self.write(TABLE, root);
        self.write(TABLE + 16, root);
        let index = |shift: u32, bits: u32| (ea >> shift & ((1 << bits) - 1)) * 8;
        self.write(NODES[0] + index(39, 13), 1 << 63 | NODES[1] | 9);
        self.write(NODES[1] + index(30, 9), 1 << 63 | NODES[2] | 9);
        self.write(NODES[2] + index(21, 9), 1 << 63 | NODES[3] | 5);
        self.write(NODES[3] + index(16, 5), 3 << 62 | real | protection);
        let table = ProcessTable { base: TABLE, size_bytes: 4096 };
        self.cpu.set_process_table(Some(table));
    }
}

pub(crate) const LEAF: u64 = 0xc_0000;
pub(crate) const PRIVILEGED: u64 = 8;
pub(crate) const READ_WRITE: u64 = 6;
pub(crate) const EXECUTE: u64 = 1;
pub(crate) const KERNEL: u64 = 0xc000_0000_0000_0000;

/// G. Steele and others, "Fast splittable pseudorandom number generators".
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}
