//! The virtual devices and the interrupt controller (LoPAPR §B.6.9, §B.6.11).

use super::error::FdtError;
use super::tree::{Phandle, Tree};
use crate::layout::{VTY_INTERRUPT, VTY_UNIT};
use crate::machine::Machine;

pub(super) fn nodes(tree: &mut Tree, interrupts: Phandle) -> Result<(), FdtError> {
    let mut bus = tree.node("/vdevice")?;
    bus.text("device_type", &["vdevice"])?
        .text("compatible", &["IBM,vdevice"])?
        .cell("#address-cells", 1)?
        .cell("#size-cells", 0)?;
    bus.child(&format!("vty@{VTY_UNIT:x}"))?
        .text("device_type", &["serial"])?
        .text("compatible", &["hvterm1"])?
        .cell("reg", VTY_UNIT)?
        .cell("interrupt-parent", interrupts.cell())?
        // With an interrupt the guest stops polling: each arrival of text must raise it.
        .cells("interrupts", &[VTY_INTERRUPT, 0])?;
    Ok(())
}

/// XICS: the presentation layer by hypercall, the sources by RTAS.
pub(super) fn interrupt_controller(
    tree: &mut Tree,
    machine: &Machine,
) -> Result<Phandle, FdtError> {
    let mut node = tree.node("/interrupt-controller")?;
    node.text("device_type", &["PowerPC-External-Interrupt-Presentation"])?
        .text("compatible", &["IBM,ppc-xicp"])?
        .flag("interrupt-controller")?
        .cell("#address-cells", 0)?
        // Source number, and 0 for edge or 1 for level.
        .cell("#interrupt-cells", 2)?
        .cells("ibm,interrupt-server-ranges", &[0, machine.max_cpus()])?;
    Ok(node.phandle())
}
