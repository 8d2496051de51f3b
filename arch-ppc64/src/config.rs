//! What a VMM says about the machine it wants.

use std::str::FromStr;

use crate::cas::decision::{InterruptMode, Mmu, Support};
use crate::cpu::CpuModel;
use crate::layout::RAM_START;
use crate::topology::{
    CpuTopology, CpuTopologyError, MemoryMap, MemoryMapError, MemoryRange, NumaDistanceError,
    NumaDistances,
};

/// A VMM's own machine configuration, as far as the pseries machine needs to know it.
///
/// ```
/// use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory, PseriesOptions};
/// use arch_ppc64::Machine;
/// use arch_ppc64::cpu::CpuModel;
///
/// /// What some VMM reads from its configuration file.
/// struct VmConfig {
///     memory_mib: u64,
///     vcpus: u32,
///     cmdline: String,
///     machine: PseriesOptions,
/// }
///
/// impl MachineConfig for VmConfig {
///     fn memory(&self) -> Memory {
///         Memory::of_size(self.memory_mib << 20)
///     }
///     fn cpus(&self) -> Cpus {
///         Cpus::new(self.vcpus, self.machine.cpu)
///     }
///     fn boot(&self) -> Boot<'_> {
///         Boot::new(&self.cmdline)
///     }
///     fn x_vof(&self) -> bool {
///         self.machine.x_vof.unwrap_or(true)
///     }
/// }
///
/// // With serde: `{"x-vof": true, "cpu": "POWER9"}`.
/// let machine = PseriesOptions::default().with_x_vof(true).with_cpu(CpuModel::Power9);
/// let config = VmConfig { memory_mib: 512, vcpus: 2, cmdline: "console=hvc0".into(), machine };
/// let machine = Machine::new(&config)?;
/// assert!(machine.x_vof());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait MachineConfig {
    /// How much memory the machine has: what [`memory_map`](Self::memory_map) is made of, unless
    /// there is another one.
    fn memory(&self) -> Memory;

    /// Where its memory is, for machines whose RAM has holes or several NUMA nodes; by default
    /// all RAM is one range from real address 0, and hot-pluggable memory follows it.
    ///
    /// RAM begins at 0, with a range of [`MIN_MEMORY_BYTES`](crate::layout::MIN_MEMORY_BYTES) at
    /// least. With hot-pluggable memory, all memory is made of whole blocks of
    /// [`LMB_BYTES`](crate::layout::LMB_BYTES).
    ///
    /// # Errors
    /// [`MemoryMapError`] when there is no such map.
    fn memory_map(&self) -> Result<MemoryMap, MemoryMapError> {
        self.memory().map()
    }

    /// Its virtual CPUs.
    fn cpus(&self) -> Cpus;

    /// How its CPUs are threads of cores, and their NUMA nodes, of as many as [`cpus`](Self::cpus)
    /// says there may be; by default each is a core of one thread, in node 0.
    ///
    /// There are whole cores at boot. Not every back end runs more than one thread a core.
    ///
    /// # Errors
    /// [`CpuTopologyError`] when they cannot be arranged so.
    fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
        Ok(CpuTopology::new(self.cpus().max))
    }

    /// How far its NUMA nodes are from each other; by default all alike,
    /// [`NumaDistances::REMOTE`].
    ///
    /// A node is one that memory or CPUs are in, those that can be plugged included. Each may have
    /// memory only, or CPUs only.
    ///
    /// # Errors
    /// [`NumaDistanceError`] when they cannot be so far from each other.
    fn numa_distances(&self) -> Result<NumaDistances, NumaDistanceError> {
        Ok(NumaDistances::default())
    }

    /// How the guest takes interrupts; by default the back end decides.
    fn interrupts(&self) -> Interrupts {
        Interrupts::Auto
    }

    /// How the guest translates addresses; by default the back end decides.
    fn mmu(&self) -> AddressTranslation {
        AddressTranslation::Auto
    }

    /// Whether functions come and go behind the machine's host bridges while it runs; by default
    /// those of its start stay.
    fn has_slots(&self) -> bool {
        false
    }

    /// What the guest is told at its start.
    fn boot(&self) -> Boot<'_>;

    /// Whether the guest finds an Open Firmware client interface (`true`) or is entered with a
    /// flattened tree (`false`).
    fn x_vof(&self) -> bool;
}

/// The memory of a machine whose RAM has no holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// RAM at boot in bytes: one range from real address 0; a multiple of
    /// [`crate::layout::PAGE_BYTES`].
    pub size_bytes: u64,
    /// How many bytes more the tree leaves room for, above the RAM at boot; 0 for none.
    /// [`Hotplug`](crate::hotplug::Hotplug) plugs it in. A multiple of [`crate::layout::LMB_BYTES`], and
    /// then `size_bytes` must be one too.
    pub hotplug_bytes: u64,
}

impl Memory {
    /// Memory of a fixed size in bytes.
    pub const fn of_size(size_bytes: u64) -> Self {
        Self { size_bytes, hotplug_bytes: 0 }
    }

    /// The same with room for so many bytes more.
    #[must_use]
    pub const fn with_hotplug(self, hotplug_bytes: u64) -> Self {
        Self { hotplug_bytes, ..self }
    }

    /// Where it is.
    ///
    /// # Errors
    /// [`MemoryMapError`] when a size is not of whole pages, or is none.
    pub fn map(self) -> Result<MemoryMap, MemoryMapError> {
        let ram = MemoryRange::ram(RAM_START, self.size_bytes);
        let hotplug = MemoryRange::hotplug(ram.end(), self.hotplug_bytes);
        let is_there = self.hotplug_bytes != 0;
        MemoryMap::new([ram].into_iter().chain(is_there.then_some(hotplug)))
    }
}

/// The virtual CPUs of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cpus {
    /// How many there are at boot, at least 1.
    pub boot: u32,
    /// How many the tree leaves room for, at least `boot` and at most [`crate::layout::MAX_CPUS`].
    /// [`Hotplug`](crate::hotplug::Hotplug) plugs the others in.
    pub max: u32,
    /// Which processor they are.
    pub model: CpuModel,
}

impl Cpus {
    /// So many, and no room for more.
    pub const fn new(boot: u32, model: CpuModel) -> Self {
        Self { boot, max: boot, model }
    }

    /// The same with room for `max` of them.
    #[must_use]
    pub const fn with_max(self, max: u32) -> Self {
        Self { max, ..self }
    }
}

/// What the guest is told at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Boot<'a> {
    /// The command line, `bootargs` of `/chosen`: at most [`crate::layout::MAX_CMDLINE_BYTES`]
    /// bytes and no NUL.
    pub cmdline: &'a str,
}

impl<'a> Boot<'a> {
    /// This command line.
    pub const fn new(cmdline: &'a str) -> Self {
        Self { cmdline }
    }
}

/// The part of a configuration file that only the pseries machine has, for a VMM to embed under a
/// key such as `"machine"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PseriesOptions {
    /// Whether the guest finds an Open Firmware client interface in the VMM. When the file does
    /// not say, the VMM decides: on, if it was built with it.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "x-vof", skip_serializing_if = "Option::is_none")
    )]
    pub x_vof: Option<bool>,
    /// The processor that the guest sees.
    pub cpu: CpuModel,
    /// How the guest takes interrupts.
    pub interrupts: Interrupts,
    /// How the guest translates addresses.
    pub mmu: AddressTranslation,
}

/// How a guest is to take external interrupts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Interrupts {
    /// As is best on the back end; the guest may choose where that has several ways.
    #[default]
    Auto,
    /// XICS only: by hypercalls and RTAS calls.
    Xics,
    /// XIVE only, in exploitation mode: the guest works the controller itself.
    Xive,
}

/// What a back end that has both offers where guests are to take interrupts so.
impl From<Interrupts> for Support<InterruptMode> {
    fn from(wanted: Interrupts) -> Self {
        match wanted {
            Interrupts::Auto => Self::Either,
            Interrupts::Xics => Self::Only(InterruptMode::Xics),
            Interrupts::Xive => Self::Only(InterruptMode::Xive),
        }
    }
}

impl FromStr for Interrupts {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "xics" => Ok(Self::Xics),
            "xive" => Ok(Self::Xive),
            _ => Err("the values are auto, xics and xive"),
        }
    }
}

/// How a guest is to translate addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum AddressTranslation {
    /// By radix trees where the back end has them; the guest may choose where it has both ways.
    #[default]
    Auto,
    /// By radix trees only.
    Radix,
    /// By a hashed page table only: for guests of before POWER9, and others that know nothing else.
    Hash,
}

/// What a back end that has both offers where guests are to translate addresses so.
impl From<AddressTranslation> for Support<Mmu> {
    fn from(wanted: AddressTranslation) -> Self {
        match wanted {
            AddressTranslation::Auto => Self::Either,
            AddressTranslation::Radix => Self::Only(Mmu::Radix),
            AddressTranslation::Hash => Self::Only(Mmu::Hash),
        }
    }
}

impl FromStr for AddressTranslation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "radix" => Ok(Self::Radix),
            "hash" => Ok(Self::Hash),
            _ => Err("the values are auto, radix and hash"),
        }
    }
}

impl PseriesOptions {
    /// The same with the client interface, or without it.
    #[must_use]
    pub const fn with_x_vof(self, x_vof: bool) -> Self {
        Self { x_vof: Some(x_vof), ..self }
    }

    /// The same with this processor.
    #[must_use]
    pub const fn with_cpu(self, cpu: CpuModel) -> Self {
        Self { cpu, ..self }
    }

    /// The same with interrupts taken so.
    #[must_use]
    pub const fn with_interrupts(self, interrupts: Interrupts) -> Self {
        Self { interrupts, ..self }
    }

    /// The same with addresses translated so.
    #[must_use]
    pub const fn with_mmu(self, mmu: AddressTranslation) -> Self {
        Self { mmu, ..self }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn options_have_the_keys_that_users_write() {
        let options: PseriesOptions =
            serde_json::from_str(r#"{"x-vof": false, "cpu": "POWER10", "interrupts": "xive"}"#)
                .unwrap();
        let expected = PseriesOptions::default()
            .with_x_vof(false)
            .with_cpu(CpuModel::Power10)
            .with_interrupts(Interrupts::Xive);
        assert_eq!(options, expected);
        let options: PseriesOptions = serde_json::from_str(r#"{"mmu": "hash"}"#).unwrap();
        assert_eq!(options, PseriesOptions::default().with_mmu(AddressTranslation::Hash));
        let defaults: PseriesOptions = serde_json::from_str("{}").unwrap();
        assert_eq!(defaults, PseriesOptions::default());
        assert_eq!((defaults.x_vof, defaults.cpu), (None, CpuModel::Power9));
        assert_eq!(
            (defaults.interrupts, defaults.mmu),
            (Interrupts::Auto, AddressTranslation::Auto)
        );
    }

    /// As a file, so on the command line.
    #[test]
    fn words_are_those_of_files() {
        for word in ["auto", "radix", "hash"] {
            let parsed: AddressTranslation = word.parse().unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), format!("\"{word}\""));
        }
        assert_eq!(
            "Hash".parse::<AddressTranslation>(),
            Err("the values are auto, radix and hash")
        );
    }

    #[test]
    fn unknown_option_is_named() {
        let error = serde_json::from_str::<PseriesOptions>(r#"{"x_vof": true}"#).unwrap_err();
        assert!(error.to_string().contains("`x_vof`"), "{error}");
        let error = serde_json::from_str::<PseriesOptions>(r#"{"cpu": "POWER7"}"#).unwrap_err();
        assert!(error.to_string().contains("POWER9"), "{error}");
    }
}
