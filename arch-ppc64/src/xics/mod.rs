//! An interrupt controller in software: XICS, as a guest sees it through hypercalls and RTAS.
//!
//! There are *sources*, each with a number, a server and a priority, which RTAS sets (LoPAPR
//! §7.3.10), and *servers*, one a CPU, each with a current processor priority (CPPR) and a priority
//! of its inter-processor interrupt (MFRR), which hypercalls set (LoPAPR §14.5.4.7). Of priorities,
//! the lower number is the more favoured; 0xff is none at all. A CPU's external interrupt line is
//! asserted while there is an interrupt for its server that is more favoured than its CPPR.
//!
//! ```
//! use std::sync::Arc;
//! use arch_ppc64::platform::{InterruptController, InterruptKind, SourceNumber};
//! use arch_ppc64::rtas::{RtasHandler, RtasInvocation};
//! use arch_ppc64::xics::{InterruptOutput, Xics};
//! use arch_ppc64::topology::CpuTopology;
//! use arch_ppc64::{Hypercall, HypercallHandler, CpuIndex, hypercall::token};
//!
//! /// The lines of the CPUs: here, they tell.
//! struct Lines;
//!
//! impl InterruptOutput for Lines {
//!     fn set_external_interrupt(&self, cpu: CpuIndex, asserted: bool) {
//!         println!("{cpu}: {asserted}");
//!     }
//! }
//!
//! let xics = Xics::new(&CpuTopology::new(1), Arc::new(Lines));
//! xics.claim(SourceNumber(0x1003), InterruptKind::Edge)?;
//! # let ram: vm_memory::GuestMemoryMmap =
//! #     vm_memory::GuestMemoryMmap::from_ranges(&[(vm_memory::GuestAddress(0), 0x1000)])?;
//! // The guest: RTAS sets up a source (`ibm,set-xive`: source, server, priority), and a hypercall
//! // lets the CPU have interrupts.
//! let caller = CpuIndex(0);
//! let inputs = &[0x1003, 0, 5];
//! let _ = xics.call(0, &mut RtasInvocation::new(caller, &ram, inputs, &mut []));
//! let _ = xics.handle(caller, &ram, &mut Hypercall::new(token::CPPR, &[0xff]));
//! // A device: `vcpu0: true`.
//! xics.raise(0x1003);
//! // The guest accepts the interrupt: `vcpu0: false`.
//! let mut call = Hypercall::new(token::XIRR, &[]);
//! let _ = xics.handle(caller, &ram, &mut call);
//! assert_eq!(call.args[0], 0xff00_1003);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calls;
mod device;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::ram::GuestRam;
use crate::topology::CpuTopology;
use crate::vcpu::{CpuIndex, ServerNumber};

pub use device::KernelXics;
use state::State;

/// Number of the inter-processor interrupt, a source of every server. Numbers of devices' sources
/// are higher.
pub const IPI: u32 = 2;

/// The external interrupt lines of the CPUs.
pub trait InterruptOutput: Send + Sync {
    /// The line of `cpu` changed: it is asserted now, or is not any more. It stays so until the
    /// next call; after a [reset](crate::platform::Device::reset), no line is asserted.
    ///
    /// Calls come in the order of the changes, from whoever caused them, and before what caused
    /// them returns. For that, the controller is locked meanwhile: an implementation sets a flag
    /// and wakes a sleeper. It must not call the controller, nor wait for anyone who may.
    fn set_external_interrupt(&self, cpu: CpuIndex, asserted: bool);
}

/// The interrupt controller of a machine: a [device](crate::platform::Device) that answers
/// hypercalls and RTAS calls, and the place where devices raise interrupts.
///
/// All of it can be used from any thread. A source needs no kind: [`raise`](Self::raise) is for
/// edges, [`set_level`](Self::set_level) for levels. Either way, an accepted interrupt does not
/// come again, to any CPU, before its end (H_EOI).
pub struct Xics {
    topology: CpuTopology,
    state: Mutex<State>,
    timebase: Option<Arc<Timebase>>,
}

type Timebase = dyn Fn() -> u64 + Send + Sync;

impl Xics {
    /// A controller with a server for each of these CPUs, and with no sources: devices
    /// [claim](crate::platform::InterruptController::claim) them. All is as after a reset: sources
    /// masked, CPPRs 0, MFRRs 0xff.
    pub fn new(topology: &CpuTopology, output: Arc<dyn InterruptOutput>) -> Self {
        let state = Mutex::new(State::new(topology.cpus(), output));
        Self { topology: topology.clone(), state, timebase: None }
    }

    /// With a way to read the guest's timebase. Without it there is no H_XIRR-X, which tells when
    /// an interrupt came: "Legacy implementations implement only H_XIRR, returning H_Function for
    /// a call to H_XIRR-X."
    #[must_use]
    pub fn with_timebase(mut self, timebase: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        self.timebase = Some(timebase);
        self
    }

    /// An edge of `source`: one interrupt, latched until it is accepted. Edges while one is
    /// latched are one with it.
    ///
    /// A source that the controller does not have is ignored.
    pub fn raise(&self, source: u32) {
        let now = self.now();
        // The device that has a source of no controller is a matter of the host, not the guest's.
        let _ = self.lock().change(source, now, |source| source.latched = true);
    }

    /// The level of `source`, an interrupt for as long as it is asserted. After each H_EOI it
    /// comes again, while it is.
    ///
    /// The level is the device's: it outlasts a reset of the controller. A source that the
    /// controller does not have is ignored.
    pub fn set_level(&self, source: u32, asserted: bool) {
        let now = self.now();
        let _ = self.lock().change(source, now, |source| source.level = asserted);
    }

    /// What devices assert, of each of their sources.
    pub(crate) fn levels(&self) -> Vec<(u32, bool)> {
        self.lock().levels()
    }

    /// Sets the server of one CPU as all are after a reset: for a CPU that is plugged in where
    /// another one was. Sources stay as they are.
    pub fn reset_server(&self, cpu: CpuIndex) {
        self.lock().reset_server(cpu.0);
    }

    /// H_EOI (LoPAPR §14.5.4.7.1): "If the value of the xirr parameter is such that the low order
    /// 3 bytes (xisr) is one of the interrupt source values assigned to the partition, and the
    /// high order byte xirr byte (cppr) is equal or less favored than the current cppr contents".
    fn eoi(&self, caller: CpuIndex, xirr: u64) -> Status {
        let [cppr, xisr @ ..] = (xirr as u32).to_be_bytes();
        let xisr = u32::from_be_bytes([0, xisr[0], xisr[1], xisr[2]]);
        let now = self.now();
        match self.lock().end(caller, cppr, xisr, now) {
            Ok(()) => Status::SUCCESS,
            Err(_) => Status::PARAMETER,
        }
    }

    /// H_CPPR (§14.5.4.7.2): "causing the interrupt source controller to reject any interrupt of
    /// equal or less favored priority". A rejected interrupt comes again when the priority allows.
    fn cppr(&self, caller: CpuIndex, cppr: u64) -> Status {
        match self.lock().change_server(caller, |server| server.cppr = cppr as u8) {
            Ok(()) => Status::SUCCESS,
            Err(_) => Status::PARAMETER,
        }
    }

    /// H_IPI (§14.5.4.7.3): "the value in the low order byte of the mfrr parameter is written into
    /// the mfrr register […] of the processor's interrupt management area".
    fn ipi(&self, server: u64, mfrr: u64) -> Status {
        let now = self.now();
        let Some(cpu) = self.cpu(server) else { return Status::PARAMETER };
        match self.lock().change_server(cpu, |server| server.set_mfrr(mfrr as u8, now)) {
            Ok(()) => Status::SUCCESS,
            Err(_) => Status::PARAMETER,
        }
    }

    /// H_IPOLL (§14.5.4.7.4): R4 is what H_XIRR would give, R5 the MFRR. "Reading these addresses
    /// has no side effects".
    fn poll(&self, call: &mut Hypercall) -> Status {
        let Some(cpu) = self.cpu(call.args[0]) else { return Status::PARAMETER };
        let Ok((xirr, mfrr)) = self.lock().poll(cpu) else { return Status::PARAMETER };
        call.args[0] = xirr.into();
        call.args[1] = mfrr.into();
        Status::SUCCESS
    }

    /// H_XIRR and H_XIRR-X (§14.5.4.7.5): "accepting the interrupt and raising the current
    /// processor priority to that of the accepted interrupt". R4 has the priority of before, and
    /// the source or 0. "Place the timestamp when the hypervisor first received the interrupt into
    /// R5": with no interrupt, the time. The parameter of H_XIRR-X has no part in this.
    fn accept(&self, caller: CpuIndex, call: &mut Hypercall, stamped: bool) -> Status {
        let now = self.now();
        let Ok((xirr, since)) = self.lock().accept(caller, now) else { return Status::PARAMETER };
        call.args[0] = xirr.into();
        if stamped {
            call.args[1] = since;
        }
        Status::SUCCESS
    }

    /// The CPU of a server's number that a guest passed.
    fn cpu(&self, server: u64) -> Option<CpuIndex> {
        self.topology.index(ServerNumber(u32::try_from(server).ok()?))
    }

    /// The time to stamp interrupts with, where anybody asks for it.
    fn now(&self) -> u64 {
        self.timebase.as_ref().map_or(0, |timebase| timebase())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Xics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xics").finish_non_exhaustive()
    }
}

impl HypercallHandler for Xics {
    fn tokens(&self) -> &[u64] {
        token::XICS_CALLS
    }

    fn handle(&self, caller: CpuIndex, _ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let [first, second, ..] = call.args;
        let status = match call.token {
            token::EOI => self.eoi(caller, first),
            token::CPPR => self.cppr(caller, first),
            token::IPI => self.ipi(first, second),
            token::IPOLL => self.poll(call),
            token::XIRR => self.accept(caller, call, false),
            token::XIRR_X if self.timebase.is_some() => self.accept(caller, call, true),
            _ => Status::FUNCTION,
        };
        call.finish(status)
    }
}

#[cfg(test)]
mod tests;
