//! The small hypercalls about a guest's processors: what they are, in which modes they run, where
//! the process table is, and who sleeps and wakes.
//!
//! [`PaprCalls`] answers what only needs to be known; [`ModeCalls`] decodes what has to be done
//! and leaves that to the back end's [`ProcessorModes`]. [`DispatchCalls`] is for back ends whose
//! CPUs do not sleep in KVM.

mod characteristics;
mod dispatch;
mod mode;
mod process_table;
mod reset;

use std::fmt;
use std::sync::Arc;

use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::platform::Device;
use crate::ram::GuestRam;
use crate::topology::CpuTopology;
use crate::vcpu::{CpuIndex, ServerNumber};

pub use characteristics::CpuCharacteristics;
pub use dispatch::{DispatchCalls, Prod};
pub use mode::Mode;
pub use process_table::ProcessTable;
pub use reset::ResetTargets;

/// What the guest is told of its processors and their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaprCalls {
    topology: CpuTopology,
    characteristics: Option<CpuCharacteristics>,
}

impl PaprCalls {
    /// For a machine with these CPUs.
    ///
    /// Without `characteristics`, H_GET_CPU_CHARACTERISTICS is H_FUNCTION, and the guest assumes
    /// the worst of its processor. A back end that knows better says so.
    pub fn new(topology: &CpuTopology, characteristics: Option<CpuCharacteristics>) -> Self {
        Self { topology: topology.clone(), characteristics }
    }

    /// H_GET_CPU_CHARACTERISTICS: R4 and R5.
    fn cpu_characteristics(&self, call: &mut Hypercall) -> Status {
        let Some(known) = self.characteristics else { return Status::FUNCTION };
        let [character, behaviour, ..] = &mut call.args;
        *character = known.character;
        *behaviour = known.behaviour;
        Status::SUCCESS
    }

    /// H_HOME_NODE_ASSOCIATIVITY (LoPAPR §14.11.6.1): R4 to R9.
    fn home_node(&self, call: &mut Hypercall) -> Status {
        /// "id parameter is as proc-no parameter of H_REGISTER_VPA". The other kind of id is the
        /// one in a dispatch trace log: a processor of the host, which this machine knows nothing
        /// of.
        const BY_PROCESSOR_NUMBER: u64 = 1;
        let [flags, id, ..] = call.args;
        if flags != BY_PROCESSOR_NUMBER {
            return Status::PARAMETER;
        }
        let server = u32::try_from(id).map(ServerNumber).ok();
        let Some(vcpu) = server.and_then(|server| self.topology.index(server)) else {
            return Status::P2;
        };
        let packed = pack_domains(&self.topology.domains(vcpu));
        for (register, value) in call.args.iter_mut().zip(packed) {
            *register = value;
        }
        Status::SUCCESS
    }
}

impl HypercallHandler for PaprCalls {
    fn tokens(&self) -> &[u64] {
        &[token::GET_CPU_CHARACTERISTICS, token::HOME_NODE_ASSOCIATIVITY]
    }

    fn handle(&self, _caller: CpuIndex, _ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let status = match call.token {
            token::GET_CPU_CHARACTERISTICS => self.cpu_characteristics(call),
            token::HOME_NODE_ASSOCIATIVITY => self.home_node(call),
            _ => Status::FUNCTION,
        };
        call.finish(status)
    }
}

impl Device for PaprCalls {
    fn id(&self) -> &str {
        "processor-calls"
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }
}

/// Domain numbers in R4 to R9: fields of 16 bits, from the high-order end of R4 on. A field with
/// its high-order bit set is a number of 15 bits; another is the upper half of one of 31 bits.
/// "All low order fields not required […] contain the reserved value of all ones."
fn pack_domains(domains: &[u32]) -> [u64; 6] {
    const FIELDS: usize = 24;
    const SHORT: u32 = 1 << 15;
    let mut fields = Vec::with_capacity(FIELDS);
    for &domain in domains {
        if domain < SHORT {
            fields.push((domain | SHORT) as u16);
        } else {
            fields.extend([(domain >> 16) as u16 & 0x7fff, domain as u16]);
        }
    }
    fields.resize(FIELDS, 0xffff);
    let mut registers = [0; 6];
    for (register, fields) in registers.iter_mut().zip(fields.chunks_exact(4)) {
        *register = fields.iter().fold(0, |packed, &field| packed << 16 | u64::from(field));
    }
    registers
}

/// What a back end does for the guest's processors.
///
/// Calls come from a vCPU thread inside a hypercall; the guest sees to it that no two of its CPUs
/// change the same thing at once, but nothing may break when it does not.
pub trait ProcessorModes: Send + Sync {
    /// Sets, for all CPUs, the byte order that interrupts are taken in (LPCR.ILE).
    fn set_interrupt_endianness(&self, little: bool) -> Status;

    /// Sets, for all CPUs, where interrupts are taken (LPCR.AIL): 0 at the architected addresses,
    /// 2 with relocation on and at an offset of 0x18000, 3 with relocation on and at
    /// 0xc000_0000_0000_4000.
    ///
    /// [`Status::UNSUPPORTED_FLAG`] when the processor cannot; a guest must not be told that it
    /// is set when it is not.
    fn set_interrupt_location(&self, ail: u8) -> Status;

    /// Sets how addresses are translated from here on.
    fn set_process_table(&self, table: &ProcessTable) -> Status;

    /// Sets the breakpoint register CIABR of the calling CPU. It never asks for a match in
    /// hypervisor state.
    ///
    /// By default the resource does not exist: H_P2. KVM does this by itself.
    fn set_breakpoint(&self, caller: CpuIndex, ciabr: u64) -> Status {
        let _ = (caller, ciabr);
        Status::P2
    }

    /// Sets a pair of watchpoint registers DAWRn and DAWRXn of the calling CPU, `number` being 0
    /// or 1. It never asks for a match in hypervisor state.
    ///
    /// By default the resource does not exist: H_P2. KVM does this by itself.
    fn set_watchpoint(&self, caller: CpuIndex, number: u8, dawr: u64, dawrx: u64) -> Status {
        let _ = (caller, number, dawr, dawrx);
        Status::P2
    }

    /// Gives a system reset interrupt to other CPUs, or to all.
    ///
    /// By default there is no such function: H_FUNCTION. Linux uses it when it panics, to stop
    /// its other CPUs and to see where they are, and takes an ordinary interrupt where it fails.
    /// A platform that claimed success without doing it would keep the panic waiting.
    fn system_reset(&self, caller: CpuIndex, targets: ResetTargets) -> Status {
        let _ = (caller, targets);
        Status::FUNCTION
    }
}

/// The handler of H_SET_MODE, H_REGISTER_PROC_TBL and H_SIGNAL_SYS_RESET: it decodes and checks,
/// a [`ProcessorModes`] does.
///
/// It remembers nothing and so has no state: what a guest has set is the back end's to save.
pub struct ModeCalls {
    topology: CpuTopology,
    modes: Arc<dyn ProcessorModes>,
}

impl ModeCalls {
    /// Calls of a machine with these CPUs that have their effect through `modes`.
    pub fn new(topology: &CpuTopology, modes: Arc<dyn ProcessorModes>) -> Self {
        Self { topology: topology.clone(), modes }
    }

    fn set_mode(&self, caller: CpuIndex, mode: &Mode) -> Status {
        match *mode {
            Mode::InterruptEndianness { little } => self.modes.set_interrupt_endianness(little),
            Mode::InterruptLocation { ail } => self.modes.set_interrupt_location(ail),
            Mode::Breakpoint { ciabr } => self.modes.set_breakpoint(caller, ciabr),
            Mode::Watchpoint { number, dawr, dawrx } => {
                self.modes.set_watchpoint(caller, number, dawr, dawrx)
            }
        }
    }
}

impl fmt::Debug for ModeCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModeCalls").finish_non_exhaustive()
    }
}

impl HypercallHandler for ModeCalls {
    fn tokens(&self) -> &[u64] {
        &[token::SET_MODE, token::REGISTER_PROC_TBL, token::SIGNAL_SYS_RESET]
    }

    fn handle(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let done = match call.token {
            token::SET_MODE => Mode::decode(call).map(|mode| self.set_mode(caller, &mode)),
            token::REGISTER_PROC_TBL => ProcessTable::decode(call)
                .and_then(|table| table.check(ram))
                .map(|table| self.modes.set_process_table(&table)),
            token::SIGNAL_SYS_RESET => ResetTargets::decode(call, &self.topology)
                .map(|targets| self.modes.system_reset(caller, targets)),
            _ => Err(Status::FUNCTION),
        };
        call.finish(done.unwrap_or_else(|refusal| refusal))
    }
}

impl Device for ModeCalls {
    fn id(&self) -> &str {
        "processor-modes"
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn function_sets(&self) -> &[&'static str] {
        &["hcall-set-mode"]
    }
}

#[cfg(test)]
mod tests;
