//! Logical memory blocks: memory that can be plugged, as the tree lists it (LoPAPR §13.5).

use crate::layout::LMB_BYTES;
use crate::machine::Machine;

/// Path of the node of the lists.
pub(crate) const NODE_PATH: &str = "/ibm,dynamic-reconfiguration-memory";

/// The list block by block.
pub(crate) const BLOCKS_PROPERTY: &str = "ibm,dynamic-memory";

/// The list in sets of blocks, in the place of the other where the guest knows it.
pub(crate) const SETS_PROPERTY: &str = "ibm,dynamic-memory-v2";

// Flags of a block (LoPAPR table 183, "Flag Word").
const DRC_INVALID: u32 = 0x20;
const RESERVED: u32 = 0x80;

/// First dynamic reconfiguration connector of a block: the type of connector in the upper four
/// bits (8 for memory), the block's number below.
const CONNECTOR: u32 = 0x8000_0000;

/// The first of the associativity lists, the one NUMA node.
const ASSOCIATIVITY_INDEX: u32 = 0;

/// The blocks of a machine that memory can be plugged into, from real address 0 on. Those that
/// are RAM at boot are in `/memory@0` and cannot be unplugged; the others are not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryBlocks {
    at_boot: u32,
    pluggable: u32,
}

/// Blocks that follow each other and differ in nothing else.
struct Set {
    first: u32,
    count: u32,
    connector: u32,
    flags: u32,
}

impl MemoryBlocks {
    /// `None` for a machine that no memory can be plugged into.
    pub(crate) fn of_machine(machine: &Machine) -> Option<Self> {
        let blocks = |bytes: u64| (bytes / LMB_BYTES) as u32;
        let pluggable = blocks(machine.hotplug_bytes());
        (pluggable != 0).then(|| Self { at_boot: blocks(machine.memory_bytes()), pluggable })
    }

    fn both_sets(self) -> [Set; 2] {
        [
            Set { first: 0, count: self.at_boot, connector: 0, flags: DRC_INVALID | RESERVED },
            Set {
                first: self.at_boot,
                count: self.pluggable,
                connector: CONNECTOR | self.at_boot,
                flags: 0,
            },
        ]
    }

    /// The value of [`BLOCKS_PROPERTY`]: how many blocks there are, then six cells each: address
    /// (two cells), connector, reserved, index of the associativity list, flags.
    pub(crate) fn blocks(self) -> Vec<u8> {
        let mut value = (self.at_boot + self.pluggable).to_be_bytes().to_vec();
        for set in self.both_sets() {
            for number in 0..set.count {
                let connector = if set.connector == 0 { 0 } else { set.connector + number };
                push_address(&mut value, set.first + number);
                push_cells(&mut value, &[connector, 0, ASSOCIATIVITY_INDEX, set.flags]);
            }
        }
        value
    }

    /// The value of [`SETS_PROPERTY`] (not in LoPAPR 1.1; Linux's `asm/drmem.h`): how many sets
    /// there are, then six cells each: how many blocks, address of the first (two cells), its
    /// connector, index of the associativity list, flags. Connectors count up in a set.
    pub(crate) fn sets(self) -> Vec<u8> {
        let sets = self.both_sets();
        let mut value = (sets.len() as u32).to_be_bytes().to_vec();
        for set in sets {
            push_cells(&mut value, &[set.count]);
            push_address(&mut value, set.first);
            push_cells(&mut value, &[set.connector, ASSOCIATIVITY_INDEX, set.flags]);
        }
        value
    }
}

fn push_address(value: &mut Vec<u8>, block: u32) {
    value.extend_from_slice(&(u64::from(block) * LMB_BYTES).to_be_bytes());
}

fn push_cells(value: &mut Vec<u8>, cells: &[u32]) {
    for cell in cells {
        value.extend_from_slice(&cell.to_be_bytes());
    }
}
