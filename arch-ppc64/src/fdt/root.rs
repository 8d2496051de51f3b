//! The root node.

use super::error::FdtError;
use super::tree::Tree;
use crate::machine::Machine;

/// Cells of an address, and of a size, below the root.
pub(super) const ROOT_CELLS: u32 = 2;

pub(super) fn properties(tree: &mut Tree, machine: &Machine) -> Result<(), FdtError> {
    tree.root()
        .cell("#address-cells", ROOT_CELLS)?
        .cell("#size-cells", ROOT_CELLS)?
        // LoPAPR §B.6.1: "chrp" is what tells a Linux kernel that this is a PAPR platform.
        .text("device_type", &["chrp"])?
        // Not "IBM…": GRUB would leave out its scan for disks, and negotiate where it need not.
        .text("compatible", &["rust-vmm,pseries", "linux,pseries"])?
        .text("model", &[&format!("rust-vmm pseries ({})", machine.cpu().model())])?;
    Ok(())
}
