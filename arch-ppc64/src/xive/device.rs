//! XIVE as a device of the machine: its node, and the controller that devices signal.

use vm_memory::GuestAddress;

use super::Xive;
use super::calls::answer;
use super::controller::{Assignment, EventQueue, SourceInfo, SourcePages, XiveController};
use super::esb::Load;
use super::mmio::{SOURCE_END, notification_page, source_pages};
use super::state::Refused;
use crate::cas::decision::InterruptMode;
use crate::fdt::{FdtError, Tree};
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::interrupt_node;
use crate::platform::{
    Describe, Device, InterruptController, InterruptError, InterruptKind, MmioHandler, Signal,
    SourceNumber,
};
use crate::ram::GuestRam;
use crate::topology::CpuTopology;
use crate::vcpu::CpuIndex;

/// The XIVE of a back end's kernel, which guests can have no other controller than: what the tree
/// says of it.
#[derive(Debug, Clone)]
pub struct KernelXive {
    topology: CpuTopology,
}

impl KernelXive {
    /// One with a server for each of these CPUs.
    pub fn new(topology: &CpuTopology) -> Self {
        Self { topology: topology.clone() }
    }
}

impl Device for KernelXive {
    fn id(&self) -> &str {
        interrupt_node::ID
    }

    fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
        describe(tree, &self.topology)
    }
}

impl Device for Xive {
    fn id(&self) -> &str {
        interrupt_node::ID
    }

    fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
        describe(tree, &self.topology)
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn mmio(&self) -> Option<&dyn MmioHandler> {
        Some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }

    fn reset(&self) {
        self.lock().reset();
    }
}

impl HypercallHandler for Xive {
    fn tokens(&self) -> &[u64] {
        token::XIVE_CALLS
    }

    fn handle(&self, _caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        answer(self, ram, call)
    }
}

impl XiveController for Xive {
    fn topology(&self) -> &CpuTopology {
        &self.topology
    }

    fn source(&self, source: u32) -> Option<SourceInfo> {
        let state = self.lock();
        let source = state.source(source).ok()?;
        Some(SourceInfo { is_level: source.is_level, assignment: source.assignment })
    }

    fn pages(&self, source: u32) -> SourcePages {
        source_pages(source)
    }

    fn assign(&self, source: u32, to: &Assignment) -> Result<(), Status> {
        self.lock().assign(source, *to).map_err(|Refused| Status::P2)
    }

    fn notification_page(&self, target: CpuIndex, priority: u8) -> Option<GuestAddress> {
        Some(notification_page(target, priority))
    }

    fn queue(&self, target: CpuIndex, priority: u8) -> Result<Option<EventQueue>, Status> {
        self.lock().queue(target, priority).map_err(|Refused| Status::P2)
    }

    fn set_queue(
        &self,
        target: CpuIndex,
        priority: u8,
        queue: Option<EventQueue>,
    ) -> Result<(), Status> {
        self.lock().set_queue(target, priority, queue).map_err(|Refused| Status::P2)
    }

    fn load(&self, source: u32, load: Load) -> Result<u64, Status> {
        self.lock().load(source, load).map_err(|Refused| Status::P2)
    }

    /// What was caused is in its queue as soon as whoever caused it has been answered.
    fn sync(&self, _: u32) -> Result<(), Status> {
        Ok(())
    }

    fn forget(&self) -> Result<(), Status> {
        self.lock().forget();
        Ok(())
    }
}

/// Edges and levels of any source that was claimed. An edge of a source that is off is no
/// interrupt, nor is one later, when the source is on: "events are dropped".
impl InterruptController for Xive {
    fn claim(&self, source: SourceNumber, kind: InterruptKind) -> Result<(), InterruptError> {
        if source.0 < self.topology.cpus() || source.0 >= SOURCE_END {
            let reason = std::io::Error::other("no device's source of a XIVE can have this number");
            return Err(InterruptError::Controller { source_number: source, reason });
        }
        self.lock().add(source.0, kind == InterruptKind::Level);
        Ok(())
    }

    fn signal(&self, source: SourceNumber, signal: Signal) {
        match signal {
            Signal::Pulse => self.raise(source.0),
            Signal::High => self.set_level(source.0, true),
            Signal::Low => self.set_level(source.0, false),
        }
    }
}

/// Says of the controller what the tree has of it. The machine has to be one that takes interrupts
/// so from its start on.
pub(super) fn describe(tree: &mut Tree, topology: &CpuTopology) -> Result<(), FdtError> {
    let mut node = tree.existing(interrupt_node::path(InterruptMode::Xive))?;
    for (name, value) in interrupt_node::properties(InterruptMode::Xive, topology) {
        node.bytes(name, &value)?;
    }
    let reserved = interrupt_node::reserved_priorities();
    tree.root().bytes(interrupt_node::RESERVED_PRIORITIES, &reserved)?;
    Ok(())
}
