//! The device tree of a pseries machine, flattened (LoPAPR appendix B; Devicetree specification
//! v0.4, chapter 5).
//!
//! [`build`] is the one function from a [`Machine`] to a blob; each file here writes a family of
//! nodes. The blob is **not packed**: it ends in [`SLACK_BYTES`] of slack, so that properties can
//! be appended in place. Every node has a phandle, and the same machine gives the same phandles
//! each time.

mod chosen;
mod cpus;
mod firmware;
mod long_names;
mod memory;
mod root;
mod rtas;
mod vdevice;
mod writer;

use vm_memory::GuestAddress;

use crate::cas::{Decision, Platform};
use crate::machine::Machine;
pub use chosen::BOOT_COUNT_PROPERTY;
pub use writer::{FdtError, Phandle, Reserved, Writer};

/// Room at the end of the blob for properties to be appended.
pub const SLACK_BYTES: usize = 0x4000;

/// What changes from one start of a machine to the next. Addresses and sizes are below 4 GiB, as
/// [`Placement::plan`](crate::loader::Placement::plan) makes them: a client works with 32-bit
/// cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Where the client program is entered.
    pub entry: GuestAddress,
    /// Whether it is entered in 64-bit mode (MSR.SF = 1), else in 32-bit mode.
    pub entry_is_64bit: bool,
    /// The initial RAM disk: where it is and its size in bytes.
    pub initrd: Option<(GuestAddress, u64)>,
    /// How often the machine has been started, this start included: 1 for the first.
    pub boot_count: u32,
    /// Randomness for the guest, fresh at each start.
    pub rng_seed: [u8; 32],
    /// `Some` for a guest that is entered with the flat tree (`x-vof` off): where RTAS is in
    /// place. The tree is then as negotiation with the default choices leaves it.
    pub flat_rtas: Option<GuestAddress>,
    /// What the guest and its platform agreed on at the start before, where that needed this one
    /// ([`Negotiated::NeedsReset`](crate::cas::Negotiated::NeedsReset)): the tree says it from the
    /// beginning.
    pub decision: Option<Decision>,
}

/// The tree of `machine` for this start.
///
/// # Errors
/// [`FdtError::Address`] for a start that is beyond what a client can work with. None is known
/// that a validated machine can cause by itself.
pub fn build(machine: &Machine, start: &Start) -> Result<Vec<u8>, FdtError> {
    let platform = Platform::of(machine);
    let mut reserved = Vec::new();
    let mut decision = start.decision;
    if let Some(base) = start.flat_rtas {
        // The kernel finds RTAS in use and reserves nothing of it by itself.
        let rtas = Reserved::new(base.0, u64::from(crate::rtas::SIZE_BYTES));
        reserved.push(rtas.map_err(FdtError::Writer)?);
        decision = decision.or_else(|| Some(Decision::default_for(&platform)));
    }
    let changes = decision.map(|decision| decision.changes(&platform)).unwrap_or_default();
    let boot_cpu = machine.vcpus().next().map_or(0, |vcpu| vcpu.0);
    let mut writer = Writer::new(&reserved, boot_cpu, changes)?;
    let interrupts = writer.reserve_phandle();
    writer.node("", |w| {
        root::properties(w, machine)?;
        chosen::node(w, machine, start)?;
        cpus::nodes(w, machine)?;
        memory::nodes(w, machine)?;
        rtas::node(w, machine, start)?;
        vdevice::nodes(w, interrupts)?;
        vdevice::interrupt_controller(w, machine, interrupts)?;
        firmware::nodes(w)
    })?;
    writer.finish(SLACK_BYTES)
}

#[cfg(test)]
mod tests;
