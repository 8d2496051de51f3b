//! `/chosen`: what was chosen at this start of the machine (IEEE 1275 §3.5). Made anew each time.

use super::error::FdtError;
use super::start::{Start, to_cell};
use super::tree::{NodeBuilder, Tree};
use crate::cas;
use crate::machine::Machine;

/// Counts the starts of the machine: one cell, 1 at the first.
pub const BOOT_COUNT_PROPERTY: &str = "rust-vmm,boot-count";

pub(super) fn node(tree: &mut Tree, machine: &Machine, start: &Start) -> Result<(), FdtError> {
    let mut node = tree.node("/chosen")?;
    node.text("bootargs", &[start.bootargs.as_deref().unwrap_or(machine.cmdline())])?;
    if let Some(bootpath) = &start.bootpath {
        node.text("bootpath", &[bootpath])?;
    }
    if let Some(reply) = &start.bootp_response {
        node.bytes("bootp-response", reply)?;
    }
    node.cell(BOOT_COUNT_PROPERTY, start.boot_count)?;
    node.bytes("rng-seed", &start.rng_seed)?;
    // Without it Linux takes PCI as the firmware left it; there is no firmware that set it.
    node.cell("linux,pci-probe-only", 0)?;
    let platform = cas::Platform::of(machine);
    node.bytes("ibm,arch-vec-5-platform-support", &cas::platform_support(&platform))?;
    match start.flat_rtas {
        None => client(&mut node, start),
        Some(_) => flat(&mut node, start),
    }
}

/// What the firmware image asks for: where the client program is (see the documentation of
/// `vof-firmware`).
fn client(node: &mut NodeBuilder<'_>, start: &Start) -> Result<(), FdtError> {
    let mode = if start.entry_is_64bit { 64 } else { 32 };
    let (initrd, initrd_bytes) = start.initrd.map_or((0, 0), |(at, bytes)| (at.0, bytes));
    let cells = [to_cell(start.entry.0)?, mode, to_cell(initrd)?, to_cell(initrd_bytes)?];
    node.cells(vof_firmware::CLIENT_PROPERTY, &cells)?;
    Ok(())
}

/// What the kernel's own client code would have put here.
fn flat(node: &mut NodeBuilder<'_>, start: &Start) -> Result<(), FdtError> {
    if let Some((at, bytes)) = start.initrd {
        node.doublewords("linux,initrd-start", &[at.0])?;
        let end = at.0.checked_add(bytes).ok_or(FdtError::Address { value: at.0 })?;
        node.doublewords("linux,initrd-end", &[end])?;
    }
    Ok(())
}
