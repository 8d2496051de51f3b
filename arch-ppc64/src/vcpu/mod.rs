//! How one virtual CPU names and reaches another.

mod registers;
mod run;

use std::fmt;

use vm_memory::GuestAddress;

use crate::cas::decision::{Decision, Negotiated};
use crate::ram::GuestRam;

pub use registers::EntryRegisters;
pub use run::{Kick, VcpuExit};

/// A virtual CPU of the machine, counted from 0: what VMM and handlers know it by, and what lists of
/// CPUs are indexed with. No guest ever sees it: see [`ServerNumber`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CpuIndex(pub u32);

impl fmt::Display for CpuIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vcpu{}", self.0)
    }
}

/// What a guest knows a virtual CPU by: its interrupt server number (LoPAPR §B.6.2.1,
/// `ibm,ppc-interrupt-server#s`), of which the first of a core is the unit address and `reg` of the
/// core's node below `/cpus`. PAPR and RTAS calls take it.
///
/// Numbers may be missing between those that there are, so it is no index. Of a number that a guest
/// passed, [`CpuTopology::index`](crate::topology::CpuTopology::index) tells the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerNumber(pub u32);

impl fmt::Display for ServerNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {:#x}", self.0)
    }
}

/// Where a virtual CPU stands, as `query-cpu-stopped-state` reports it (LoPAPR §7.3.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuState {
    /// In the RTAS stopped state: waits for `start-cpu`.
    Stopped,
    /// `stop-self` was called, or a start is under way; not yet in its final state.
    InTransition,
    /// Runs guest code.
    Running,
}

/// Why a virtual CPU could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The machine has no CPU of that number.
    #[error("there is no such virtual CPU")]
    NoSuchCpu,
    /// Only a stopped CPU can be started (LoPAPR §7.3.8.2).
    #[error("the virtual CPU is not stopped")]
    NotStopped,
    /// Where it is to start, there can be no instruction: no multiple of 4, or not in RAM.
    #[error("there is no instruction where the virtual CPU is to start")]
    NoCode,
}

/// Starts a stopped CPU for a guest: the one way in for RTAS `start-cpu` and for the client
/// interface's service of that name.
///
/// A CPU that starts where there is no instruction could only be lost, so that is looked at first;
/// the rest is up to the [`VcpuHost`].
///
/// # Errors
/// [`StartError`] says why the CPU stays as it was.
pub fn start_cpu(
    cpus: &dyn VcpuHost,
    ram: &dyn GuestRam,
    target: CpuIndex,
    entry: GuestAddress,
    r3: u64,
) -> Result<(), StartError> {
    /// Of an instruction, in bytes (Power ISA 3.0B, Book I §1.6).
    const INSTRUCTION_BYTES: u64 = 4;
    let has_code =
        entry.0 % INSTRUCTION_BYTES == 0 && ram.check_ram(entry, INSTRUCTION_BYTES).is_ok();
    if !has_code {
        return Err(StartError::NoCode);
    }
    cpus.start(target, EntryRegisters::at(entry).with_arguments([r3, 0, 0]))
}

/// What the VMM supplies so that one virtual CPU can act on another.
///
/// Calls come from a vCPU thread inside a hypercall and must not wait for the target: a mailbox
/// and a wake, never a lock that the target holds while it runs guest code.
pub trait VcpuHost: Send + Sync {
    /// The state of `target`, or `None` when the machine has no such CPU.
    fn state(&self, target: CpuIndex) -> Option<CpuState>;

    /// Starts a stopped CPU with these registers; [`start_cpu`] has looked at where it starts
    /// (LoPAPR §7.3.8.2, `start-cpu`).
    ///
    /// # Errors
    /// [`StartError`] when there is no such CPU or it is not stopped; nothing has changed then.
    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError>;

    /// The guest and its platform have come to an agreement, which the device tree will say when
    /// this returns [`Negotiated::Live`] (LoPAPR §B.6.2.3). It replaces whatever was agreed before:
    /// a guest may negotiate again, and get its machine's own level back.
    ///
    /// Called by the client interface, on the thread of the vCPU that negotiates, in its hypercall.
    /// A level is for each CPU to take before it next enters the guest, as the modes are that
    /// [`ProcessorModes`](crate::papr::ProcessorModes) sets: write it down and kick.
    ///
    /// With [`Negotiated::NeedsReset`], the machine restarts, and what it restarts with has to be
    /// made as agreed on: its tree by [`Start::decision`](crate::fdt::Start::decision), its CPUs by
    /// the VMM. Its guest then proposes the same again, and has to get [`Negotiated::Live`].
    ///
    /// By default, what the CPUs are from the start on can be agreed on, and nothing else.
    fn negotiated(&self, decision: &Decision) -> Negotiated {
        if decision.is_as_started() { Negotiated::Live } else { Negotiated::Refused }
    }
}

/// No virtual CPUs: for a machine that is only described.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCpus;

impl VcpuHost for NoCpus {
    fn state(&self, _: CpuIndex) -> Option<CpuState> {
        None
    }

    fn start(&self, _: CpuIndex, _: EntryRegisters) -> Result<(), StartError> {
        Err(StartError::NoSuchCpu)
    }
}
