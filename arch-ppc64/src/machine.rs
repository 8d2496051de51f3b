//! One pseries machine: a configuration that was found to be possible.

mod error;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

pub use error::ConfigError;

use crate::cas::decision::{InterruptMode, Mmu, Support};
use crate::config::{AddressTranslation, Interrupts, MachineConfig};
use crate::cpu::{Cpu, CpuError, CpuModel};
use crate::hotplug::{MemoryBlock, Resource};
use crate::hpt::{HashPage, Order};
use crate::layout::{LMB_BYTES, MAX_CMDLINE_BYTES, MAX_CPUS, MAX_MEMORY_BYTES, MIN_MEMORY_BYTES};
use crate::topology::{
    CpuTopology, CpuTopologyError, MemoryMap, MemoryRange, NumaDistances, NumaNode,
};
use crate::vcpu::{CpuIndex, ServerNumber};

/// A validated machine; everything else of this crate takes `&Machine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    memory: MemoryMap,
    /// The first threads of the cores that are there, in the order of their numbers.
    cores: Vec<CpuIndex>,
    /// What is there of the memory that can be plugged.
    blocks: BTreeSet<MemoryBlock>,
    has_connectors: bool,
    /// There may be more cores or memory.
    has_spare: bool,
    has_slots: bool,
    topology: CpuTopology,
    /// In the order of their numbers.
    nodes: Vec<NumaNode>,
    distances: NumaDistances,
    cpu: Cpu,
    cmdline: String,
    x_vof: bool,
    wanted_interrupts: Interrupts,
    interrupts: Support<InterruptMode>,
    wanted_mmu: AddressTranslation,
    mmu: Support<Mmu>,
    /// The least and the most.
    hpt_orders: (Order, Order),
    /// The pages of tables, where not all are there.
    hash_pages: Option<Vec<HashPage>>,
}

impl Machine {
    /// Checks a configuration, once, and keeps what it says.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that is not possible, and what is.
    pub fn new(config: &dyn MachineConfig) -> Result<Self, ConfigError> {
        let memory = config.memory_map()?;
        let cpus = config.cpus();
        let cmdline = config.boot().cmdline;
        check_memory(&memory)?;
        if cpus.boot == 0 {
            return Err(ConfigError::NoCpus);
        }
        if cpus.max < cpus.boot {
            return Err(ConfigError::FewerThanBoot { boot: cpus.boot, max: cpus.max });
        }
        if cpus.max > MAX_CPUS {
            return Err(ConfigError::TooManyCpus { max: cpus.max });
        }
        let topology = config.cpu_topology()?;
        if topology.cpus() != cpus.max {
            return Err(ConfigError::OtherCpus { topology: topology.cpus(), max: cpus.max });
        }
        let threads = topology.threads_per_core();
        if cpus.boot % threads != 0 {
            return Err(CpuTopologyError::PartOfCore { cpus: cpus.boot, threads }.into());
        }
        let nodes = nodes_of(&memory, &topology);
        let distances = config.numa_distances()?;
        if let Some(&node) = distances.named().iter().find(|node| !nodes.contains(node)) {
            return Err(ConfigError::NoSuchNode { node });
        }
        check_nodes(&memory)?;
        if cmdline.len() > MAX_CMDLINE_BYTES {
            return Err(ConfigError::CmdlineTooLong { bytes: cmdline.len() });
        }
        if let Some(at) = cmdline.find('\0') {
            return Err(ConfigError::CmdlineNul { at });
        }
        let has_spare = cpus.boot < cpus.max || memory.hotplug().next().is_some();
        Ok(Self {
            memory,
            cores: (0..cpus.boot).step_by(threads as usize).map(CpuIndex).collect(),
            blocks: BTreeSet::new(),
            has_connectors: has_spare,
            has_spare,
            has_slots: config.has_slots(),
            topology: topology.with_distances(&distances, &nodes),
            nodes,
            distances,
            cpu: Cpu::of_model(cpus.model),
            cmdline: cmdline.to_owned(),
            x_vof: config.x_vof(),
            wanted_interrupts: wanted_interrupts(cpus.model, config.interrupts())?,
            interrupts: Support::Only(InterruptMode::Xics),
            wanted_mmu: wanted_mmu(cpus.model, config.mmu())?,
            mmu: Support::Only(cpus.model.mmu().first()),
            hpt_orders: (Order::MIN, Order::MAX),
            hash_pages: None,
        })
    }

    /// The same machine on a host whose own processor runs the guest; see [`Cpu::on_host`].
    ///
    /// # Errors
    /// [`CpuError`] when that processor cannot be the configured model.
    pub fn on_host(self, host_pvr: u32) -> Result<Self, CpuError> {
        Ok(Self { cpu: Cpu::on_host(self.cpu.model(), host_pvr)?, ..self })
    }

    /// The same machine with exactly this of what can be plugged: as it starts again after its guest
    /// was given some of it and has given some back ([`Hotplug::plugged`]). Without this, there are
    /// the CPUs at boot, and no memory but that. What is in slots is for the bus to have.
    ///
    /// [`Hotplug::plugged`]: crate::hotplug::Hotplug::plugged
    ///
    /// # Errors
    /// [`ConfigError::NotPluggable`] names what this machine leaves no room for, and
    /// [`ConfigError::NoCpus`] that there is no core.
    pub fn with_present(
        self,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Result<Self, ConfigError> {
        let (mut cores, mut blocks) = (BTreeSet::new(), BTreeSet::new());
        for resource in resources {
            let fits = match resource {
                Resource::Core(first) => {
                    cores.insert(first);
                    first.0 < self.max_cpus() && self.topology.first_of_core(first) == first
                }
                Resource::Memory(block) => {
                    blocks.insert(block);
                    let within = |range: &MemoryRange| {
                        range.start <= block.start && block.start < range.end()
                    };
                    block.start.0 % LMB_BYTES == 0 && self.memory.hotplug().any(within)
                }
                Resource::Slot(_) => self.has_slots,
            };
            if !fits {
                return Err(ConfigError::NotPluggable { resource });
            }
        }
        let cores = match (cores.is_empty(), self.has_spare) {
            // They have no connectors, and all of them stay.
            (true, false) => self.cores,
            (true, true) => return Err(ConfigError::NoCpus),
            (false, _) => cores.into_iter().collect(),
        };
        Ok(Self { cores, blocks, ..self })
    }

    /// What there is of what can be plugged: cores, and blocks of memory.
    pub fn present(&self) -> impl Iterator<Item = Resource> + '_ {
        let cores = self.cores.iter().copied().map(Resource::Core);
        cores.chain(self.blocks.iter().copied().map(Resource::Memory))
    }

    /// Whether the configuration leaves room for more than there is at boot: whether there is any use
    /// for [`Hotplug`](crate::hotplug::Hotplug).
    pub fn has_room(&self) -> bool {
        self.has_spare || self.has_slots
    }

    /// Whether there may be more CPUs or memory than at boot.
    pub fn has_spare(&self) -> bool {
        self.has_spare
    }

    /// Whether functions come and go behind its host bridges.
    pub fn has_slots(&self) -> bool {
        self.has_slots
    }

    /// The same machine where what can be plugged and unplugged has connectors; or where nothing can
    /// be, as nobody does it.
    pub(crate) fn with_connectors(self, has_connectors: bool) -> Self {
        match has_connectors {
            true => Self { has_connectors: self.has_spare, ..self },
            false => {
                let memory = self.memory.without_hotplug();
                let blocks = BTreeSet::new();
                Self { memory, blocks, has_connectors, has_slots: false, ..self }
            }
        }
    }

    /// The same machine with slots.
    #[cfg(test)]
    pub(crate) fn with_slots(self) -> Self {
        Self { has_slots: true, ..self }
    }

    /// Whether cores and memory that can be plugged have connectors.
    pub(crate) fn has_connectors(&self) -> bool {
        self.has_connectors
    }

    /// Whether a block of memory that can be plugged is there.
    pub(crate) fn has_block(&self, block: MemoryBlock) -> bool {
        self.blocks.contains(&block)
    }

    /// How many bytes of memory there are, what was plugged included.
    pub fn ram_bytes(&self) -> u64 {
        self.memory.ram_bytes() + self.blocks.len() as u64 * MemoryBlock::BYTES
    }

    /// How large the hashed page table of a guest without radix trees is: enough for all memory that
    /// there may be, as far as the back end [has such](Self::with_hpt_orders).
    pub fn hpt_order(&self) -> Order {
        self.hpt_order_for(self.memory.ram_bytes() + self.memory.hotplug_bytes())
    }

    /// How large it is where the guest can have it resized: enough for the memory that there is.
    pub fn present_hpt_order(&self) -> Order {
        self.hpt_order_for(self.ram_bytes())
    }

    fn hpt_order_for(&self, ram_bytes: u64) -> Order {
        let (least, most) = self.hpt_orders;
        Order::for_ram(ram_bytes).max(least).min(most)
    }

    /// The same machine on a back end whose hashed page tables have other sizes than all that there
    /// are.
    #[must_use]
    pub fn with_hpt_orders(self, orders: RangeInclusive<Order>) -> Self {
        Self { hpt_orders: orders.into_inner(), ..self }
    }

    /// Where its memory is: RAM at boot, and what the tree leaves room for.
    pub fn memory_map(&self) -> &MemoryMap {
        &self.memory
    }

    /// How many virtual CPUs there are as the machine starts.
    pub fn boot_cpus(&self) -> u32 {
        self.cores.len() as u32 * self.topology.threads_per_core()
    }

    /// The CPUs that are there as the machine starts, in the order of their numbers, some of which
    /// may be missing. The first is the one that starts.
    pub fn vcpus(&self) -> impl ExactSizeIterator<Item = CpuIndex> + use<> {
        let cpus = self.cores.iter().flat_map(|&first| self.topology.core(first));
        cpus.collect::<Vec<_>>().into_iter()
    }

    /// How many virtual CPUs the tree leaves room for.
    pub fn max_cpus(&self) -> u32 {
        self.topology.cpus()
    }

    /// How guests number the CPUs, those included that the tree leaves room for.
    pub fn topology(&self) -> &CpuTopology {
        &self.topology
    }

    /// The NUMA nodes that memory or CPUs are in, those included that the tree leaves room for, in
    /// the order of their numbers.
    pub fn nodes(&self) -> &[NumaNode] {
        &self.nodes
    }

    /// How far they are from each other.
    pub fn numa_distances(&self) -> &NumaDistances {
        &self.distances
    }

    /// One more than the highest number of a NUMA node.
    pub(crate) fn node_count(&self) -> u32 {
        self.nodes.last().map_or(1, |node| u32::from(node.0) + 1)
    }

    /// The first thread of each core that is there as the machine starts.
    pub(crate) fn cores(&self) -> impl Iterator<Item = CpuIndex> + '_ {
        self.cores.iter().copied()
    }

    /// The processor.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The same machine on a back end with another interrupt controller than XICS, or a choice of
    /// two.
    #[must_use]
    pub fn with_interrupts(self, interrupts: Support<InterruptMode>) -> Self {
        Self { interrupts, ..self }
    }

    /// How guests can take interrupts: as XICS, unless the back end
    /// [has more](Self::with_interrupts).
    pub fn interrupts(&self) -> Support<InterruptMode> {
        self.interrupts
    }

    /// How guests are to take interrupts, as configured, or as the processor can: for whoever knows
    /// the back end.
    pub fn wanted_interrupts(&self) -> Interrupts {
        self.wanted_interrupts
    }

    /// The same machine on a back end that has hashed page tables, or a choice of these and radix
    /// trees.
    #[must_use]
    pub fn with_mmu(self, mmu: Support<Mmu>) -> Self {
        Self { mmu, ..self }
    }

    /// How guests can translate addresses: by radix trees where the processor has them, unless the
    /// back end [has more](Self::with_mmu).
    pub fn mmu(&self) -> Support<Mmu> {
        self.mmu
    }

    /// How guests are to translate addresses, as configured, or as the processor can: for whoever
    /// knows the back end.
    pub fn wanted_mmu(&self) -> AddressTranslation {
        self.wanted_mmu
    }

    /// The same machine on a back end whose hashed page tables have no other pages than these.
    #[must_use]
    pub fn with_hash_pages(self, pages: Vec<HashPage>) -> Self {
        Self { hash_pages: Some(pages), ..self }
    }

    /// Whether a segment of such a base page size may have such pages, both as log2.
    pub(crate) fn has_hash_page(&self, base_shift: u32, shift: u32) -> bool {
        let page = HashPage { base_shift, shift };
        self.hash_pages.as_ref().is_none_or(|pages| pages.contains(&page))
    }

    /// The kernel command line.
    pub fn cmdline(&self) -> &str {
        &self.cmdline
    }

    /// Whether the guest finds an Open Firmware client interface.
    pub fn x_vof(&self) -> bool {
        self.x_vof
    }

    /// The name of the node below `/cpus` of a CPU's core, with its unit address.
    pub fn cpu_node(&self, vcpu: CpuIndex) -> String {
        let ServerNumber(server) = self.topology.server(self.topology.first_of_core(vcpu));
        format!("PowerPC,{}@{server:x}", self.cpu.model())
    }
}

/// How a processor is to take interrupts.
fn wanted_interrupts(model: CpuModel, wanted: Interrupts) -> Result<Interrupts, ConfigError> {
    match (model.interrupts(), wanted) {
        (Support::Either, wanted) => Ok(wanted),
        (Support::Only(_), Interrupts::Xive) => Err(ConfigError::NoXive { model }),
        (Support::Only(_), _) => Ok(Interrupts::Xics),
    }
}

/// How a processor is to translate addresses.
fn wanted_mmu(
    model: CpuModel,
    wanted: AddressTranslation,
) -> Result<AddressTranslation, ConfigError> {
    match (model.mmu(), wanted) {
        (Support::Either, wanted) => Ok(wanted),
        (Support::Only(_), AddressTranslation::Radix) => Err(ConfigError::NoRadix { model }),
        (Support::Only(_), _) => Ok(AddressTranslation::Hash),
    }
}

fn check_memory(memory: &MemoryMap) -> Result<(), ConfigError> {
    let rma_bytes = memory.rma().bytes;
    if rma_bytes < MIN_MEMORY_BYTES {
        return Err(ConfigError::MemoryTooSmall { bytes: rma_bytes });
    }
    let end = memory.end().0;
    if end > MAX_MEMORY_BYTES {
        return Err(ConfigError::MemoryTooLarge { end });
    }
    if memory.hotplug_bytes() == 0 {
        return Ok(());
    }
    match no_blocks(memory) {
        Some(odd) => Err(ConfigError::MemoryNotBlocks { start: odd.start.0, bytes: odd.bytes }),
        None => Ok(()),
    }
}

fn check_nodes(memory: &MemoryMap) -> Result<(), ConfigError> {
    let mut nodes = memory.ram().chain(memory.hotplug()).map(|range| range.node);
    let first = memory.rma().node;
    if nodes.all(|node| node == first) {
        return Ok(());
    }
    match no_blocks(memory) {
        Some(&MemoryRange { node, start, bytes, .. }) => {
            Err(ConfigError::NodeNotBlocks { node, start: start.0, bytes })
        }
        None => Ok(()),
    }
}

/// The first memory that is not made of whole memory blocks.
fn no_blocks(memory: &MemoryMap) -> Option<&MemoryRange> {
    let is_odd = |number: u64| number % LMB_BYTES != 0;
    let mut ranges = memory.ram().chain(memory.hotplug());
    ranges.find(|range| is_odd(range.start.0) || is_odd(range.bytes))
}

/// The NUMA nodes that memory or CPUs are in.
fn nodes_of(memory: &MemoryMap, topology: &CpuTopology) -> Vec<NumaNode> {
    let memory = memory.ram().chain(memory.hotplug()).map(|range| range.node);
    let mut nodes: Vec<NumaNode> = memory.chain(topology.nodes()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

#[cfg(test)]
pub(crate) mod tests;
