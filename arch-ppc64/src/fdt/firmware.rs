//! What clients other than Linux look for in a firmware (IEEE 1275 §3.5), and the hypervisor.

use super::error::FdtError;
use super::tree::Tree;

const PACKAGES: &str = "/packages";

/// The support packages for disks (IEEE 1275 §3.8.3 and §3.8.2), once all devices are there: where
/// none is a disk, none needs them.
pub(crate) fn support_packages(tree: &mut Tree) -> Result<(), FdtError> {
    if tree.has_type("block") {
        for name in ["deblocker", "disk-label"] {
            tree.existing(PACKAGES)?.child(name)?;
        }
    }
    Ok(())
}

pub(super) fn nodes(tree: &mut Tree) -> Result<(), FdtError> {
    // No `hcall-instructions`: guests would patch themselves for paravirtual instructions that
    // these machines do not need.
    tree.node("/hypervisor")?.text("compatible", &["linux,kvm"])?;
    tree.node("/aliases")?;
    tree.node("/openprom")?
        .text("device_type", &["BootROM"])?
        .text("model", &[concat!("rust-vmm,vof ", env!("CARGO_PKG_VERSION"))])?
        .flag("relative-addressing")?;
    tree.node(PACKAGES)?;
    tree.node("/options")?
        // Clients that find `real-mode?` true map nothing (PowerPC binding §8.1).
        .text("real-mode?", &["true"])?
        .text("little-endian?", &["false"])?
        .text("auto-boot?", &["true"])?;
    Ok(())
}
