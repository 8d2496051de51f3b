//! The device tree of a pseries machine, flattened (LoPAPR appendix B; Devicetree specification
//! v0.4, chapter 5).
//!
//! [`build`] is the one function from a [`Machine`] to a blob; each file here writes a family of
//! nodes. The blob is **not packed**: it ends in [`SLACK_BYTES`] of slack, so that properties can
//! be appended in place. Every node has a phandle, and the same machine gives the same phandles
//! each time.

mod chosen;
mod cpus;
mod error;
mod event_sources;
mod firmware;
mod flatten;
mod long_names;
mod memory;
mod names;
mod root;
mod rtas;
mod start;
mod tree;
mod vdevice;

use crate::cas::{Decision, Platform};
use crate::machine::Machine;
pub use chosen::BOOT_COUNT_PROPERTY;
pub use error::FdtError;
pub use start::Start;
pub use tree::{NodeBuilder, Phandle, Tree};

/// Room at the end of the blob for properties to be appended.
pub const SLACK_BYTES: usize = 0x4000;

/// The tree of `machine` for this start.
///
/// # Errors
/// [`FdtError::Address`] for a start that is beyond what a client can work with. None is known
/// that a validated machine can cause by itself.
pub fn build(machine: &Machine, start: &Start) -> Result<Vec<u8>, FdtError> {
    let mut tree = Tree::new();
    tree.set_boot_cpu(machine.vcpus().next().map_or(0, |vcpu| vcpu.0));
    root::properties(&mut tree, machine)?;
    let interrupts = vdevice::interrupt_controller(&mut tree, machine)?;
    chosen::node(&mut tree, machine, start)?;
    cpus::nodes(&mut tree, machine)?;
    memory::nodes(&mut tree, machine)?;
    rtas::node(&mut tree, machine, start)?;
    vdevice::nodes(&mut tree, interrupts)?;
    event_sources::nodes(&mut tree)?;
    firmware::nodes(&mut tree)?;
    if let Some(base) = start.flat_rtas {
        // The kernel finds RTAS in use and reserves nothing of it by itself.
        tree.reserve(base, u64::from(crate::rtas::SIZE_BYTES))?;
    }
    let platform = Platform::of(machine);
    let flat = start.flat_rtas.map(|_| Decision::default_for(&platform));
    if let Some(decision) = start.decision.or(flat) {
        tree.apply(&decision.changes(&platform))?;
    }
    tree.flatten(SLACK_BYTES)
}

#[cfg(test)]
mod tests;
