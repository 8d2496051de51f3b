//! `/cpus` (LoPAPR §B.6.2; PowerPC processor binding §3).

use super::error::FdtError;
use super::tree::{NodeBuilder, Tree};
use crate::cas::Mmu;
use crate::cpu::CpuModel;
use crate::cpu_features::{FEATURES_PROPERTY, processor_features};
use crate::hotplug::core_connector;
use crate::hpt::SLB_ENTRIES;
use crate::hpt::properties::{PFT_SIZE, pft_size, segment_page_sizes};
use crate::layout::TIMEBASE_HZ;
use crate::machine::Machine;
use crate::vcpu::CpuIndex;

const CACHE_BYTES: u32 = 32 << 10;
const CACHE_LINE_BYTES: u32 = 128;

/// Nominal; guests show it and reckon nothing from it.
const CLOCK_HZ: u32 = 1_000_000_000;

/// `ibm,processor-radix-AP-encodings`: a cell a page size, the "actual page size" code of tlbie
/// in the upper three bits and log2 of the size below (Power ISA 3.0B Book III §5.9.3.3):
/// 4 KiB, 64 KiB, 2 MiB, 1 GiB.
const RADIX_PAGE_SIZES: [u32; 4] = [12, 5 << 29 | 16, 1 << 29 | 21, 2 << 29 | 30];

/// `ibm,processor-segment-sizes`: log2 of the segment sizes by their SLB code: 256 MiB and 1 TiB.
const SEGMENT_SIZES: [u32; 4] = [28, 40, u32::MAX, u32::MAX];

pub(super) fn nodes(tree: &mut Tree, machine: &Machine) -> Result<(), FdtError> {
    let mut cpus = tree.node("/cpus")?;
    cpus.cell("#address-cells", 1)?.cell("#size-cells", 0)?;
    for first in machine.cores() {
        describe_core(&mut cpus.child(&machine.cpu_node(first))?, machine, first)?;
    }
    Ok(())
}

/// The node of a core, by its first thread: as it is at the start, and as a guest gets it that is
/// given the core later.
pub(crate) fn describe_core(
    node: &mut NodeBuilder<'_>,
    machine: &Machine,
    first: CpuIndex,
) -> Result<(), FdtError> {
    let topology = machine.topology();
    node.text("device_type", &["cpu"])?;
    node.cell("reg", topology.server(first).0)?;
    node.text("status", &["okay"])?;
    node.cell("cpu-version", machine.cpu().version())?;
    node.cell("d-cache-size", CACHE_BYTES)?;
    node.cell("d-cache-line-size", CACHE_LINE_BYTES)?;
    node.cell("d-cache-block-size", CACHE_LINE_BYTES)?;
    node.cell("i-cache-size", CACHE_BYTES)?;
    node.cell("i-cache-line-size", CACHE_LINE_BYTES)?;
    node.cell("i-cache-block-size", CACHE_LINE_BYTES)?;
    node.cell("timebase-frequency", TIMEBASE_HZ)?;
    node.cell("clock-frequency", CLOCK_HZ)?;
    node.cell("slb-size", SLB_ENTRIES)?;
    node.cell("ibm,slb-size", SLB_ENTRIES)?;
    let order = machine.mmu().includes(&Mmu::Hash).then(|| machine.hpt_order());
    node.cells(PFT_SIZE, &pft_size(order))?;
    let pages = segment_page_sizes(|base, page| machine.has_hash_page(base, page));
    node.cells("ibm,segment-page-sizes", &pages)?;
    node.cells("ibm,processor-segment-sizes", &SEGMENT_SIZES)?;
    let has_radix = machine.mmu().includes(&Mmu::Radix);
    if has_radix {
        node.cells("ibm,processor-radix-AP-encodings", &RADIX_PAGE_SIZES)?;
    }
    let model = machine.cpu().model();
    node.bytes(FEATURES_PROPERTY, &processor_features(model, has_radix))?;
    let servers: Vec<u32> = topology.core(first).map(|cpu| topology.server(cpu).0).collect();
    node.cells("ibm,ppc-interrupt-server#s", &servers)?;
    // Each with the number of its global server.
    let global: Vec<u32> = servers.iter().flat_map(|&server| [server, 0]).collect();
    node.cells("ibm,ppc-interrupt-gserver#s", &global)?;
    if model > CpuModel::Power8 {
        // As LPCR.LD = 0 has it, which is how partitions start everywhere. It is since POWER9.
        node.cell("ibm,dec-bits", 32)?;
    }
    // 2: VMX and VSX.
    node.cell("ibm,vmx", 2)?;
    node.cell("ibm,purr", 1)?;
    node.cell("ibm,spurr", 1)?;
    let domains = topology.domains(first);
    node.cells("ibm,associativity", &[&[domains.len() as u32], &domains[..]].concat())?;
    node.cell("ibm,chip-id", 0)?;
    if machine.has_connectors() {
        node.cell("ibm,my-drc-index", core_connector(first.0 / topology.threads_per_core()))?;
    }
    // No "performance-monitor": not every back end has one that counts.
    node.flag("64-bit")?;
    Ok(())
}
