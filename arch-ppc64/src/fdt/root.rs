//! The root node.

use super::writer::{FdtError, Writer};
use crate::machine::Machine;

/// Cells of an address, and of a size, below the root.
pub(super) const ROOT_CELLS: u32 = 2;

pub(super) fn properties(w: &mut Writer, machine: &Machine) -> Result<(), FdtError> {
    w.cell("#address-cells", ROOT_CELLS)?;
    w.cell("#size-cells", ROOT_CELLS)?;
    // LoPAPR §B.6.1: "chrp" is what tells a Linux kernel that this is a PAPR platform.
    w.text("device_type", &["chrp"])?;
    // Not "IBM…": GRUB would leave out its scan for disks, and negotiate where it need not.
    w.text("compatible", &["rust-vmm,pseries", "linux,pseries"])?;
    w.text("model", &[&format!("rust-vmm pseries ({})", machine.cpu().model())])
}
