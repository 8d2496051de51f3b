//! The node that says which memory is free, and in what form.

use std::ops::Range;

use arch_ppc64::topology::MemoryMap;

use crate::build_error::BuildError;
use crate::tree::{DeviceTree, NodeId};

/// The property of a memory node that lists free memory (IEEE 1275 §3.7.6).
pub(crate) const AVAILABLE: &str = "available";

/// The node that says which memory is free, and in what form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryNode {
    pub(crate) node: NodeId,
    /// Cells of an address, 1 or 2.
    pub(crate) address_cells: usize,
    /// Cells of a size, 1 or 2.
    pub(crate) size_cells: usize,
}

impl MemoryNode {
    /// The memory node that lists free memory, that of all ranges of RAM: the one whose memory
    /// starts at 0.
    pub(crate) fn find(tree: &DeviceTree, map: &MemoryMap) -> Result<Option<Self>, BuildError> {
        let root = tree.root();
        let is_memory = |&node: &NodeId| {
            let unit = tree.full_name(node).split_once('@').map_or("0", |(_, unit)| unit);
            tree.property(node, "device_type") == Some(b"memory\0")
                && !unit.is_empty()
                && unit.bytes().all(|digit| digit == b'0')
        };
        let Some(node) = tree.children(root).find(is_memory) else { return Ok(None) };
        // The values of a bus without them (IEEE 1275 §3.6.5, "#address-cells" and "#size-cells").
        let address_cells = cell(tree, "#address-cells").unwrap_or(2);
        let size_cells = cell(tree, "#size-cells").unwrap_or(1);
        let ram_end = map.spans().last().map_or(0, |(start, bytes)| start.0 + bytes);
        let enough = |cells| match cells {
            1 => ram_end < 1 << 32,
            cells => cells == 2,
        };
        if !enough(address_cells) || !enough(size_cells) {
            return Err(BuildError::Cells { address_cells, size_cells, ram_end });
        }
        let (address_cells, size_cells) = (address_cells as usize, size_cells as usize);
        Ok(Some(Self { node, address_cells, size_cells }))
    }

    /// Bytes of one entry of a list of ranges.
    pub(crate) fn entry_bytes(&self) -> usize {
        (self.address_cells + self.size_cells) * 4
    }

    /// The entry of one range: of these bytes, the last [`entry_bytes`](Self::entry_bytes).
    #[inline]
    pub(crate) fn entry(&self, range: &Range<u64>) -> [u8; 16] {
        let size = u128::from(range.end - range.start);
        let cells = u128::from(range.start) << (self.size_cells * 32) | size;
        cells.to_be_bytes()
    }
}

fn cell(tree: &DeviceTree, name: &str) -> Option<u32> {
    tree.property(tree.root(), name)?.try_into().ok().map(u32::from_be_bytes)
}
