//! Memory nodes (LoPAPR §B.6.3 and §13.5).

use super::error::FdtError;
use super::tree::Tree;
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::memory_blocks::{BLOCKS_PROPERTY, MemoryBlocks, NODE_PATH};
use crate::topology::{NumaNode, memory_domains};

pub(super) fn nodes(tree: &mut Tree, machine: &Machine) -> Result<(), FdtError> {
    let map = machine.memory_map();
    // A node a range of RAM: the guest takes the first as the real mode area.
    for range in map.ram() {
        let domains = memory_domains(range.node);
        let associativity = [&[domains.len() as u32], &domains[..]].concat();
        tree.node(&format!("/memory@{:x}", range.start.0))?
            .text("device_type", &["memory"])?
            .doublewords("reg", &[range.start.0, range.bytes])?
            .cells("ibm,associativity", &associativity)?;
    }
    let Some(blocks) = MemoryBlocks::of_machine(machine) else { return Ok(()) };
    tree.node(NODE_PATH)?
        .doublewords("ibm,lmb-size", &[LMB_BYTES])?
        .bytes(BLOCKS_PROPERTY, &blocks.blocks())?
        .cells("ibm,associativity-lookup-arrays", &lookup_arrays(machine.node_count()))?;
    Ok(())
}

/// How many lists there are, how long each is, and the lists: one a node.
fn lookup_arrays(node_count: u32) -> Vec<u32> {
    let lists = (0..node_count).map(|node| memory_domains(NumaNode(node as u8)));
    let lists: Vec<_> = lists.collect();
    let length = lists.first().map_or(0, |list| list.len() as u32);
    [&[node_count, length], lists.as_flattened()].concat()
}
