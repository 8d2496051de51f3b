//! Memory nodes (LoPAPR §B.6.3 and §13.5).

use vm_memory::GuestAddress;

use super::error::FdtError;
use super::tree::{NodeBuilder, Tree};
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::memory_blocks::{BLOCKS_PROPERTY, MemoryBlocks, NODE_PATH};
use crate::topology::NumaNode;

pub(super) fn nodes(tree: &mut Tree, machine: &Machine) -> Result<(), FdtError> {
    let map = machine.memory_map();
    // A node a range of RAM: the guest takes the first as the real mode area.
    for range in map.ram() {
        let domains = machine.topology().node_domains(range.node);
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
        .cells("ibm,associativity-lookup-arrays", &lookup_arrays(machine))?;
    Ok(())
}

/// How many lists there are, how long each is, and the lists: one a node number, so that the index of a
/// list is a node's number.
fn lookup_arrays(machine: &Machine) -> Vec<u32> {
    let count = machine.node_count();
    let lists = (0..count).map(|node| machine.topology().node_domains(NumaNode(node as u8)));
    let lists: Vec<_> = lists.collect();
    let length = lists.first().map_or(0, |list| list.len() as u32);
    [&[count, length], lists.as_flattened()].concat()
}
