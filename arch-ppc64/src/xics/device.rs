//! XICS as a device of the machine: its node, and the controller that devices signal.

use super::state::SOURCE_END;
use super::{IPI, Xics};
use crate::cas::decision::InterruptMode;
use crate::fdt::{FdtError, Tree};
use crate::hypercall::HypercallHandler;
use crate::interrupt_node::{self, ID};
use crate::platform::{
    Describe, Device, InterruptController, InterruptError, InterruptKind, Signal, SourceNumber,
};
use crate::rtas::RtasHandler;
use crate::topology::CpuTopology;

const FUNCTION_SETS: &[&str] = &["hcall-interrupt"];

impl Device for Xics {
    fn id(&self) -> &str {
        ID
    }

    fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
        describe(tree, &self.topology)
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn function_sets(&self) -> &[&'static str] {
        FUNCTION_SETS
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }

    /// "The platform must initialize the interrupt priority in each XIVE to the least favored level
    /// (0xFF) […] and set the Current Processor Priority Register to the Most favored level (0x00)
    /// […] so that no interrupts are signaled to a processor until the OS has taken explicit
    /// action" (LoPAPR, requirement R1-6.1-13).
    fn reset(&self) {
        self.lock().reset();
    }
}

/// Edges and levels of any source that was claimed.
impl InterruptController for Xics {
    fn claim(&self, source: SourceNumber, _: InterruptKind) -> Result<(), InterruptError> {
        if source.0 <= IPI || source.0 >= SOURCE_END {
            let reason = std::io::Error::other("no source of an XICS can have this number");
            return Err(InterruptError::Controller { source_number: source, reason });
        }
        self.lock().add(source.0);
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

/// The XICS of a back end's kernel, which answers hypercalls and RTAS calls by itself: what the
/// tree says of it. An RTAS call that the kernel does not answer is about a source that there is
/// not, and is told so.
#[derive(Debug, Clone)]
pub struct KernelXics {
    topology: CpuTopology,
}

impl KernelXics {
    /// One with a server for each of these CPUs.
    pub fn new(topology: &CpuTopology) -> Self {
        Self { topology: topology.clone() }
    }
}

impl Device for KernelXics {
    fn id(&self) -> &str {
        ID
    }

    fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
        describe(tree, &self.topology)
    }

    fn function_sets(&self) -> &[&'static str] {
        FUNCTION_SETS
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }
}

fn describe(tree: &mut Tree, topology: &CpuTopology) -> Result<(), FdtError> {
    let mut node = tree.existing(interrupt_node::path(InterruptMode::Xics))?;
    for (name, value) in interrupt_node::properties(InterruptMode::Xics, topology) {
        node.bytes(name, &value)?;
    }
    Ok(())
}
