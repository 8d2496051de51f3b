//! Run-Time Abstraction Services: what the guest's system asks of its platform while it runs
//! (LoPAPR chapter 7).
//!
//! The guest gets twenty bytes of code, [put where it asked for them](instantiate), that turn a
//! call of RTAS into the hypercall [`token::RTAS`] with the address of the argument buffer. The
//! handler [`Rtas`] reads that buffer, looks the call up in the one table of calls, and writes
//! the results back. [`calls`] is the same table for the device tree: `/rtas` has a property for
//! each call.
//!
//! The tree's writer also has to know: `ibm,os-term` is used by Linux only where `/rtas` has the
//! property `ibm,extended-os-term` (see [`AfterOsTerm`]), and `rtas-event-scan-rate` is 0, as
//! there is never an event to be found by `event-scan`.

mod args;
mod clock;
mod cpus;
mod handler;
mod interrupts;
mod parameters;
mod platform;
mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vm_memory::GuestAddress;

use crate::console::Console;
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, TRACE_TARGET, token};
use crate::machine::Machine;
use crate::ram::{GuestRam, MemoryFault};
use crate::vcpu::{CpuIndex, VcpuHost};

pub use args::RtasStatus;
use args::{Answer, ArgumentBuffer, Invocation};
pub use clock::{HostTime, RealTimeClock, SystemTime};
pub use handler::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome};
pub use interrupts::{InterruptSources, UnknownSource, Xive};

/// How much memory RTAS asks for, in bytes: the value of `rtas-size`. The guest allocates it; the
/// code at its start is all that is ever put there.
pub const SIZE_BYTES: u32 = 4096;

const _: () = assert!(vof_firmware::RTAS_SHIM.len() <= SIZE_BYTES as usize);

/// Every RTAS call by its name and its token: the properties of `/rtas` (LoPAPR §7.2.6.1).
///
/// The tokens are the same in every build and never 0, which is KVM's sign for "none".
pub fn calls() -> impl Iterator<Item = (&'static str, u32)> {
    table::CALLS.iter().map(|call| (call.name, call.token))
}

/// The token of a call, or `None` when there is no such call.
pub fn token_of(name: &str) -> Option<u32> {
    calls().find(|call| call.0 == name).map(|call| call.1)
}

/// Puts the code of RTAS at `base` and returns its entry point (LoPAPR §7.2.5,
/// `instantiate-rtas`).
///
/// # Errors
/// [`InstantiateError`] when RTAS cannot be there; nothing has been written then.
pub fn instantiate(
    ram: &dyn GuestRam,
    base: GuestAddress,
) -> Result<GuestAddress, InstantiateError> {
    let end = base.0.checked_add(SIZE_BYTES.into());
    if base.0 % 4 != 0 || end.is_none_or(|end| end > 1 << 32) {
        return Err(InstantiateError::Base { base });
    }
    // All of it has to be RAM, not only the part that is used.
    ram.check_ram(base, SIZE_BYTES.into())?;
    ram.write(base, vof_firmware::RTAS_SHIM.as_ref())?;
    Ok(base)
}

/// Why RTAS cannot be where it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstantiateError {
    /// The address is none that 32-bit code can run at.
    #[error(
        "RTAS cannot be at {:#x}: it needs {SIZE_BYTES} bytes below 4 GiB, at a multiple of 4",
        .base.0
    )]
    Base {
        /// Where it was to be.
        base: GuestAddress,
    },
    /// There is no RAM.
    #[error("RTAS cannot be where there is no RAM")]
    Memory(#[from] MemoryFault),
}

/// What the calls have to know of their machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtasConfig {
    /// How many virtual CPUs there are at boot.
    pub boot_cpus: u32,
    /// How many virtual CPUs the tree leaves room for.
    pub max_cpus: u32,
    /// RAM at boot in bytes.
    pub memory_bytes: u64,
    /// The machine's name, for system parameter 55.
    pub name: Option<String>,
    /// The machine's UUID in the order its text is written in, for system parameter 48.
    pub uuid: Option<[u8; 16]>,
    /// What happens once the guest's system has said that it is at its end.
    pub after_os_term: AfterOsTerm,
}

impl RtasConfig {
    /// Of a machine without a name and a UUID, which stops when its system crashes.
    pub fn of_machine(machine: &Machine) -> Self {
        Self {
            boot_cpus: machine.boot_cpus(),
            max_cpus: machine.max_cpus(),
            memory_bytes: machine.memory_bytes(),
            name: None,
            uuid: None,
            after_os_term: AfterOsTerm::default(),
        }
    }
}

/// What a machine does after `ibm,os-term` (LoPAPR §7.3.9.1).
///
/// A platform with the property `ibm,extended-os-term` returns from the call, and the guest then
/// does what it is set up to do; Linux makes the call on no other platform, so the property has
/// to be there. The owner of a virtual machine mostly wants to know of a crash at once: that is
/// the default, and a guest that would have restarted by itself (`panic=`) does not get that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterOsTerm {
    /// The machine stops, as crashed.
    #[default]
    Stop,
    /// The call returns, as the specification has it. The crash is logged.
    Return,
}

/// The handler of RTAS calls.
pub struct Rtas {
    cpus: Arc<dyn VcpuHost>,
    console: Arc<dyn Console>,
    config: RtasConfig,
    clock: Arc<RealTimeClock>,
    sources: Option<Arc<dyn InterruptSources>>,
    messages: AtomicU32,
}

impl Rtas {
    /// RTAS of a machine with these CPUs and this console.
    ///
    /// It has the host's clock, and no interrupt sources of its own: KVM's XICS answers the calls
    /// about them by itself.
    pub fn new(cpus: Arc<dyn VcpuHost>, console: Arc<dyn Console>, config: RtasConfig) -> Self {
        Self {
            cpus,
            console,
            config,
            clock: Arc::new(RealTimeClock::default()),
            sources: None,
            messages: AtomicU32::new(0),
        }
    }

    /// With another clock: the one that is kept over restarts of the machine.
    #[must_use]
    pub fn with_clock(self, clock: Arc<RealTimeClock>) -> Self {
        Self { clock, ..self }
    }

    /// With interrupt sources, for a back end whose interrupt controller the VMM emulates.
    #[must_use]
    pub fn with_interrupt_sources(self, sources: Arc<dyn InterruptSources>) -> Self {
        Self { sources: Some(sources), ..self }
    }

    /// Whether one more message that the guest causes may go to the log.
    fn may_log(&self) -> bool {
        const MESSAGES_MAX: u32 = 16;
        let count = |n: u32| (n < MESSAGES_MAX).then_some(n + 1);
        self.messages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }
}

impl fmt::Debug for Rtas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtas").field("config", &self.config).finish_non_exhaustive()
    }
}

impl HypercallHandler for Rtas {
    fn tokens(&self) -> &[u64] {
        &[token::RTAS]
    }

    /// Answers H_PARAMETER when the argument buffer is not in RAM or has no place for a status,
    /// else H_SUCCESS with the status of the call in the buffer.
    fn handle(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let Ok(mut buffer) = ArgumentBuffer::read(ram, GuestAddress(call.args[0])) else {
            return call.finish(Status::PARAMETER);
        };
        let answer = match table::find(buffer.token()) {
            Some(entry) if entry.accepts(&buffer) => {
                let (inputs, outputs) = buffer.cells_mut();
                (entry.run)(self, &mut Invocation { ram, inputs, outputs })
            }
            Some(entry) => {
                if self.may_log() {
                    log::warn!("RTAS call {} has wrong counts of arguments", entry.name);
                }
                RtasStatus::PARAMETER_ERROR.into()
            }
            None => {
                if self.may_log() {
                    log::warn!("there is no RTAS call {:#x}", buffer.token());
                }
                RtasStatus::PARAMETER_ERROR.into()
            }
        };
        log::trace!(target: TRACE_TARGET, "{caller} RTAS {}", Traced(&buffer, &answer));
        let written = match answer.status {
            Some(status) => buffer.write_results(ram, status),
            None => Ok(()),
        };
        let resume = call.finish(if written.is_ok() { Status::SUCCESS } else { Status::PARAMETER });
        answer.next.unwrap_or(resume)
    }

    fn reset(&self) {
        self.messages.store(0, Ordering::Relaxed);
    }
}

/// A call that was answered, for the trace.
struct Traced<'a>(&'a ArgumentBuffer, &'a Answer);

impl fmt::Display for Traced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(buffer, answer) = self;
        let (inputs, outputs) = buffer.cells();
        match table::find(buffer.token()) {
            Some(call) => f.write_str(call.name)?,
            None => write!(f, "call {:#x}", buffer.token())?,
        }
        f.write_str("(")?;
        for (number, input) in inputs.iter().enumerate() {
            write!(f, "{}{input:#x}", if number == 0 { "" } else { ", " })?;
        }
        f.write_str(") =")?;
        match answer.status {
            Some(RtasStatus(status)) => write!(f, " {status}")?,
            None => f.write_str(" does not return")?,
        }
        outputs.iter().try_for_each(|output| write!(f, " {output:#x}"))
    }
}

#[cfg(test)]
mod tests;
