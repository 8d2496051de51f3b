//! Memory nodes (LoPAPR §B.6.3 and §13.5).

use super::error::FdtError;
use super::tree::Tree;
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::memory_blocks::{BLOCKS_PROPERTY, MemoryBlocks, NODE_PATH};

/// The one NUMA node: a length cell and four domains.
const ASSOCIATIVITY: [u32; 5] = [4, 0, 0, 0, 0];

pub(super) fn nodes(tree: &mut Tree, machine: &Machine) -> Result<(), FdtError> {
    // One node for all RAM: its first range is what the guest takes as the real mode area.
    tree.node("/memory@0")?
        .text("device_type", &["memory"])?
        .doublewords("reg", &[0, machine.memory_bytes()])?
        .cells("ibm,associativity", &ASSOCIATIVITY)?;
    let Some(blocks) = MemoryBlocks::of_machine(machine) else { return Ok(()) };
    tree.node(NODE_PATH)?
        .doublewords("ibm,lmb-size", &[LMB_BYTES])?
        .bytes(BLOCKS_PROPERTY, &blocks.blocks())?
        // One list, of one array of four domains: the one NUMA node.
        .cells("ibm,associativity-lookup-arrays", &[1, 4, 0, 0, 0, 0])?;
    Ok(())
}
