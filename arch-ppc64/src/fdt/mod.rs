//! The device tree of a pseries machine, flattened (LoPAPR appendix B; Devicetree specification
//! v0.4, chapter 5).
//!
//! A [`Tree`] is data until it is [flattened](Tree::flatten).
//! [`Platform::tree`](crate::platform::Platform::tree) is the one function from a machine to its
//! tree: each file here adds a family of nodes, and devices add theirs. The blob is **not packed**: it ends in [`SLACK_BYTES`] of slack, so that properties can
//! be appended in place. Every node has a phandle, and the same machine gives the same phandles
//! each time.

mod chosen;
mod cpus;
mod error;
mod firmware;
mod flatten;
mod long_names;
mod memory;
mod names;
mod property_names;
mod root;
mod rtas;
mod start;
mod tree;
mod vdevice;

use crate::cas::{Decision, Platform};
use crate::machine::Machine;
pub use chosen::BOOT_COUNT_PROPERTY;
pub(crate) use cpus::describe_core;
pub use error::FdtError;
pub(crate) use firmware::support_packages;
pub(crate) use memory::{describe_memory, memory_node};
pub use start::Start;
pub use tree::{NodeBuilder, Phandle, Tree};

/// Room at the end of the blob for properties to be appended.
pub const SLACK_BYTES: usize = 0x4000;

/// The node of the interrupt controller, which its device fills in, as long as that is XICS.
pub const INTERRUPT_CONTROLLER_PATH: &str = "/interrupt-controller";

/// Adds what every machine says of itself at this start, with the sets of hypercalls and the RTAS
/// calls that it has.
pub(crate) fn describe(
    tree: &mut Tree,
    machine: &Machine,
    start: &Start,
    function_sets: &[&str],
    rtas_calls: &[(&str, u32)],
) -> Result<(), FdtError> {
    let boot_cpu = machine.vcpus().next().map_or(0, |vcpu| machine.topology().server(vcpu).0);
    tree.set_boot_cpu(boot_cpu);
    root::properties(tree, machine)?;
    chosen::node(tree, machine, start)?;
    cpus::nodes(tree, machine)?;
    memory::nodes(tree, machine)?;
    rtas::node(tree, machine, start, function_sets, rtas_calls)?;
    vdevice::node(tree)?;
    firmware::nodes(tree)?;
    if let Some(base) = start.flat_rtas {
        // The kernel finds RTAS in use and reserves nothing of it by itself.
        tree.reserve(base, u64::from(crate::rtas::SIZE_BYTES))?;
    }
    Ok(())
}

/// Makes the tree what it is after negotiation: as was agreed on at the start before, or, for a
/// guest that is entered with a flat tree, with the default choices.
pub(crate) fn negotiated(
    tree: &mut Tree,
    machine: &Machine,
    start: &Start,
) -> Result<(), FdtError> {
    let platform = Platform::of(machine);
    let flat = start.flat_rtas.map(|_| Decision::default_for(&platform));
    match start.decision.or(flat) {
        Some(decision) => tree.apply(&decision.changes(&platform)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
