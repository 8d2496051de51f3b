//! Memory nodes (LoPAPR §B.6.3 and §13.5).

use super::writer::{FdtError, Writer};
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::memory_blocks::{BLOCKS_PROPERTY, MemoryBlocks};

/// The one NUMA node: a length cell and four domains.
const ASSOCIATIVITY: [u32; 5] = [4, 0, 0, 0, 0];

pub(super) fn nodes(w: &mut Writer, machine: &Machine) -> Result<(), FdtError> {
    // One node for all RAM: its first range is what the guest takes as the real mode area.
    w.node("memory@0", |w| {
        w.text("device_type", &["memory"])?;
        w.doublewords("reg", &[0, machine.memory_bytes()])?;
        w.cells("ibm,associativity", &ASSOCIATIVITY)
    })?;
    let Some(blocks) = MemoryBlocks::of_machine(machine) else { return Ok(()) };
    w.node("ibm,dynamic-reconfiguration-memory", |w| {
        w.doublewords("ibm,lmb-size", &[LMB_BYTES])?;
        w.bytes(BLOCKS_PROPERTY, &blocks.blocks())?;
        // One list, of one array of four domains: the one NUMA node.
        w.cells("ibm,associativity-lookup-arrays", &[1, 4, 0, 0, 0, 0])
    })
}
