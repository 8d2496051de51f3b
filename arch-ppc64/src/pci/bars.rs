//! Base address registers: what a function has in memory and I/O space (PCI Local Bus Specification
//! 3.0, §6.2.5).

use super::config_space::{
    BASE_ADDRESSES, COMMAND, COMMAND_IO, COMMAND_MEMORY, ConfigSpace, ROM_BASE_ADDRESS,
};

/// How many registers there are.
const COUNT: u16 = 6;

const IS_IO: u32 = 1;
const IO_FLAGS: u32 = 3;
const MEMORY_FLAGS: u32 = 0xf;
const MEMORY_TYPE: u32 = 6;
const MEMORY_TYPE_64: u32 = 4;
const MEMORY_PREFETCHABLE: u32 = 8;
const ROM_FLAGS: u32 = 0x7ff;

/// The space that a register has its address in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Io,
    Memory32,
    Memory64,
}

/// A base address register that a function has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bar {
    /// Where it is in configuration space: 0x10 to 0x24, or 0x30 for the expansion ROM.
    pub(super) register: u16,
    pub(super) space: Space,
    pub(super) is_prefetchable: bool,
    /// How many bytes are at its address: a power of two.
    pub(super) bytes: u64,
}

impl Bar {
    /// The registers of a function. Their sizes are found as the specification has it, by writing
    /// ones; everything is as before afterwards.
    pub(super) fn all(space: &ConfigSpace<'_>) -> Vec<Self> {
        let command = space.u16(COMMAND);
        space.set_u16(COMMAND, command & !(COMMAND_IO | COMMAND_MEMORY));
        let mut bars = Vec::new();
        let mut number = 0;
        while number < COUNT {
            let found = Self::find(space, number);
            number += if found.is_some_and(|bar| bar.space == Space::Memory64) { 2 } else { 1 };
            bars.extend(found);
        }
        bars.extend(Self::rom(space));
        space.set_u16(COMMAND, command);
        bars
    }

    /// The register of this number, 0 for the one at 0x10.
    pub(super) fn is_number(&self, number: u8) -> bool {
        self.register == BASE_ADDRESSES + 4 * u16::from(number)
    }

    /// Whether it is the address of the expansion ROM.
    pub(super) fn is_rom(&self) -> bool {
        self.register == ROM_BASE_ADDRESS
    }

    /// The address that it holds, as a number.
    pub(super) fn address(&self, space: &ConfigSpace<'_>) -> u64 {
        let low = space.u32(self.register);
        match self.space {
            Space::Io => (low & !IO_FLAGS).into(),
            Space::Memory32 if self.is_rom() => (low & !ROM_FLAGS).into(),
            Space::Memory32 => (low & !MEMORY_FLAGS).into(),
            Space::Memory64 => {
                u64::from(space.u32(self.register + 4)) << 32 | u64::from(low & !MEMORY_FLAGS)
            }
        }
    }

    fn find(space: &ConfigSpace<'_>, number: u16) -> Option<Self> {
        let register = BASE_ADDRESSES + 4 * number;
        let low = writable(space, register, u32::MAX);
        let flags = space.u32(register);
        let mut bar = Self { register, space: Space::Memory32, is_prefetchable: false, bytes: 0 };
        let mut writable_bits = u64::from(low);
        if flags & IS_IO != 0 {
            bar.space = Space::Io;
            writable_bits &= !u64::from(IO_FLAGS);
        } else {
            bar.is_prefetchable = flags & MEMORY_PREFETCHABLE != 0;
            writable_bits &= !u64::from(MEMORY_FLAGS);
            if flags & MEMORY_TYPE == MEMORY_TYPE_64 && number + 1 < COUNT {
                bar.space = Space::Memory64;
                writable_bits |= u64::from(writable(space, register + 4, u32::MAX)) << 32;
            }
        }
        bar.bytes = lowest_bit(writable_bits)?;
        Some(bar)
    }

    fn rom(space: &ConfigSpace<'_>) -> Option<Self> {
        let bits = writable(space, ROM_BASE_ADDRESS, !ROM_FLAGS) & !ROM_FLAGS;
        Some(Self {
            register: ROM_BASE_ADDRESS,
            space: Space::Memory32,
            is_prefetchable: false,
            bytes: lowest_bit(bits.into())?,
        })
    }
}

/// What a register holds after `ones` were written to it; it is put back.
fn writable(space: &ConfigSpace<'_>, register: u16, ones: u32) -> u32 {
    let before = space.u32(register);
    space.set_u32(register, ones);
    let after = space.u32(register);
    space.set_u32(register, before);
    after
}

fn lowest_bit(bits: u64) -> Option<u64> {
    (bits != 0).then(|| bits & bits.wrapping_neg())
}
