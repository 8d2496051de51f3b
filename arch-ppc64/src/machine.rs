//! One pseries machine: a configuration that was found to be possible.

use std::collections::BTreeSet;

use crate::config::MachineConfig;
use crate::cpu::{Cpu, CpuError};
use crate::hotplug::{MemoryBlock, Resource};
use crate::layout::{
    LMB_BYTES, MAX_CMDLINE_BYTES, MAX_CPUS, MAX_MEMORY_BYTES, MIN_MEMORY_BYTES, RAM_START,
};
use crate::topology::{
    CpuTopology, CpuTopologyError, MemoryMap, MemoryMapError, MemoryRange, NumaDistanceError,
    NumaDistances, NumaNode,
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
    has_room: bool,
    topology: CpuTopology,
    /// In the order of their numbers.
    nodes: Vec<NumaNode>,
    distances: NumaDistances,
    cpu: Cpu,
    cmdline: String,
    x_vof: bool,
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
        let has_room = cpus.boot < cpus.max || memory.hotplug().next().is_some();
        Ok(Self {
            memory,
            boot_cpus: cpus.boot,
            topology: topology.with_distances(&distances, &nodes),
            nodes,
            distances,
            cpu: Cpu::of_model(cpus.model),
            cmdline: cmdline.to_owned(),
            x_vof: config.x_vof(),
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
    /// the CPUs at boot, and no memory but that.
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
            };
            if !fits {
                return Err(ConfigError::NotPluggable { resource });
            }
        }
        if cores.is_empty() {
            return Err(ConfigError::NoCpus);
        }
        Ok(Self { cores: cores.into_iter().collect(), blocks, ..self })
    }

    /// What there is of what can be plugged: cores, and blocks of memory.
    pub fn present(&self) -> impl Iterator<Item = Resource> + '_ {
        let cores = self.cores.iter().copied().map(Resource::Core);
        cores.chain(self.blocks.iter().copied().map(Resource::Memory))
    }

    /// Whether the configuration leaves room for more than there is at boot: whether there is any use
    /// for [`Hotplug`](crate::hotplug::Hotplug).
    pub fn has_room(&self) -> bool {
        self.has_room
    }

    /// The same machine where what can be plugged and unplugged has connectors; or where nothing can
    /// be, as nobody does it.
    pub(crate) fn with_connectors(self, has_connectors: bool) -> Self {
        match has_connectors {
            true => Self { has_connectors, ..self },
            false => {
                let memory = self.memory.without_hotplug();
                Self { memory, blocks: BTreeSet::new(), has_connectors, ..self }
            }
        }
    }

    /// Whether what can be plugged has connectors.
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

/// A configuration that no machine can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such memory.
    #[error(transparent)]
    Memory(MemoryMapError),
    /// Too little memory for any guest.
    #[error("RAM of {bytes} bytes at 0 is too small; the least is {MIN_MEMORY_BYTES} (64 MiB)")]
    MemoryTooSmall {
        /// The size of the first range of RAM.
        bytes: u64,
    },
    /// Too much memory, what may be plugged included.
    #[error("memory that ends at {end} is too large; the most is {MAX_MEMORY_BYTES} (16 TiB)")]
    MemoryTooLarge {
        /// Where memory ends, the hot-pluggable included.
        end: u64,
    },
    /// Memory that may be plugged comes in whole memory blocks, beside whole memory blocks.
    #[error(
        "with hot-pluggable memory, addresses and sizes of all memory must be multiples of \
         {LMB_BYTES} (256 MiB); {bytes} bytes at {start:#x} are not"
    )]
    MemoryNotBlocks {
        /// Where the range begins.
        start: u64,
        /// Its size.
        bytes: u64,
    },
    /// The machine has no place for it.
    #[error("{resource} is nothing that can be plugged into this machine")]
    NotPluggable {
        /// What it is.
        resource: Resource,
    },
    /// A machine without CPUs.
    #[error("there must be at least 1 virtual CPU at boot, not 0")]
    NoCpus,
    /// There may be fewer CPUs than there are.
    #[error("at most {max} virtual CPUs are fewer than the {boot} at boot")]
    FewerThanBoot {
        /// CPUs at boot.
        boot: u32,
        /// The most there may be.
        max: u32,
    },
    /// More CPUs than a guest kernel can have.
    #[error("{max} virtual CPUs are too many; the most is {MAX_CPUS}")]
    TooManyCpus {
        /// What was asked for.
        max: u32,
    },
    /// The CPUs cannot be arranged in cores so.
    #[error(transparent)]
    Topology(#[from] CpuTopologyError),
    /// The topology is one of other CPUs.
    #[error("there may be {max} virtual CPUs, but the topology is of {topology}")]
    OtherCpus {
        /// How many the topology has.
        topology: u32,
        /// The most there may be.
        max: u32,
    },
    /// Two NUMA nodes cannot be so far from each other.
    #[error(transparent)]
    Distance(#[from] NumaDistanceError),
    /// A distance is one from a NUMA node with neither memory nor CPUs, which is no node to a
    /// guest.
    #[error("there is a distance from NUMA {node}, which has neither memory nor CPUs")]
    NoSuchNode {
        /// The node.
        node: NumaNode,
    },
    /// Memory of several NUMA nodes comes in whole memory blocks: a guest knows the node of a
    /// block.
    #[error(
        "memory of several NUMA nodes needs addresses and sizes that are multiples of {LMB_BYTES} \
         (256 MiB); {bytes} bytes at {start:#x}, of {node}, are not"
    )]
    NodeNotBlocks {
        /// The node.
        node: NumaNode,
        /// Where the range begins.
        start: u64,
        /// Its size.
        bytes: u64,
    },
    /// The command line does not fit into the kernel's buffer.
    #[error("the command line has {bytes} bytes; the most is {MAX_CMDLINE_BYTES}")]
    CmdlineTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The command line would end early: it is a C string for the guest.
    #[error("the command line has a NUL at byte {at}")]
    CmdlineNul {
        /// Where.
        at: usize,
    },
}

impl From<MemoryMapError> for ConfigError {
    fn from(error: MemoryMapError) -> Self {
        match error {
            MemoryMapError::Empty { start: RAM_START } => Self::MemoryTooSmall { bytes: 0 },
            error => Self::Memory(error),
        }
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
pub(crate) mod tests {
    use super::*;
    use crate::config::{Boot, Cpus, Memory};
    use crate::cpu::CpuModel;
    use crate::topology::MemoryRange;
    use vm_memory::GuestAddress;

    /// A configuration for tests: 512 MiB and one CPU unless a test says otherwise.
    #[derive(Debug)]
    pub(crate) struct TestConfig {
        pub(crate) memory: Memory,
        /// Another map than that of `memory`.
        pub(crate) ranges: Vec<MemoryRange>,
        pub(crate) cpus: Cpus,
        /// Another topology than one thread a core.
        pub(crate) topology: Option<CpuTopology>,
        /// From a node, to another.
        pub(crate) distances: Vec<(u8, u8, u8)>,
        pub(crate) cmdline: String,
        pub(crate) x_vof: bool,
    }

    impl Default for TestConfig {
        fn default() -> Self {
            Self {
                memory: Memory::of_size(512 << 20),
                ranges: vec![],
                cpus: Cpus::new(1, CpuModel::Power9),
                topology: None,
                distances: vec![],
                cmdline: "console=hvc0".to_owned(),
                x_vof: true,
            }
        }
    }

    impl MachineConfig for TestConfig {
        fn memory(&self) -> Memory {
            self.memory
        }
        fn memory_map(&self) -> Result<MemoryMap, MemoryMapError> {
            match &*self.ranges {
                [] => self.memory.map(),
                ranges => MemoryMap::new(ranges.iter().copied()),
            }
        }
        fn cpus(&self) -> Cpus {
            self.cpus
        }
        fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
            Ok(self.topology.clone().unwrap_or(CpuTopology::new(self.cpus.max)))
        }
        fn numa_distances(&self) -> Result<NumaDistances, NumaDistanceError> {
            let entry = |&(from, to, distance)| (NumaNode(from), NumaNode(to), distance);
            NumaDistances::new(self.distances.iter().map(entry))
        }
        fn boot(&self) -> Boot<'_> {
            Boot::new(&self.cmdline)
        }
        fn x_vof(&self) -> bool {
            self.x_vof
        }
    }

    fn error(config: &TestConfig) -> ConfigError {
        Machine::new(config).unwrap_err()
    }

    #[test]
    fn memory_must_be_possible() {
        let with = |size_bytes, hotplug_bytes| TestConfig {
            memory: Memory::of_size(size_bytes).with_hotplug(hotplug_bytes),
            ..TestConfig::default()
        };
        assert_eq!(error(&with(0, 0)), ConfigError::MemoryTooSmall { bytes: 0 });
        assert_eq!(error(&with(32 << 20, 0)), ConfigError::MemoryTooSmall { bytes: 32 << 20 });
        let start = RAM_START;
        assert_eq!(
            error(&with((512 << 20) + 4096, 0)),
            ConfigError::Memory(MemoryMapError::NotPages { start, bytes: (512 << 20) + 4096 })
        );
        assert_eq!(
            error(&with(16 << 40, 256 << 20)),
            ConfigError::MemoryTooLarge { end: (16 << 40) + (256 << 20) }
        );
        let most = u64::MAX - 0xffff;
        assert_eq!(
            error(&with(256 << 20, most)),
            ConfigError::Memory(MemoryMapError::Wraps {
                start: GuestAddress(256 << 20),
                bytes: most
            })
        );
        assert_eq!(
            error(&with(256 << 20, 100 << 20)),
            ConfigError::MemoryNotBlocks { start: 256 << 20, bytes: 100 << 20 }
        );
        assert_eq!(
            error(&with(300 << 20, 256 << 20)),
            ConfigError::MemoryNotBlocks { start: 0, bytes: 300 << 20 }
        );
        assert!(Machine::new(&with(256 << 20, 256 << 20)).is_ok());
    }

    #[test]
    fn ram_may_have_holes() {
        let with = |ranges: &[MemoryRange]| TestConfig {
            ranges: ranges.to_vec(),
            ..TestConfig::default()
        };
        let ram = |start, bytes| MemoryRange::ram(GuestAddress(start), bytes);
        let machine = Machine::new(&with(&[ram(0, 64 << 20), ram(1 << 30, 1 << 20)])).unwrap();
        assert_eq!(machine.memory_map().ram_bytes(), 65 << 20);
        // It is the first range that has to be large enough.
        assert_eq!(
            error(&with(&[ram(0, 32 << 20), ram(1 << 30, 1 << 30)])),
            ConfigError::MemoryTooSmall { bytes: 32 << 20 }
        );
        assert_eq!(
            error(&with(&[ram(0, 64 << 20), ram(16 << 40, 1 << 20)])),
            ConfigError::MemoryTooLarge { end: (16 << 40) + (1 << 20) }
        );
        let hotplug = MemoryRange::hotplug(GuestAddress(1 << 30), 1 << 30);
        let odd = ram(0x1800_0000, 256 << 20);
        assert_eq!(
            error(&with(&[ram(0, 256 << 20), odd, hotplug])),
            ConfigError::MemoryNotBlocks { start: 0x1800_0000, bytes: 256 << 20 }
        );
        assert!(Machine::new(&with(&[ram(0, 256 << 20), odd])).is_ok());
    }

    #[test]
    fn cpus_must_be_possible() {
        let with = |boot, max| TestConfig {
            cpus: Cpus::new(boot, CpuModel::Power9).with_max(max),
            ..TestConfig::default()
        };
        assert_eq!(error(&with(0, 1)), ConfigError::NoCpus);
        assert_eq!(error(&with(4, 2)), ConfigError::FewerThanBoot { boot: 4, max: 2 });
        assert_eq!(error(&with(1, 4096)), ConfigError::TooManyCpus { max: 4096 });
        assert_eq!(Machine::new(&with(3, 8)).unwrap().vcpus().len(), 3);
    }

    #[test]
    fn cores_are_whole() {
        let with = |boot, max, topology: CpuTopology| TestConfig {
            cpus: Cpus::new(boot, CpuModel::Power9).with_max(max),
            topology: Some(topology),
            ..TestConfig::default()
        };
        let threads = |cpus| CpuTopology::new(cpus).with_threads(4, 8).unwrap();
        let machine = Machine::new(&with(4, 8, threads(8))).unwrap();
        assert_eq!(machine.max_cpus(), 8);
        assert_eq!(machine.cpu_node(CpuIndex(5)), "PowerPC,POWER9@8");
        assert_eq!(machine.cores().collect::<Vec<_>>(), [CpuIndex(0)]);
        assert_eq!(
            error(&with(2, 8, threads(8))),
            ConfigError::Topology(CpuTopologyError::PartOfCore { cpus: 2, threads: 4 })
        );
        assert_eq!(error(&with(4, 8, threads(4))), ConfigError::OtherCpus { topology: 4, max: 8 });
    }

    /// Nodes of memory, of CPUs, of both, and of memory that is not there yet.
    #[test]
    fn a_node_has_memory_or_cpus() {
        let on = |range: MemoryRange, node| range.on_node(NumaNode(node));
        let memory = |start: u64| MemoryRange::ram(GuestAddress(start * LMB_BYTES), LMB_BYTES);
        let hotplug = MemoryRange::hotplug(GuestAddress(8 * LMB_BYTES), LMB_BYTES);
        let with = |distances: &[(u8, u8, u8)]| TestConfig {
            ranges: vec![on(memory(0), 2), on(memory(1), 4), on(hotplug, 255)],
            cpus: Cpus::new(1, CpuModel::Power9).with_max(2),
            topology: Some(CpuTopology::new(2).with_nodes([1, 2].map(NumaNode))),
            distances: distances.to_vec(),
            ..TestConfig::default()
        };
        let machine = Machine::new(&with(&[(1, 2, 30), (255, 4, 254)])).unwrap();
        assert_eq!(machine.nodes(), [1, 2, 4, 255].map(NumaNode));
        assert_eq!(machine.node_count(), 256);
        assert_eq!(machine.numa_distances().between(NumaNode(4), NumaNode(255)), 254);
        let no_node = error(&with(&[(1, 2, 30), (4, 3, 20)]));
        assert_eq!(no_node, ConfigError::NoSuchNode { node: NumaNode(3) });
        assert_eq!(
            no_node.to_string(),
            "there is a distance from NUMA node 3, which has neither memory nor CPUs"
        );
        let asymmetric = error(&with(&[(1, 2, 30), (2, 1, 31)]));
        assert_eq!(
            asymmetric.to_string(),
            "NUMA node 2 cannot be 31 from node 1, which is 30 from it elsewhere: a distance is \
             the same both ways"
        );
    }

    #[test]
    fn memory_of_nodes_is_made_of_blocks() {
        let odd = MemoryRange::ram(GuestAddress(LMB_BYTES), 128 << 20);
        let with = |node| TestConfig {
            ranges: vec![MemoryRange::ram(RAM_START, LMB_BYTES), odd.on_node(NumaNode(node))],
            ..TestConfig::default()
        };
        assert!(Machine::new(&with(0)).is_ok());
        assert_eq!(
            error(&with(1)).to_string(),
            "memory of several NUMA nodes needs addresses and sizes that are multiples of 268435456 \
             (256 MiB); 134217728 bytes at 0x10000000, of node 1, are not"
        );
    }

    #[test]
    fn cmdline_must_fit_the_kernels_buffer() {
        let with = |cmdline: String| TestConfig { cmdline, ..TestConfig::default() };
        assert!(Machine::new(&with("x".repeat(2047))).is_ok());
        assert_eq!(error(&with("x".repeat(2048))), ConfigError::CmdlineTooLong { bytes: 2048 });
        assert_eq!(error(&with("a\0b".to_owned())), ConfigError::CmdlineNul { at: 1 });
    }
}
