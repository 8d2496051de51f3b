//! What a device shows of itself.

use super::{MmioHandler, SaveState};
use crate::hypercall::HypercallHandler;
use crate::rtas::RtasHandler;

/// One device of the machine: all that it has to do with the guest, in one place.
///
/// Every view has a default: a device that only adds a node has only that. All of them are asked
/// once, when the machine is built, and called from any vCPU thread after that.
pub trait Device: Send + Sync {
    /// What tells the device from others of the machine, and what its saved state and its
    /// interrupts are found by: the same in every release, such as `vty@71000000`.
    fn id(&self) -> &str;

    /// The hypercalls that it answers.
    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        None
    }

    /// The sets of hypercalls that are complete with this device: strings of
    /// `ibm,hypertas-functions` (LoPAPR table 171, "Hypervisor Call Function Set").
    fn function_sets(&self) -> &[&'static str] {
        &[]
    }

    /// The RTAS calls that it answers; `/rtas` has a property for each.
    fn rtas(&self) -> Option<&dyn RtasHandler> {
        None
    }

    /// Its memory-mapped registers.
    fn mmio(&self) -> Option<&dyn MmioHandler> {
        None
    }

    /// What has to be saved of it.
    fn state(&self) -> Option<&dyn SaveState> {
        None
    }

    /// The machine is switched on, or starts again. A restart is a new platform; this is for what
    /// the VMM keeps over restarts and plugs into each, such as a console. Called as the platform
    /// is built, before any CPU runs.
    fn reset(&self) {}
}
