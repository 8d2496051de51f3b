//! A machine of one instruction: registers from a seed, and what they are after it.

use std::sync::Arc;

use vm_memory::{GuestAddress, VolatileSlice};

use super::{decimal, quad, words};
use crate::bits::{msr, srr1};
use crate::float::single_to_double;
use crate::interrupt::vector;
use crate::isa::{fields::*, lookup};
use crate::{Cpu, CpuBus, Exit, RamRegion, Registers, System};

/// Where things are, as in `vectors/oracle.s`.
const CODE: u64 = 0x4_0000;
pub(super) const AT: u64 = 0x4_0804;
pub(super) const DATA: u64 = 0x2_0000;
const RAM_BYTES: usize = 0x5_0000;
pub(super) const MEMORY_BYTES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// Everything that an instruction can see and change.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) gpr: [u64; 32],
    pub(super) vsr: [u128; 64],
    pub(super) cr: u64,
    pub(super) xer: u64,
    pub(super) lr: u64,
    pub(super) ctr: u64,
    pub(super) fpscr: u64,
    pub(super) vscr: u64,
    pub(super) signal: u64,
    /// Where execution went on, as a number of doublewords behind [`CODE`].
    pub(super) pad: u64,
    pub(super) memory: [u8; MEMORY_BYTES],
}

impl Snapshot {
    /// All of it, as vectors number it.
    pub(super) fn to_doublewords(&self) -> Vec<u64> {
        let mut all = self.gpr.to_vec();
        all.extend(self.vsr.iter().flat_map(|&value| [(value >> 64) as u64, value as u64]));
        let Self { cr, xer, lr, ctr, fpscr, vscr, signal, pad, .. } = *self;
        all.extend([cr, xer, lr, ctr, fpscr, vscr, signal, pad]);
        all.extend(
            self.memory
                .chunks(8)
                .map(|chunk| chunk.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))),
        );
        all
    }

    /// Which bits of a doubleword are compared. r1, r30 and r31 are the oracle's; it has no FR.
    pub(super) fn mask(index: usize) -> u64 {
        match index {
            1 | 30 | 31 => 0,
            164 => !(1 << 18),
            _ => u64::MAX,
        }
    }

    pub(super) fn name(index: usize) -> String {
        match index {
            0..32 => format!("r{index}"),
            32..160 => format!("vs{}[{}]", (index - 32) / 2, index % 2),
            168.. => format!("memory[{}]", (index - 168) * 8),
            _ => ["cr", "xer", "lr", "ctr", "fpscr", "vscr", "signal", "pad"][index - 160].into(),
        }
    }
}

/// Numbers without end (G. Steele and others, "Fast splittable pseudorandom number generators").
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

const INTEGERS: [u64; 16] = [
    0,
    1,
    2,
    31,
    63,
    64,
    u64::MAX,
    u64::MAX - 1,
    1 << 63,
    (1 << 63) - 1,
    0x8000_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0xffff_ffff_8000_0000,
    0x8080_8080_7f7f_7f7f,
    0x0123_4567_89ab_cdef,
];

/// Zeros, ones, denormals, extremes, halves, integers at the edges, infinities, NaNs; and numbers
/// that singles round up, down and at the middle.
const DOUBLES: [u64; 40] = [
    0,
    1 << 63,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    0x3ff8_0000_0000_0000,
    0x4004_0000_0000_0000,
    0xc004_0000_0000_0000,
    0x3fe0_0000_0000_0000,
    0x0010_0000_0000_0000,
    0x800f_ffff_ffff_ffff,
    1,
    0x8000_0000_0000_0001,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0xfff8_1234_5678_9abc,
    0x7ff0_0000_0000_0001,
    0xfff4_0000_2000_0000,
    0x4340_0000_0000_0000,
    0x3fb9_9999_9999_999a,
    0x3fd5_5555_5555_5555,
    0x4009_21fb_5444_2d18,
    0x41e0_0000_0000_0000,
    0xc1e0_0000_0010_0000,
    0x43e0_0000_0000_0000,
    0x43f0_0000_0000_0000,
    0x43ef_ffff_ffff_ffff,
    0x41ef_ffff_fff0_0000,
    0x47ef_ffff_e000_0000,
    0x47ef_ffff_f000_0000,
    0x3810_0000_0000_0000,
    0x380f_ffff_f000_0000,
    0x36a0_0000_0000_0000,
    0x3690_0000_0000_0000,
    0x3ff0_0000_1000_0000,
    0x3ff0_0000_3000_0000,
    0x3ff0_0000_1000_0001,
    0x000f_ffff_ffff_ffff,
];

const SINGLES: [u32; 20] = [
    0,
    0x8000_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x3fc0_0000,
    0x4020_0000,
    0x0080_0000,
    0x807f_ffff,
    1,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xffc1_2345,
    0x7f80_0001,
    0x4b80_0000,
    0x4f00_0000,
    0xcf00_0001,
    0x3dcc_cccd,
];

fn vector_register(random: &mut Random, kind: u64) -> u128 {
    let doubleword = |random: &mut Random| match kind {
        0..4 => random.of(&DOUBLES),
        4..6 => u64::from(random.of(&SINGLES)) << 32 | u64::from(random.of(&SINGLES)),
        6 => random.of(&INTEGERS),
        7 => {
            // A number of a moderate exponent.
            let exponent = 1023 - 40 + random.below(80);
            random.next() & 0x800f_ffff_ffff_ffff | exponent << 52
        }
        8 => {
            let halves = [0, 0x8000, 0x3c00, 0x7c00, 0xfc01, 0x7bff, 1, 0x3555];
            (0..4).fold(0, |all, _| all << 16 | random.of(&halves))
        }
        _ => random.next(),
    };
    u128::from(doubleword(random)) << 64 | u128::from(doubleword(random))
}

/// The registers before a word, from a seed.
pub(super) fn before(word: u32, seed: u32) -> Snapshot {
    let mut random = Random(u64::from(seed) << 32 | u64::from(word));
    let name = lookup(word).map_or("", |insn| insn.name);
    let mut gpr = [0; 32];
    for register in &mut gpr {
        *register = match random.below(4) {
            0 | 1 => random.of(&INTEGERS),
            2 => random.below(256).wrapping_sub(128),
            _ => random.next(),
        };
    }
    let kind = random.below(10);
    let singles = words::wants_singles(name);
    let mut vsr: [u128; 64] = std::array::from_fn(|_| match singles {
        _ if words::wants_quads(name) => quad::number(&mut random),
        _ if name.starts_with("bcd") => decimal::number(&mut random, name),
        true => {
            let moderate = random.next() as u32 & 0x87ff_ffff | 0x3800_0000;
            let single = if kind < 5 { random.of(&SINGLES) } else { moderate };
            u128::from(single_to_double(single)) << 64
        }
        false => vector_register(&mut random, kind),
    });
    if decimal::has_amount(name) {
        vsr[32 + ra(word) as usize] = decimal::amount(&mut random);
    }
    let target = |random: &mut Random| CODE + 8 * (1 + random.below(200)) + random.below(4);
    let mut snapshot = Snapshot {
        gpr,
        vsr,
        cr: random.next() & 0xffff_ffff,
        xer: random.next() & 0xe00c_0000 | random.below(33),
        lr: target(&mut random),
        ctr: random.of(&[0, 1, 2, u64::MAX, 1 << 32, 1 << 63]),
        fpscr: random.below(4),
        vscr: random.below(2) << 16,
        signal: 0,
        pad: 0,
        memory: std::array::from_fn(|_| random.next() as u8),
    };
    if random.below(4) == 0 {
        // Exceptions of before; and enabled ones, those whose results the oracle gets right.
        match random.below(2) {
            0 => snapshot.fpscr |= random.of(&[0x80, 0x10, 0x90]),
            _ => {
                snapshot.fpscr |= random.next() & 0x9ff8_0700 & !(1 << 18);
                if snapshot.fpscr & 0x01f8_0700 != 0 {
                    snapshot.fpscr |= 1 << 29;
                }
            }
        }
    }
    if words::wants_quads(name) && random.below(2) == 0 {
        snapshot.fpscr |= random.next() & 0xf8;
    }
    if name == "bcctr" {
        snapshot.ctr = target(&mut random);
    }
    if words::uses_memory(name) {
        let align = words::alignment(name);
        let base = DATA + 96 + (random.below(64) & !(align - 1));
        let by_index = words::has_index(word);
        snapshot.gpr[ra(word) as usize] = base;
        if by_index {
            let index = random.below(96).wrapping_sub(48) & !(align - 1);
            let index = if ra(word) == 0 { base } else { index };
            snapshot.gpr[rb(word) as usize] = index;
        }
        if words::has_length(name) {
            snapshot.gpr[rb(word) as usize] = random.below(20) << 56 | random.below(1 << 56);
        }
    }
    snapshot
}

struct Bench<'a>([RamRegion<'a>; 1]);

impl CpuBus for Bench<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.0
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }
}

/// What this core makes of it.
pub(super) fn execute(word: u32, before: &Snapshot, order: Order) -> Snapshot {
    /// `sc 1`: where the instruction may go, the run ends.
    const END: u32 = 0x4400_0022;
    let mut ram = vec![0; RAM_BYTES];
    let bytes = |word: u32| match order {
        Order::Little => word.to_le_bytes(),
        Order::Big => word.to_be_bytes(),
    };
    let code = CODE as usize;
    let vectors = [vector::PROGRAM, vector::ALIGNMENT, vector::DATA_STORAGE];
    let ends = (code..code + 0x1000).step_by(4).chain(vectors.map(|vector| vector as usize));
    for at in ends {
        ram[at..at + 4].copy_from_slice(&bytes(END));
    }
    ram[AT as usize..][..4].copy_from_slice(&bytes(word));
    ram[DATA as usize..][..MEMORY_BYTES].copy_from_slice(&before.memory);

    let mut cpu = Cpu::new(0, 0x004e_1200, Arc::new(System::new(1)));
    cpu.set_interrupt_endianness(order == Order::Little);
    let endian = if order == Order::Little { msr::LE } else { 0 };
    cpu.set_registers(&Registers {
        gpr: before.gpr,
        vsr: before.vsr,
        pc: AT,
        msr: msr::SF | msr::ME | msr::FP | msr::VEC | msr::VSX | endian,
        lr: before.lr,
        ctr: before.ctr,
        cr: before.cr as u32,
        xer: before.xer,
        fpscr: before.fpscr,
        vscr: before.vscr as u32,
        ..Registers::default()
    });
    let slice = VolatileSlice::from(ram.as_mut_slice());
    let exit = cpu.run(&Bench([RamRegion::new(GuestAddress(0), slice)]), 64);
    assert!(matches!(exit, Exit::Hypercall), "{:08x}: {exit:?}", word);
    let after = cpu.registers();
    let signal = match after.pc - 4 {
        vector::PROGRAM if after.srr1 & srr1::TRAP != 0 => 5,
        vector::PROGRAM => 4,
        vector::ALIGNMENT => 7,
        vector::DATA_STORAGE => 11,
        _ => 0,
    };
    let pad = if signal == 0 { (after.pc - 4 - CODE) / 8 } else { 0 };
    let mut memory = [0; MEMORY_BYTES];
    memory.copy_from_slice(&ram[DATA as usize..][..MEMORY_BYTES]);
    Snapshot {
        gpr: after.gpr,
        vsr: after.vsr,
        cr: after.cr.into(),
        xer: after.xer,
        lr: after.lr,
        ctr: after.ctr,
        fpscr: after.fpscr,
        vscr: after.vscr.into(),
        signal,
        pad,
        memory,
    }
}
