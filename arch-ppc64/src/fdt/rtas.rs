//! `/rtas`: the run-time abstraction services (LoPAPR §7.2 and §B.6.4).

use super::error::FdtError;
use super::start::{Start, to_cell};
use super::tree::{NodeBuilder, Tree};
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::rtas;
use crate::topology::{Form, NumaNode, REFERENCE_POINTS_PROPERTY};

/// `function_sets` says what hypercalls there are (LoPAPR table 171, column "Hypervisor Call Function
/// Set"): a set that is named is a promise.
pub(super) fn node(
    tree: &mut Tree,
    machine: &Machine,
    start: &Start,
    function_sets: &[&str],
    calls: &[(&str, u32)],
) -> Result<(), FdtError> {
    let map = machine.memory_map();
    let mut node = tree.node("/rtas")?;
    node.cell("rtas-version", 1)?;
    node.cell("rtas-size", rtas::SIZE_BYTES)?;
    node.text("ibm,hypertas-functions", function_sets)?;
    node.cell("rtas-error-log-max", rtas::ERROR_LOG_BYTES_MAX)?;
    // All events come with interrupts. But Linux keeps none for the programs that take devices in slots,
    // unless it scans for others, which once a minute is the least of.
    node.cell("rtas-event-scan-rate", machine.has_slots().into())?;
    // ibm,os-term is only to be used where it says that it comes back (LoPAPR §7.3.9.1).
    node.flag("ibm,extended-os-term")?;
    affinity(&mut node, machine)?;
    // What there may be at most: what a machine can get that nobody plugs anything into is what it
    // has.
    let cores = if machine.has_connectors() {
        machine.topology().cores()
    } else {
        machine.cores().count() as u32
    };
    let mut capacity = map.end().0.to_be_bytes().to_vec();
    capacity.extend_from_slice(&LMB_BYTES.to_be_bytes());
    capacity.extend_from_slice(&cores.to_be_bytes());
    node.bytes("ibm,lrdr-capacity", &capacity)?;
    for &(name, token) in calls {
        node.cell(name, token)?;
    }
    if let Some(base) = start.flat_rtas {
        let base = to_cell(base.0)?;
        node.cell("linux,rtas-base", base)?;
        node.cell("linux,rtas-entry", base)?;
    }
    Ok(())
}

/// What the lists of associativity domains mean (LoPAPR chapter 15). Each level has as many domains as there
/// are nodes at most, for a domain has the number of one of its nodes.
///
/// The tables of distances are those of form 2, whose reference points negotiation sets; another guest
/// does not look for them. They have each number below the highest, for Linux asks for the distance of
/// any two nodes that there could be.
fn affinity(node: &mut NodeBuilder<'_>, machine: &Machine) -> Result<(), FdtError> {
    let count = machine.node_count();
    node.cells(REFERENCE_POINTS_PROPERTY, Form::Form0.reference_points())?;
    node.cells("ibm,max-associativity-domains", &[4, count, count, count, count])?;
    let nodes: Vec<u32> = [count].into_iter().chain(0..count).collect();
    node.cells("ibm,numa-lookup-index-table", &nodes)?;
    let distances = machine.numa_distances();
    let mut table = (count * count).to_be_bytes().to_vec();
    for one in 0..count {
        let distance = |other| distances.between(NumaNode(one as u8), NumaNode(other as u8));
        table.extend((0..count).map(distance));
    }
    node.bytes("ibm,numa-distance-table", &table)?;
    Ok(())
}
