//! XIVE as a device of the machine: its node, and the controller that devices signal.

use super::Xive;
use crate::cas::decision::InterruptMode;
use crate::fdt::{FdtError, Tree};
use crate::hypercall::HypercallHandler;
use crate::interrupt_node;
use crate::layout::FIRST_INTERRUPT;
use crate::platform::{
    Describe, Device, InterruptController, InterruptError, InterruptKind, MAX_SOURCES, MmioHandler,
    Signal, SourceNumber,
};
use crate::topology::CpuTopology;

/// Past the last number that a source can have: so many have pages.
pub(super) const SOURCE_END: u32 = FIRST_INTERRUPT + MAX_SOURCES;

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
pub(crate) fn describe(tree: &mut Tree, topology: &CpuTopology) -> Result<(), FdtError> {
    let mut node = tree.existing(interrupt_node::path(InterruptMode::Xive))?;
    for (name, value) in interrupt_node::properties(InterruptMode::Xive, topology) {
        node.bytes(name, &value)?;
    }
    let reserved = interrupt_node::reserved_priorities();
    tree.root().bytes(interrupt_node::RESERVED_PRIORITIES, &reserved)?;
    Ok(())
}
