//! Why a CPU left guest code.

use std::fmt;

use crate::registers::Registers;

/// Why [`crate::Cpu::run`] returned.
#[derive(Debug)]
#[non_exhaustive]
pub enum Exit {
    /// `sc 1`: the token is in r3, arguments in r4 to r12. The next run goes on behind it.
    Hypercall,
    /// As many instructions as were wanted have been executed.
    Budget,
    /// [`crate::CpuBus::kicked`] said so.
    Kicked,
    /// A load where there is no RAM: the instruction waits for [`crate::Cpu::complete_mmio`]. The
    /// address is a multiple of the size.
    MmioRead {
        /// Real address.
        address: u64,
        /// How many bytes: 1, 2, 4 or 8.
        bytes: usize,
    },
    /// A store where there is no RAM: the instruction waits for [`crate::Cpu::complete_mmio`]. The
    /// address is a multiple of the size.
    MmioWrite {
        /// Real address.
        address: u64,
        /// The bytes in memory order; those past `bytes` are zero.
        data: [u8; 8],
        /// How many bytes: 1, 2, 4 or 8.
        bytes: usize,
    },
    /// The next instruction is one that this core does not have, or none at all in a kernel, and
    /// [`crate::Cpu::stop_at_unimplemented`] was asked for.
    Unimplemented(Box<Unimplemented>),
    /// The guest takes an interrupt whose first instruction cannot be fetched, or is none, for
    /// ever.
    Stuck(Box<Stuck>),
}

/// An instruction that this core does not have.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Unimplemented {
    /// The word.
    pub word: u32,
    /// As assembly language.
    pub disassembly: String,
    /// All registers before it.
    pub registers: Registers,
}

impl fmt::Display for Unimplemented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { word, disassembly, registers } = self;
        writeln!(f, "not implemented: {word:08x} ({disassembly}) at {:#x}", registers.pc)?;
        write!(f, "{registers}")
    }
}

/// A guest whose interrupt vectors are not there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stuck {
    /// All registers.
    pub registers: Registers,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no instruction at the interrupt vector {:#x}", self.registers.pc)?;
        write!(f, "{}", self.registers)
    }
}
