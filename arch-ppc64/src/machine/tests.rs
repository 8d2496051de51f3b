//! What can be a machine, and what cannot.

use super::*;
use crate::config::{Boot, Cpus, Memory};
use crate::cpu::CpuModel;
use crate::layout::RAM_START;
use crate::topology::{MemoryMapError, NumaDistanceError};
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
    pub(crate) mmu: AddressTranslation,
    pub(crate) interrupts: Interrupts,
    pub(crate) has_slots: bool,
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
            mmu: AddressTranslation::Auto,
            interrupts: Interrupts::Auto,
            has_slots: false,
        }
    }
}

impl MachineConfig for TestConfig {
    fn has_slots(&self) -> bool {
        self.has_slots
    }
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
    fn mmu(&self) -> AddressTranslation {
        self.mmu
    }
    fn interrupts(&self) -> Interrupts {
        self.interrupts
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
        ConfigError::Memory(MemoryMapError::Wraps { start: GuestAddress(256 << 20), bytes: most })
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
    let with =
        |ranges: &[MemoryRange]| TestConfig { ranges: ranges.to_vec(), ..TestConfig::default() };
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

/// Whoever writes a configuration reads which value cannot be, and what can.
#[test]
fn errors_say_what_is_possible() {
    let cpus = |boot, max| TestConfig {
        cpus: Cpus::new(boot, CpuModel::Power9).with_max(max),
        ..TestConfig::default()
    };
    let memory = |size_bytes, hotplug_bytes| TestConfig {
        memory: Memory::of_size(size_bytes).with_hotplug(hotplug_bytes),
        ..TestConfig::default()
    };
    let threads = TestConfig {
        topology: Some(CpuTopology::new(6).with_threads(2, 2).unwrap()),
        ..cpus(3, 6)
    };
    for (config, message) in [
        (cpus(0, 1), "there must be at least 1 virtual CPU at boot, not 0"),
        (cpus(4, 2), "at most 2 virtual CPUs are fewer than the 4 at boot"),
        (cpus(1, 2049), "2049 virtual CPUs are too many; the most is 2048"),
        (threads, "3 CPUs are no whole number of cores with 2 threads"),
        (
            memory(256 << 20, 100 << 20),
            "with hot-pluggable memory, addresses and sizes of all memory must be multiples of \
             268435456 (256 MiB); 104857600 bytes at 0x10000000 are not",
        ),
        (
            memory(17 << 40, 0),
            "memory that ends at 18691697672192 is too large; the most is 17592186044416 (16 TiB)",
        ),
    ] {
        assert_eq!(error(&config).to_string(), message);
    }
    let threads = |cpus: u32, threads| CpuTopology::new(cpus).with_threads(threads, 8);
    for (error, message) in [
        (threads(8, 3), "a core has 1, 2, 4 or 8 threads, not 3"),
        (threads(16, 16), "a core has 1, 2, 4 or 8 threads, not 16"),
        (threads(6, 4), "6 CPUs are no whole number of cores with 4 threads"),
    ] {
        assert_eq!(error.unwrap_err().to_string(), message);
    }
}

/// What the processor does not have is refused, and what it has is chosen.
#[test]
fn power8_has_neither_radix_nor_xive() {
    let with = |model, mmu, interrupts| TestConfig {
        cpus: Cpus::new(1, model),
        mmu,
        interrupts,
        ..TestConfig::default()
    };
    let power8 = |mmu, interrupts| with(CpuModel::Power8, mmu, interrupts);
    let no_radix = error(&power8(AddressTranslation::Radix, Interrupts::Auto));
    assert_eq!(no_radix, ConfigError::NoRadix { model: CpuModel::Power8 });
    assert!(no_radix.to_string().contains("mmu=hash"), "{no_radix}");
    let no_xive = error(&power8(AddressTranslation::Auto, Interrupts::Xive));
    assert_eq!(no_xive, ConfigError::NoXive { model: CpuModel::Power8 });
    assert!(no_xive.to_string().contains("interrupts=xics"), "{no_xive}");
    let wanted = |config: &TestConfig| {
        let machine = Machine::new(config).unwrap();
        (machine.wanted_mmu(), machine.wanted_interrupts(), machine.mmu())
    };
    let hash = (AddressTranslation::Hash, Interrupts::Xics, Support::Only(Mmu::Hash));
    for mmu in [AddressTranslation::Auto, AddressTranslation::Hash] {
        assert_eq!(wanted(&power8(mmu, Interrupts::Auto)), hash);
    }
    let auto = (AddressTranslation::Auto, Interrupts::Auto);
    let radix = (auto.0, auto.1, Support::Only(Mmu::Radix));
    assert_eq!(wanted(&with(CpuModel::Power9, auto.0, auto.1)), radix);
}
