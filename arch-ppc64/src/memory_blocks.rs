//! Logical memory blocks: memory that can be plugged, as the tree lists it (LoPAPR §13.5).

use vm_memory::GuestAddress;

use crate::hotplug::{MemoryBlock, memory_connector};
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::topology::MemoryKind;

/// Path of the node of the lists.
pub(crate) const NODE_PATH: &str = "/ibm,dynamic-reconfiguration-memory";

/// The list block by block.
pub(crate) const BLOCKS_PROPERTY: &str = "ibm,dynamic-memory";

/// The list in sets of blocks, in the place of the other where the guest knows it.
pub(crate) const SETS_PROPERTY: &str = "ibm,dynamic-memory-v2";

// Flags of a block (LoPAPR table 183, "Flag Word").
const ASSIGNED: u32 = 0x08;
const DRC_INVALID: u32 = 0x20;
const RESERVED: u32 = 0x80;
/// It may be asked back (not in LoPAPR 1.1; Linux's `asm/drmem.h`): a kernel that is told to
/// (`movable_node`) puts nothing there then that it cannot move, in a machine that starts again with
/// what was plugged.
const HOT_REMOVABLE: u32 = 0x100;

/// The blocks of a machine that memory can be plugged into, from real address 0 on. Those that
/// are RAM at boot are in `/memory@…` and cannot be unplugged; the others are there, and assigned to
/// the guest, or are not; those that never can be are not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryBlocks {
    sets: Vec<Set>,
}

/// Blocks that follow each other and differ in nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set {
    first: u32,
    count: u32,
    connector: u32,
    /// Index of the associativity list: there is one a node, in the order of their numbers.
    node: u32,
    flags: u32,
}

impl MemoryBlocks {
    /// `None` for a machine that no memory can be plugged into.
    pub(crate) fn of_machine(machine: &Machine) -> Option<Self> {
        let map = machine.memory_map();
        map.hotplug().next()?;
        let blocks = |bytes: u64| (bytes / LMB_BYTES) as u32;
        let mut sets: Vec<Set> = Vec::new();
        for range in map.ranges() {
            let (first, count) = (blocks(range.start.0), blocks(range.bytes));
            let node = range.node.0.into();
            match range.kind {
                MemoryKind::Ram => {
                    let flags = DRC_INVALID | RESERVED;
                    sets.push(Set { first, count, connector: 0, node, flags });
                }
                MemoryKind::Hotplug => push_pluggable(&mut sets, machine, first, count, node),
                MemoryKind::Reserved => {}
            }
        }
        Some(Self { sets })
    }

    /// The value of [`BLOCKS_PROPERTY`]: how many blocks there are, then six cells each: address
    /// (two cells), connector, reserved, index of the associativity list, flags.
    pub(crate) fn blocks(&self) -> Vec<u8> {
        const ENTRY_BYTES: usize = 24;
        let count: u32 = self.sets.iter().map(|set| set.count).sum();
        // One and a half megabytes for the largest machine, in the time of one call.
        let mut value = Vec::with_capacity(4 + count as usize * ENTRY_BYTES);
        value.extend_from_slice(&count.to_be_bytes());
        for set in &self.sets {
            let mut entry = [0; ENTRY_BYTES];
            entry[16..20].copy_from_slice(&set.node.to_be_bytes());
            entry[20..].copy_from_slice(&set.flags.to_be_bytes());
            for number in 0..set.count {
                let connector = if set.connector == 0 { 0 } else { set.connector + number };
                entry[..8].copy_from_slice(&address(set.first + number).to_be_bytes());
                entry[8..12].copy_from_slice(&connector.to_be_bytes());
                value.extend_from_slice(&entry);
            }
        }
        value
    }

    /// The value of [`SETS_PROPERTY`] (not in LoPAPR 1.1; Linux's `asm/drmem.h`): how many sets
    /// there are, then six cells each: how many blocks, address of the first (two cells), its
    /// connector, index of the associativity list, flags. Connectors count up in a set.
    pub(crate) fn sets(&self) -> Vec<u8> {
        let mut value = (self.sets.len() as u32).to_be_bytes().to_vec();
        for set in &self.sets {
            push_cells(&mut value, &[set.count]);
            value.extend_from_slice(&address(set.first).to_be_bytes());
            push_cells(&mut value, &[set.connector, set.node, set.flags]);
        }
        value
    }
}

/// Sets of blocks of a range, as far as they are there, or are not.
fn push_pluggable(sets: &mut Vec<Set>, machine: &Machine, first: u32, count: u32, node: u32) {
    let mut begin = first;
    let is_there = |number: u32| {
        machine.has_block(MemoryBlock::at(GuestAddress(u64::from(number) * LMB_BYTES)))
    };
    while begin < first + count {
        let there = is_there(begin);
        let end = (begin..first + count).find(|&number| is_there(number) != there);
        let end = end.unwrap_or(first + count);
        let flags = if there { ASSIGNED | HOT_REMOVABLE } else { 0 };
        let connector = memory_connector(begin);
        sets.push(Set { first: begin, count: end - begin, connector, node, flags });
        begin = end;
    }
}

fn address(block: u32) -> u64 {
    u64::from(block) * LMB_BYTES
}

fn push_cells(value: &mut Vec<u8>, cells: &[u32]) {
    for cell in cells {
        value.extend_from_slice(&cell.to_be_bytes());
    }
}
