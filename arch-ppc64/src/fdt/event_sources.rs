//! `/event-sources`: the interrupts that tell of events (LoPAPR §10.2 and §B.6).

use super::error::FdtError;
use super::tree::Tree;
use crate::layout::EPOW_INTERRUPT;
use crate::platform::InterruptKind;

pub(super) fn nodes(tree: &mut Tree) -> Result<(), FdtError> {
    let mut sources = tree.node("/event-sources")?;
    // Guests look for the controller of a node above it. This one stands for that of the machine:
    // its numbers are the same.
    sources
        .flag("interrupt-controller")?
        .cell("#address-cells", 0)?
        .cell("#interrupt-cells", 2)?
        .cells("interrupt-ranges", &[EPOW_INTERRUPT, 1])?;
    let warnings = [EPOW_INTERRUPT, InterruptKind::Edge.cell()];
    sources.child("epow-events")?.cells("interrupts", &warnings)?;
    Ok(())
}
