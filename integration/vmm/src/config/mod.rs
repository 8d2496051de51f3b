//! What machine the user wants, and where its parts come from.
//!
//! A configuration comes from a JSON [file](VmConfig::from_file) and from the
//! [`flags`] of the command line, which win over the file key by key.

mod absolute;
mod boot;
mod check;
mod cpus;
mod devices;
mod file;
pub mod flags;
mod foreign;
mod landlock;
mod layout;
mod memory;
mod numa;
mod nvram;
pub mod options;
mod restore;
mod size;

use std::path::PathBuf;

use arch_ppc64::config::{
    AddressTranslation, Boot, Cpus, Interrupts, MachineConfig, Memory, PseriesOptions,
};
use arch_ppc64::topology::{
    CpuTopology, CpuTopologyError, MemoryMap, MemoryMapError, NumaDistanceError, NumaDistances,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use arch_ppc64::layout::MAX_CPUS;
pub use boot::BootConfig;
pub use check::DeviceError;
pub use cpus::{CpusConfig, TopologyConfig};
pub use devices::{
    Cid, ConsoleConfig, DeviceId, DiskConfig, FsConfig, HostPath, ImageType, MAX_QUEUES,
    MacAddress, NetBackend, NetConfig, QueueCount, QueueSize, RngConfig, Tag, TapName, VsockConfig,
};
pub use file::{ContentError, FileError, MAX_CONFIG_BYTES};
pub use foreign::{Body, BodyError};
pub use landlock::{LandlockAccess, LandlockRule};
pub use layout::LayoutError;
pub use memory::{Backing, MemoryConfig, ONLY_ZONE, Pages, ZoneConfig};
pub use numa::{DistanceConfig, NumaConfig};
pub use nvram::NvramConfig;
pub use restore::{FolderUrl, NoFolderUrl, RestoreConfig};
pub use size::Size;

/// The command line of a kernel when nobody gives one: the console is the terminal.
pub const DEFAULT_CMDLINE: &str = "console=hvc0";

/// A machine for pseries-vmm. The keys are those of Cloud Hypervisor's VM configuration, as far as
/// they are there; `machine`, `nvram` and `payload.boot` are for what only pseries machines have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct VmConfig {
    /// Virtual CPUs.
    #[serde(deserialize_with = "file::object")]
    pub cpus: CpusConfig,
    /// Memory.
    #[serde(deserialize_with = "file::object")]
    pub memory: MemoryConfig,
    /// NUMA nodes; when left out, all is in node 0.
    #[serde(deserialize_with = "file::objects", skip_serializing_if = "Vec::is_empty")]
    pub numa: Vec<NumaConfig>,
    /// What is started.
    #[serde(deserialize_with = "file::object")]
    pub payload: PayloadConfig,
    /// What only pseries machines have.
    #[serde(deserialize_with = "file::object")]
    pub machine: PseriesOptions,
    /// Disks, in the order in which the guest finds them.
    #[serde(deserialize_with = "file::objects", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskConfig>,
    /// Network interfaces.
    #[serde(deserialize_with = "file::objects", skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<NetConfig>,
    /// Sources of randomness: one, or a list.
    #[serde(
        deserialize_with = "file::one_or_more",
        serialize_with = "file::as_one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "OneOrMore<RngConfig>")]
    pub rng: Vec<RngConfig>,
    /// Sockets between the guest and the host: one device, or a list.
    #[serde(
        deserialize_with = "file::one_or_more",
        serialize_with = "file::as_one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "OneOrMore<VsockConfig>")]
    pub vsock: Vec<VsockConfig>,
    /// Folders of the host.
    #[serde(deserialize_with = "file::objects", skip_serializing_if = "Vec::is_empty")]
    pub fs: Vec<FsConfig>,
    /// Where the machine's non-volatile memory is kept; when left out, it is forgotten at the end.
    #[serde(deserialize_with = "file::some_object", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NvramConfig")]
    pub nvram: Option<NvramConfig>,
    /// The other end of the machine's first console, hvc0; the terminal when left out. Without one
    /// the guest still has the console, and what it writes is dropped.
    #[serde(deserialize_with = "file::object")]
    pub serial: ConsoleConfig,
    /// The other end of a second console, by virtio; there is none when left out.
    #[serde(deserialize_with = "file::object")]
    pub console: ConsoleConfig,
    /// Whether the program is confined to files of this configuration (landlock); when left out,
    /// where the host's kernel can, and there is no `--api-socket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock_enable: Option<bool>,
    /// Files and folders that it may have besides.
    #[serde(deserialize_with = "file::objects", skip_serializing_if = "Vec::is_empty")]
    pub landlock_rules: Vec<LandlockRule>,
}

/// For the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "a shape, not a value")]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

/// What is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct PayloadConfig {
    /// An ELF file: an uncompressed kernel (vmlinux), or another client program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// The kernel's initial RAM disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<PathBuf>,
    /// The kernel command line, at most 2047 bytes; `console=hvc0` when left out. Of a machine that
    /// starts from its devices, the arguments of what is found there: what comes with it when left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// What a machine without a kernel starts from. When left out: what its variable `boot-device`
    /// says, then its disks in their order, then its networks.
    #[serde(deserialize_with = "file::some_object", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BootConfig")]
    pub boot: Option<BootConfig>,
}

/// The JSON Schema of configuration files, as text.
pub fn schema() -> String {
    let schema = schemars::schema_for!(VmConfig);
    // Maps of texts and numbers only.
    serde_json::to_string_pretty(&schema).unwrap_or_default()
}

impl Default for VmConfig {
    fn default() -> Self {
        Self {
            cpus: CpusConfig::default(),
            memory: MemoryConfig::default(),
            numa: Vec::new(),
            payload: PayloadConfig::default(),
            machine: PseriesOptions::default(),
            disks: Vec::new(),
            net: Vec::new(),
            rng: Vec::new(),
            vsock: Vec::new(),
            fs: Vec::new(),
            nvram: None,
            serial: ConsoleConfig::Tty,
            console: ConsoleConfig::Off,
            landlock_enable: None,
            landlock_rules: Vec::new(),
        }
    }
}

/// Whether its parts fit together, [`VmConfig::check_layout`] says first.
impl MachineConfig for VmConfig {
    fn memory(&self) -> Memory {
        self.memory.in_one()
    }

    fn memory_map(&self) -> Result<MemoryMap, MemoryMapError> {
        let zones = self.zones();
        MemoryMap::new(zones.iter().flat_map(|zone| {
            let node = self.node_of_zone(zone).unwrap_or_default();
            zone.ranges(node)
        }))
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(self.cpus.boot_vcpus, self.machine.cpu).with_max(self.cpus.max())
    }

    fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
        let threads = self.cpus.threads_per_core();
        // The numbers of servers have no gaps: hosts can have any number of threads.
        let topology = CpuTopology::new(self.cpus.max()).with_threads(threads, threads)?;
        Ok(topology.with_nodes(self.nodes_of_cores()))
    }

    fn numa_distances(&self) -> Result<NumaDistances, NumaDistanceError> {
        self.distances()
    }

    fn boot(&self) -> Boot<'_> {
        // What is found on a device may take its arguments for something else, such as a menu's entry.
        let is_found = self.payload.kernel.is_none() && self.x_vof();
        let default = if is_found { "" } else { DEFAULT_CMDLINE };
        Boot::new(self.payload.cmdline.as_deref().unwrap_or(default))
    }

    /// Devices come and go in every machine.
    fn has_slots(&self) -> bool {
        true
    }

    fn interrupts(&self) -> Interrupts {
        self.machine.interrupts
    }

    fn mmu(&self) -> AddressTranslation {
        self.machine.mmu
    }

    fn x_vof(&self) -> bool {
        self.machine.x_vof.unwrap_or(cfg!(feature = "vof"))
    }
}
