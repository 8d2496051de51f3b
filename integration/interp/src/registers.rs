//! The registers as others see them.

use std::fmt;

use crate::bits::msr;
use crate::state::Sprs;

/// The registers of a CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are the architecture's")]
pub struct Registers {
    pub gpr: [u64; 32],
    pub vsr: [u128; 64],
    pub pc: u64,
    pub msr: u64,
    pub lr: u64,
    pub ctr: u64,
    pub cr: u32,
    pub xer: u64,
    pub fpscr: u64,
    pub vscr: u32,
    pub srr0: u64,
    pub srr1: u64,
    pub dar: u64,
    pub dsisr: u32,
}

impl Default for Registers {
    fn default() -> Self {
        let Sprs { srr0, srr1, dar, dsisr, .. } = Sprs::default();
        Self {
            gpr: [0; 32],
            vsr: [0; 64],
            pc: 0,
            msr: msr::SF | msr::ME,
            lr: 0,
            ctr: 0,
            cr: 0,
            xer: 0,
            fpscr: 0,
            vscr: 0,
            srr0,
            srr1,
            dar,
            dsisr,
        }
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, values) in self.gpr.chunks(4).enumerate() {
            write!(f, "r{:<3}", row * 4)?;
            for value in values {
                write!(f, " {value:016x}")?;
            }
            writeln!(f)?;
        }
        let Self { pc, msr, lr, ctr, cr, xer, .. } = self;
        writeln!(f, "pc   {pc:016x} msr {msr:016x} lr {lr:016x} ctr {ctr:016x}")?;
        let Self { srr0, srr1, dar, dsisr, .. } = self;
        writeln!(f, "cr   {cr:08x} xer {xer:08x} srr0 {srr0:016x} srr1 {srr1:016x}")?;
        write!(f, "dar  {dar:016x} dsisr {dsisr:08x} fpscr {:016x}", self.fpscr)
    }
}
