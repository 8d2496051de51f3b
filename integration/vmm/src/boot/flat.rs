//! The flat-tree way in: the kernel finds a tree as it is after negotiation, and RTAS in place.

use arch_ppc64::fdt::Start;
use arch_ppc64::loader::Placement;
use arch_ppc64::platform::Platform;
use arch_ppc64::{EntryRegisters, GuestRam, rtas};
use vm_memory::GuestAddress;

use super::BootError;

/// The size of a machine's flat tree in bytes. It does not depend on where things are.
pub(super) fn tree_bytes(platform: &Platform, has_initrd: bool) -> Result<u64, BootError> {
    let nowhere = GuestAddress(0);
    let start = Start::new(nowhere, [0; 32])
        .with_initrd(has_initrd.then_some((nowhere, 0)))
        .with_flat_rtas(Some(nowhere));
    Ok(platform.blob(&start)?.len() as u64)
}

/// Puts tree and RTAS in place; how a kernel is entered then.
///
/// r3 is the tree, r4 the kernel's own address, and r5 is 0: there is no client interface (Linux,
/// Documentation/powerpc/booting.rst).
pub(super) fn enter(
    placement: &Placement,
    tree_at: GuestAddress,
    tree: &[u8],
    ram: &dyn GuestRam,
) -> Result<EntryRegisters, BootError> {
    ram.write(tree_at, tree)?;
    if let Some(base) = placement.rtas() {
        rtas::instantiate(ram, base)?;
    }
    let arguments = [tree_at.0, placement.client().0.0, 0];
    let registers = EntryRegisters::at(placement.entry()).with_arguments(arguments);
    Ok(registers.in_64bit(placement.is_64bit()))
}
