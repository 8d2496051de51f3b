//! The bus of virtual devices (LoPAPR §B.6.9).

use super::error::FdtError;
use super::tree::Tree;

pub(super) fn node(tree: &mut Tree) -> Result<(), FdtError> {
    tree.node("/vdevice")?
        .text("device_type", &["vdevice"])?
        .text("compatible", &["IBM,vdevice"])?
        .cell("#address-cells", 1)?
        .cell("#size-cells", 0)?;
    Ok(())
}
