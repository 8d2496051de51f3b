//! XICS as a device of the machine: its node, and the controller that devices signal.

use super::state::SOURCE_END;
use super::{IPI, Xics};
use crate::fdt::{FdtError, INTERRUPT_CONTROLLER_PATH, Tree};
use crate::hypercall::HypercallHandler;
use crate::platform::{
    Describe, Device, InterruptController, InterruptError, InterruptKind, Signal, SourceNumber,
};
use crate::rtas::RtasHandler;
use crate::topology::CpuTopology;

const ID: &str = "interrupt-controller";
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

/// The presentation layer by hypercall, the sources by RTAS (LoPAPR §B.6.11).
fn describe(tree: &mut Tree, topology: &CpuTopology) -> Result<(), FdtError> {
    tree.existing(INTERRUPT_CONTROLLER_PATH)?
        .text("device_type", &["PowerPC-External-Interrupt-Presentation"])?
        .text("compatible", &["IBM,ppc-xicp"])?
        .flag("interrupt-controller")?
        .cell("#address-cells", 0)?
        // Source number, and 0 for edge or 1 for level.
        .cell("#interrupt-cells", 2)?
        // One range: numbers between those of cores are in it, too.
        .cells("ibm,interrupt-server-ranges", &[0, topology.server_end()])?;
    Ok(())
}
