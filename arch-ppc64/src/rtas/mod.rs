//! Run-Time Abstraction Services: what the guest's system asks of its platform while it runs
//! (LoPAPR chapter 7).
//!
//! The guest gets twenty bytes of code, [put where it asked for them](instantiate), that turn a
//! call of RTAS into the hypercall [`token::RTAS`] with the address of the argument buffer. The
//! handler [`Rtas`] reads that buffer, looks the call up in its table, has it answered by the
//! [`RtasHandler`] of a [`Device`], and writes the results back. [`Rtas::calls`] is the same table
//! for the device tree: `/rtas` has a property for each call.
//!
//! Each group of calls is a device with what it needs and nothing else; [`StandardCalls`] makes
//! those that are for RTAS only. The interrupt controller answers those about its sources
//! ([`xics`](crate::xics)). A device of yours answers calls in the same way, under names that
//! nobody else has.
//!
//! The tree's writer also has to know: `ibm,os-term` is used by Linux only where `/rtas` has the
//! property `ibm,extended-os-term` (see [`AfterOsTerm`]), and `rtas-event-scan-rate` is 0, as
//! there is never an event to be found by `event-scan`: those of [`EventSources`] come with an
//! interrupt. In a machine with slots it is 1, a minute: at 0, Linux keeps no event for the programs
//! of its users that take what is in them.

mod args;
mod clock;
mod cpus;
mod events;
mod handler;
mod instantiate;
mod parameters;
mod platform;
#[cfg(feature = "serde")]
mod saved;
mod standard;
mod table;
mod tokens;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use vm_memory::GuestAddress;

use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, TRACE_TARGET, token};
use crate::log_limit::LogLimit;
use crate::platform::Device;
use crate::ram::GuestRam;
use crate::vcpu::CpuIndex;
use args::ArgumentBuffer;
use table::{Entry, Table};

pub use args::RtasStatus;
pub use clock::{HostTime, RealTimeClock, RtasClock, SystemTime};
pub use cpus::RtasCpus;
pub use events::{EPOW, ERROR_LOG_BYTES_MAX, EVENT_SOURCES_ID, EventSources, PowerButton};
pub use handler::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome, RtasUnit};
pub use instantiate::{InstantiateError, SIZE_BYTES, instantiate};
pub use parameters::SystemParameters;
pub use platform::{AfterOsTerm, RtasPlatform};
pub use standard::StandardCalls;
pub use table::DuplicateCall;
pub use tokens::{calls, token_of};

/// The handler of H_RTAS: brings each call to the device that answers it.
pub struct Rtas {
    devices: Vec<Arc<dyn Device>>,
    /// Changed only as a saved state is taken up.
    table: RwLock<Table>,
    messages: LogLimit,
}

impl Rtas {
    /// The calls of these devices.
    ///
    /// Calls that are [well known](token_of) have their tokens; the others get theirs in the order
    /// of the devices, and keep them over save and restore, as they are what is
    /// [saved](Device::state).
    ///
    /// # Errors
    /// [`DuplicateCall`] when two devices answer the same call.
    pub fn new(devices: &[Arc<dyn Device>]) -> Result<Self, DuplicateCall> {
        let devices: Vec<_> =
            devices.iter().filter(|device| device.rtas().is_some()).cloned().collect();
        let table = RwLock::new(Table::new(&devices)?);
        Ok(Self { devices, table, messages: platform::messages() })
    }

    /// Every call by its name and its token, in the order of tokens: the properties of `/rtas`
    /// (LoPAPR §7.2.6.1).
    pub fn calls(&self) -> Vec<(&'static str, u32)> {
        self.with_table(Table::calls)
    }

    fn answer(&self, entry: &Entry, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match self.devices.get(entry.device).and_then(|device| device.rtas()) {
            Some(handler) => handler.call(entry.number, invocation),
            None => RtasStatus::PARAMETER_ERROR.into(),
        }
    }

    fn with_table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Rtas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtas").field("calls", &self.calls()).finish_non_exhaustive()
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
        let (token, (inputs, _)) = (buffer.token(), buffer.cells());
        let entry = self.with_table(|table| table.find(token, inputs));
        let (inputs, outputs) = buffer.counts();
        let outcome = match &entry {
            Some(entry) if entry.call.takes(inputs, outputs) => {
                let (inputs, outputs) = buffer.cells_mut();
                self.answer(entry, &mut RtasInvocation::new(caller, ram, inputs, outputs))
            }
            Some(entry) => {
                let name = entry.call.name;
                self.messages.warn(format_args!("RTAS call {name} has wrong counts of arguments"));
                RtasStatus::PARAMETER_ERROR.into()
            }
            None => {
                self.messages.warn(format_args!("nobody answers such an RTAS call {token:#x}"));
                RtasStatus::PARAMETER_ERROR.into()
            }
        };
        let name = entry.map(|entry| entry.call.name);
        log::trace!(target: TRACE_TARGET, "{caller} RTAS {}", Traced { name, buffer: &buffer, outcome });
        let (status, next) = match outcome {
            RtasOutcome::Done(status) => (status, None),
            RtasOutcome::DoneAnd(status, next) => (status, Some(next)),
            RtasOutcome::Never(next) => {
                let _ = call.finish(Status::SUCCESS);
                return next;
            }
        };
        let written = buffer.write_results(ram, status);
        let resume = call.finish(if written.is_ok() { Status::SUCCESS } else { Status::PARAMETER });
        next.unwrap_or(resume)
    }
}

impl Device for Rtas {
    fn id(&self) -> &str {
        "rtas"
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn reset(&self) {
        self.messages.reset();
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }
}

/// A call that was answered, for the trace.
struct Traced<'a> {
    name: Option<&'static str>,
    buffer: &'a ArgumentBuffer,
    outcome: RtasOutcome,
}

impl fmt::Display for Traced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inputs, outputs) = self.buffer.cells();
        match self.name {
            Some(name) => f.write_str(name)?,
            None => write!(f, "call {:#x}", self.buffer.token())?,
        }
        f.write_str("(")?;
        for (number, input) in inputs.iter().enumerate() {
            write!(f, "{}{input:#x}", if number == 0 { "" } else { ", " })?;
        }
        f.write_str(") =")?;
        match self.outcome {
            RtasOutcome::Done(status) | RtasOutcome::DoneAnd(status, _) => {
                write!(f, " {}", status.0)?;
            }
            RtasOutcome::Never(_) => f.write_str(" does not return")?,
        }
        outputs.iter().try_for_each(|output| write!(f, " {output:#x}"))
    }
}

#[cfg(test)]
mod tests;
