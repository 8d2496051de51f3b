//! Memory nodes (LoPAPR §B.6.3 and §13.5).

use vm_memory::GuestAddress;

use super::error::FdtError;
use super::tree::{NodeBuilder, Tree};
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::memory_blocks::{BLOCKS_PROPERTY, MemoryBlocks, NODE_PATH};
use crate::topology::{MemoryRange, NumaNode};

pub(super) fn nodes(tree: &mut Tree, machine: &Machine) -> Result<(), FdtError> {
    let map = machine.memory_map();
    // A node a range of RAM: the guest takes the first as the real mode area.
    for range in map.ram() {
        let mut node = tree.node(&format!("/{}", memory_node(range.start)))?;
        describe_memory(&mut node, machine, range)?;
    }
    let Some(blocks) = MemoryBlocks::of_machine(machine) else { return Ok(()) };
    tree.node(NODE_PATH)?
        .doublewords("ibm,lmb-size", &[LMB_BYTES])?
        .bytes(BLOCKS_PROPERTY, &blocks.blocks())?
        .cells("ibm,associativity-lookup-arrays", &lookup_arrays(machine))?;
    Ok(())
}

/// The name of the node of memory that begins at this address, with its unit address.
pub(crate) fn memory_node(start: GuestAddress) -> String {
    format!("memory@{:x}", start.0)
}

/// The node of a range of memory: as it is at the start, and as a guest gets it that is given a block
/// of memory later.
pub(crate) fn describe_memory(
    node: &mut NodeBuilder<'_>,
    machine: &Machine,
    range: &MemoryRange,
) -> Result<(), FdtError> {
    let domains = machine.topology().node_domains(range.node);
    node.text("device_type", &["memory"])?
        .doublewords("reg", &[range.start.0, range.bytes])?
        .cells("ibm,associativity", &[&[domains.len() as u32], &domains[..]].concat())?;
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
