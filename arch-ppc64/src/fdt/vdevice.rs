//! The virtual devices and the interrupt controller (LoPAPR §B.6.9, §B.6.11).

use super::writer::{FdtError, Phandle, Writer};
use crate::layout::{VTY_INTERRUPT, VTY_UNIT};
use crate::machine::Machine;

pub(super) fn nodes(w: &mut Writer, interrupts: Phandle) -> Result<(), FdtError> {
    w.node("vdevice", |w| {
        w.text("device_type", &["vdevice"])?;
        w.text("compatible", &["IBM,vdevice"])?;
        w.cell("#address-cells", 1)?;
        w.cell("#size-cells", 0)?;
        w.node(&format!("vty@{VTY_UNIT:x}"), |w| {
            w.text("device_type", &["serial"])?;
            w.text("compatible", &["hvterm1"])?;
            w.cell("reg", VTY_UNIT)?;
            w.cell("interrupt-parent", interrupts.cell())?;
            // With an interrupt the guest stops polling: each arrival of text must raise it.
            w.cells("interrupts", &[VTY_INTERRUPT, 0])
        })
    })
}

/// XICS: the presentation layer by hypercall, the sources by RTAS.
pub(super) fn interrupt_controller(
    w: &mut Writer,
    machine: &Machine,
    phandle: Phandle,
) -> Result<(), FdtError> {
    w.node_with(phandle, "interrupt-controller", |w| {
        w.text("device_type", &["PowerPC-External-Interrupt-Presentation"])?;
        w.text("compatible", &["IBM,ppc-xicp"])?;
        w.flag("interrupt-controller")?;
        w.cell("#address-cells", 0)?;
        // Source number, and 0 for edge or 1 for level.
        w.cell("#interrupt-cells", 2)?;
        w.cells("ibm,interrupt-server-ranges", &[0, machine.max_cpus()])
    })
}
