//! What clients other than Linux look for in a firmware (IEEE 1275 §3.5), and the hypervisor.

use super::writer::{FdtError, Writer};
use crate::layout::VTY_PATH;

pub(super) fn nodes(w: &mut Writer) -> Result<(), FdtError> {
    w.node("hypervisor", |w| {
        // No `hcall-instructions`: guests would patch themselves for paravirtual instructions
        // that these machines do not need.
        w.text("compatible", &["linux,kvm"])
    })?;
    w.node("aliases", |w| w.text("hvterm", &[VTY_PATH]))?;
    w.node("openprom", |w| {
        w.text("device_type", &["BootROM"])?;
        w.text("model", &[concat!("rust-vmm,vof ", env!("CARGO_PKG_VERSION"))])?;
        w.flag("relative-addressing")
    })?;
    // No support packages: nobody here has a device that would need one.
    w.node("packages", |_| Ok(()))?;
    w.node("options", |w| {
        // Clients that find `real-mode?` true map nothing (PowerPC binding §8.1).
        w.text("real-mode?", &["true"])?;
        w.text("little-endian?", &["false"])?;
        w.text("auto-boot?", &["true"])?;
        w.text("input-device", &["hvterm"])?;
        w.text("output-device", &["hvterm"])
    })
}
