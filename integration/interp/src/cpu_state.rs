//! All that a CPU keeps, as plain data.

use crate::bits::msr;
use crate::cpu::Cpu;
use crate::mmu::Device;
use crate::spr;
use crate::state::{ProcessTable, SEGMENTS, SegmentEntry};

/// What a CPU keeps between two instructions: everything by which another one can go on in its
/// place. Not in it is what it only remembers for speed, nor a reservation, which may be lost at any
/// time (Power ISA 3.0B, Book II §1.7.2.1).
///
/// It is made by [`Cpu::state`], and nobody has to believe it: [`Cpu::set_state`] checks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CpuState {
    /// The general registers.
    pub gpr: [u64; 32],
    /// The 64 VSX registers, the upper doubleword of each first. The first 32 hold the
    /// floating-point registers in their upper doublewords, the others are the VMX registers.
    pub vsr: Vec<[u64; 2]>,
    /// The address of the next instruction.
    pub pc: u64,
    /// Machine state register.
    pub msr: u64,
    /// Condition register.
    pub cr: u32,
    /// Floating-point status and control register.
    pub fpscr: u64,
    /// Vector status and control register.
    pub vscr: u32,
    /// Special purpose registers and their values, by number (Book III §4.4.4), but for those that
    /// depend on the time. One that is missing is 0.
    pub spr: Vec<(u32, u64)>,
    /// The timebase at which the decrementer is 0; `None` before the CPU has ever run.
    pub decrementer_zero_at: Option<u64>,
    /// What the virtual timebase is ahead of the timebase.
    pub vtb_offset: u64,
    /// The entries of the segment lookaside buffer: ESID and VSID as `slbmte` takes them.
    pub slb: Vec<(u64, u64)>,
    /// Where the partition's process table is.
    pub process_table: Option<ProcessTable>,
    /// Translation is by the hashed page table of the machine.
    #[cfg_attr(feature = "serde", serde(default))]
    pub uses_hash: bool,
    /// LPCR.ILE: interrupts are taken in little-endian mode.
    pub interrupts_are_little_endian: bool,
    /// LPCR.AIL: 0, 2 or 3.
    pub interrupt_location: u8,
    /// Instructions executed.
    pub instructions: u64,
}

/// A state that no CPU can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuStateError {
    /// A list has another length.
    #[error("the state has {found} {what}; there are {expected}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A special purpose register that this CPU has not, or that is there twice.
    #[error("the state has the special purpose register {0}, which is not there once")]
    Spr(u32),
    /// The state is that of another processor.
    #[error("the state is that of a processor of version {found:#x}; this one is {own:#x}")]
    Version {
        /// PVR of the state.
        found: u64,
        /// PVR of this CPU.
        own: u64,
    },
    /// A value that a register cannot have.
    #[error("{register} cannot be {value:#x}")]
    Value {
        /// Its name.
        register: &'static str,
        /// The value.
        value: u64,
    },
    /// An access outside RAM is open: [`Cpu::complete_mmio`] comes first.
    #[error("an access outside RAM waits for its answer")]
    OpenAccess,
}

impl Cpu {
    /// All that the CPU keeps.
    ///
    /// # Errors
    /// [`CpuStateError::OpenAccess`] within an instruction.
    pub fn state(&self) -> Result<CpuState, CpuStateError> {
        if self.open_access().is_some() {
            return Err(CpuStateError::OpenAccess);
        }
        let s = &self.state;
        let registers = self.registers();
        Ok(CpuState {
            gpr: registers.gpr,
            vsr: s.vsr.iter().map(|&value| [(value >> 64) as u64, value as u64]).collect(),
            pc: s.pc,
            msr: s.msr(),
            cr: s.cr(),
            fpscr: s.fpscr,
            vscr: s.vscr,
            spr: spr::saved().filter_map(|number| Some((number, spr::get(s, number)?))).collect(),
            decrementer_zero_at: (!self.starts).then_some(s.spr.dec_zero_at),
            vtb_offset: s.spr.vtb_offset,
            slb: s.spr.segments.iter().map(|entry| (entry.esid, entry.vsid)).collect(),
            process_table: s.spr.process_table,
            uses_hash: s.spr.hash,
            interrupts_are_little_endian: s.spr.ile,
            interrupt_location: s.spr.ail,
            instructions: s.executed,
        })
    }

    /// Takes up a state. An access outside RAM that is open is given up.
    ///
    /// # Errors
    /// [`CpuStateError`] says what cannot be; nothing has changed then.
    pub fn set_state(&mut self, state: &CpuState) -> Result<(), CpuStateError> {
        self.check_state(state)?;
        let s = &mut self.state;
        *s.device = Device::IDLE;
        s.reservation = None;
        s.gpr[..32].copy_from_slice(&state.gpr);
        for (register, [high, low]) in s.vsr.iter_mut().zip(&state.vsr) {
            *register = u128::from(*high) << 64 | u128::from(*low);
        }
        for number in spr::saved() {
            let given = state.spr.iter().find(|(given, _)| *given == number);
            spr::set(s, number, given.map_or(0, |&(_, value)| value));
        }
        s.set_msr(state.msr);
        s.pc = state.pc;
        s.set_cr(state.cr);
        s.fpscr = state.fpscr;
        s.summarise();
        s.vscr = state.vscr;
        s.spr.vtb_offset = state.vtb_offset;
        s.spr.segments = Default::default();
        for (entry, &(esid, vsid)) in s.spr.segments.iter_mut().zip(&state.slb) {
            *entry = SegmentEntry { esid, vsid };
        }
        s.spr.process_table = state.process_table;
        s.spr.hash = state.uses_hash;
        s.spr.ile = state.interrupts_are_little_endian;
        s.spr.ail = state.interrupt_location;
        s.executed = state.instructions;
        s.tlb.flush();
        self.starts = state.decrementer_zero_at.is_none();
        self.state.spr.dec_zero_at = state.decrementer_zero_at.unwrap_or(0);
        Ok(())
    }

    fn check_state(&self, state: &CpuState) -> Result<(), CpuStateError> {
        let count = |what, found, expected| match found == expected {
            true => Ok(()),
            false => Err(CpuStateError::Count { what, found, expected }),
        };
        count("VSX registers", state.vsr.len(), self.state.vsr.len())?;
        count("segment entries", state.slb.len().max(SEGMENTS), SEGMENTS)?;
        let mut seen = Vec::with_capacity(state.spr.len());
        for &(number, value) in &state.spr {
            if seen.contains(&number) || !spr::saved().any(|saved| saved == number) {
                return Err(CpuStateError::Spr(number));
            }
            seen.push(number);
            let own = u64::from(self.state.spr.pvr);
            if number == spr::PVR && value != own {
                return Err(CpuStateError::Version { found: value, own });
            }
        }
        let is_64bit = state.msr & msr::SF != 0;
        value("MSR", state.msr, msr::with_implied(state.msr) == state.msr)?;
        let fits = state.pc & 3 == 0 && (is_64bit || state.pc >> 32 == 0);
        value("the program counter", state.pc, fits)?;
        check_modes(state.interrupt_location, state.process_table)
    }
}

/// Where interrupts (LPCR.AIL) and translations can be.
pub(crate) fn check_modes(
    interrupt_location: u8,
    process_table: Option<ProcessTable>,
) -> Result<(), CpuStateError> {
    let is_location = matches!(interrupt_location, 0 | 2 | 3);
    value("LPCR.AIL", interrupt_location.into(), is_location)?;
    let base = process_table.map_or(0, |table| table.base);
    let end = process_table.map_or(Some(0), |table| table.base.checked_add(table.size_bytes));
    value("the address of the process table", base, end.is_some())
}

fn value(register: &'static str, value: u64, fits: bool) -> Result<(), CpuStateError> {
    match fits {
        true => Ok(()),
        false => Err(CpuStateError::Value { register, value }),
    }
}
