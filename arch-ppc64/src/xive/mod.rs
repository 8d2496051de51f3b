//! An interrupt controller in software: XIVE in exploitation mode, as a guest of PAPR sees it, by
//! hypercalls and memory-mapped pages.
//!
//! There are *sources*, each with a number (LISN), whose *event state buffer* has two bits, P and Q,
//! and two pages: a store to the one is an event, loads of the other end events and set the bits. A
//! source is assigned to the *event queue* of a *server* and a priority: an entry of 32 bits in the
//! guest's memory. The server, one a CPU, has a *ring* of registers in the thread interrupt
//! management area: the priority of the CPU (CPPR), which priorities have an interrupt (IPB), and
//! whether one of them is more favoured than the CPU's (NSR): then the CPU's external interrupt line
//! is asserted. A load accepts it, and the guest looks into the queue. Of priorities, the lower
//! number is the more favoured; 0xff is none at all.
//!
//! Hypercalls assign sources and set queues; each interrupt is two loads and a store, and nobody is
//! called. Numbers from 0 on, one a CPU, are for what CPUs tell each other.
//!
//! ```
//! use std::sync::Arc;
//! use arch_ppc64::layout::{XIVE_OS_PAGE, XIVE_SOURCES};
//! use arch_ppc64::platform::{InterruptController, InterruptKind, MmioHandler, Signal, SourceNumber};
//! use arch_ppc64::topology::CpuTopology;
//! use arch_ppc64::xics::InterruptOutput;
//! use arch_ppc64::xive::Xive;
//! use arch_ppc64::{CpuIndex, GuestRam, Hypercall, HypercallHandler, hypercall::token};
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
//! # use vm_memory::{GuestAddress, GuestMemoryMmap};
//! # let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x2_0000)])?;
//! let ram: Arc<dyn GuestRam> = Arc::new(memory);
//! let xive = Xive::new(&CpuTopology::new(1), Arc::new(Lines), ram.clone());
//! xive.claim(SourceNumber(0x1003), InterruptKind::Edge)?;
//! // The guest: a queue of CPU 0 and priority 6, and what its entries are to say of the source.
//! let caller = CpuIndex(0);
//! let hypercall = |token, args: &[u64]| {
//!     let _ = xive.handle(caller, &*ram, &mut Hypercall::new(token, args));
//! };
//! hypercall(token::INT_SET_QUEUE_CONFIG, &[1, 0, 6, 0x1_0000, 16]);
//! hypercall(token::INT_SET_SOURCE_CONFIG, &[2, 0x1003, 0, 6, 42]);
//! // It lets the source have events (a load sets P and Q to 0), and the CPU interrupts.
//! let [sources, os_page] = [0, 2];
//! let page_of_source = 2 * 0x1003 * 0x1_0000;
//! xive.read_by(caller, sources, page_of_source + 0xc00, &mut [0; 8]);
//! xive.write_by(caller, os_page, 0x11, &[0xff]);
//! // A device: `vcpu0: true`.
//! xive.signal(SourceNumber(0x1003), Signal::Pulse);
//! // The guest accepts the interrupt: `vcpu0: false`. It is told of priority 6, and looks there.
//! let mut accepted = [0; 2];
//! xive.read_by(caller, os_page, 0x810, &mut accepted);
//! assert_eq!(accepted, [0x80, 6]);
//! assert_eq!(ram.read_be_u32(GuestAddress(0x1_0000)), Ok(0x8000_0000 | 42));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calls;
mod controller;
mod device;
mod either;
mod esb;
mod mmio;
mod queue;
#[cfg(feature = "serde")]
mod saved;
mod server;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ram::GuestRam;
use crate::topology::CpuTopology;
use crate::vcpu::CpuIndex;
use crate::xics::InterruptOutput;

pub use calls::answer;
pub use controller::{Assignment, EventQueue, SourceInfo, SourcePages, XiveController};
pub use device::KernelXive;
pub use either::XicsOrXive;
pub use esb::{Load, Pq};
#[cfg(feature = "serde")]
pub use saved::{SavedEither, SavedQueue, SavedServer, SavedSource, SavedXive};
use server::Server;
use state::State;

/// A page of a source, of a queue or of the thread interrupt management area, as a power of two.
const PAGE_SHIFT: u32 = 16;

/// The interrupt controller of a machine: a [device](crate::platform::Device) that answers
/// hypercalls and accesses of its pages, and the place where devices raise interrupts.
///
/// All of it can be used from any thread. What it knows of 2,048 CPUs takes half a megabyte, and
/// nothing that a guest does makes it more.
pub struct Xive {
    topology: CpuTopology,
    state: Mutex<State>,
}

impl Xive {
    /// A controller with a server for each of these CPUs and a source for each to be interrupted
    /// by others. Devices [claim](crate::platform::InterruptController::claim) theirs. All is as
    /// after a reset: sources off and masked, no queues, CPPRs 0.
    ///
    /// The queues are in `ram`: a guest may have set them anywhere, and RAM may go meanwhile. It is
    /// written to while the controller is locked, so it must not call that.
    pub fn new(
        topology: &CpuTopology,
        output: Arc<dyn InterruptOutput>,
        ram: Arc<dyn GuestRam>,
    ) -> Self {
        let state = Mutex::new(State::new(topology.cpus(), output, ram));
        Self { topology: topology.clone(), state }
    }

    /// An event of `source`. A source that the controller does not have is ignored.
    pub fn raise(&self, source: u32) {
        // The device that has a source of no controller is a matter of the host, not the guest's.
        let _ = self.lock().trigger(source);
    }

    /// The level of `source`: while it is asserted, each end of an event is followed by another
    /// one. It is the device's, and outlasts a reset of the controller. A source that the
    /// controller does not have is ignored.
    pub fn set_level(&self, source: u32, asserted: bool) {
        let _ = self.lock().set_level(source, asserted);
    }

    /// Sets the server of one CPU as all are after a reset, without queues: for a CPU that is plugged
    /// in where another one was. Sources stay as they are.
    pub fn reset_server(&self, cpu: CpuIndex) {
        let _ = self.lock().change_server(cpu, Server::reset);
    }

    /// What devices assert, of each of their sources.
    fn levels(&self) -> Vec<(u32, bool)> {
        self.lock().levels()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Xive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xive").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
