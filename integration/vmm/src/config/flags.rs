//! What the command line says of a machine: only what was written, to be laid over the rest.

use arch_ppc64::config::{AddressTranslation, Interrupts, PseriesOptions};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::layout::MAX_CPUS;

use super::options::{OptionError, Options, Switch};
use super::{CpusConfig, MemoryConfig, Size, TopologyConfig};

/// The argument of `--cpus`: `boot=N,max=M,topology=T:C:D:P`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpusFlag {
    boot: Option<u32>,
    max: Option<u32>,
    topology: Option<TopologyConfig>,
}

impl CpusFlag {
    /// Takes the argument apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["boot", "max", "topology"])?;
        let number = |key| options.number(key, format_args!("a number from 1 to {MAX_CPUS}"));
        Ok(Self { boot: number("boot")?, max: number("max")?, topology: options.get("topology")? })
    }

    /// Lays what was written over `config`.
    pub fn apply(self, config: &mut CpusConfig) {
        config.boot_vcpus = self.boot.unwrap_or(config.boot_vcpus);
        config.max_vcpus = self.max.or(config.max_vcpus);
        config.topology = self.topology.or(config.topology);
    }
}

/// The argument of `--memory`: `size=S,hotplug_size=H`, and how it is had from the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryFlag {
    size: Option<Size>,
    hotplug_size: Option<Size>,
    shared: Option<Switch>,
    hugepages: Option<Switch>,
    hugepage_size: Option<Size>,
    prefault: Option<Switch>,
}

impl MemoryFlag {
    /// Takes the argument apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let keys = ["size", "hotplug_size", "shared", "hugepages", "hugepage_size", "prefault"];
        let options = Options::parse(text, &keys)?;
        Ok(Self {
            size: options.get("size")?,
            hotplug_size: options.get("hotplug_size")?,
            shared: options.get("shared")?,
            hugepages: options.get("hugepages")?,
            hugepage_size: options.get("hugepage_size")?,
            prefault: options.get("prefault")?,
        })
    }

    /// Lays what was written over `config`. A size is in place of zones.
    pub fn apply(self, config: &mut MemoryConfig) {
        if let Some(size) = self.size {
            config.size = size;
            if size != Size(0) {
                config.zones.clear();
            }
        }
        let over = |flag: Option<Switch>, value: &mut Option<bool>| {
            *value = flag.map(|Switch(on)| on).or(*value);
        };
        config.hotplug_size = self.hotplug_size.unwrap_or(config.hotplug_size);
        over(self.shared, &mut config.shared);
        over(self.hugepages, &mut config.hugepages);
        config.hugepage_size = self.hugepage_size.or(config.hugepage_size);
        over(self.prefault, &mut config.prefault);
    }
}

/// The argument of `--machine`: `x-vof=on|off,cpu=MODEL,interrupts=auto|xics|xive,
/// mmu=auto|radix|hash`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineFlag {
    x_vof: Option<Switch>,
    cpu: Option<CpuModel>,
    interrupts: Option<Interrupts>,
    mmu: Option<AddressTranslation>,
}

impl MachineFlag {
    /// Takes the argument apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["x-vof", "cpu", "interrupts", "mmu"])?;
        Ok(Self {
            x_vof: options.get("x-vof")?,
            cpu: options.get("cpu")?,
            interrupts: options.get("interrupts")?,
            mmu: options.get("mmu")?,
        })
    }

    /// Lays what was written over `config`.
    pub fn apply(self, config: &mut PseriesOptions) {
        config.x_vof = self.x_vof.map(|Switch(on)| on).or(config.x_vof);
        config.cpu = self.cpu.unwrap_or(config.cpu);
        config.interrupts = self.interrupts.unwrap_or(config.interrupts);
        config.mmu = self.mmu.unwrap_or(config.mmu);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ZoneConfig;
    use super::*;

    #[test]
    fn only_what_is_written_changes() {
        let mut cpus = CpusConfig { max_vcpus: Some(8), ..Default::default() };
        CpusFlag::parse("boot=2").unwrap().apply(&mut cpus);
        let mut expected = CpusConfig { boot_vcpus: 2, max_vcpus: Some(8), topology: None };
        assert_eq!(cpus, expected);
        CpusFlag::parse("topology=2:4:1:1").unwrap().apply(&mut cpus);
        CpusFlag::parse("boot=4").unwrap().apply(&mut cpus);
        expected.boot_vcpus = 4;
        expected.topology = "2:4:1:1".parse().ok();
        assert_eq!(cpus, expected);
        let mut memory = MemoryConfig::default();
        MemoryFlag::parse("hotplug_size=1G").unwrap().apply(&mut memory);
        assert_eq!(memory, MemoryConfig { hotplug_size: Size(1 << 30), ..Default::default() });
        MemoryFlag::parse("shared=off,hugepages=on,prefault=on").unwrap().apply(&mut memory);
        MemoryFlag::parse("hugepages=off,hugepage_size=2M").unwrap().apply(&mut memory);
        let said = (memory.shared, memory.hugepages, memory.prefault, memory.hugepage_size);
        assert_eq!(said, (Some(false), Some(false), Some(true), Some(Size(2 << 20))));
        // One or the other says where RAM is.
        memory.zones.push(ZoneConfig::parse("id=a,size=1G").unwrap());
        MemoryFlag::parse("size=0").unwrap().apply(&mut memory);
        assert_eq!((memory.size, memory.zones.len()), (Size(0), 1));
        MemoryFlag::parse("size=2G").unwrap().apply(&mut memory);
        assert_eq!((memory.size, memory.zones.len()), (Size(2 << 30), 0));
        let mut machine = PseriesOptions::default().with_x_vof(true).with_cpu(CpuModel::Power10);
        MachineFlag::parse("x-vof=off").unwrap().apply(&mut machine);
        assert_eq!(
            machine,
            PseriesOptions::default().with_x_vof(false).with_cpu(CpuModel::Power10)
        );
        MachineFlag::parse("cpu=power9").unwrap().apply(&mut machine);
        let expected = PseriesOptions::default().with_x_vof(false).with_cpu(CpuModel::Power9);
        assert_eq!(machine, expected);
        MachineFlag::parse("interrupts=xive").unwrap().apply(&mut machine);
        MachineFlag::parse("cpu=power9").unwrap().apply(&mut machine);
        assert_eq!(machine, expected.with_interrupts(Interrupts::Xive));
        MachineFlag::parse("interrupts=auto").unwrap().apply(&mut machine);
        assert_eq!(machine, expected);
        MachineFlag::parse("mmu=hash").unwrap().apply(&mut machine);
        MachineFlag::parse("cpu=power9").unwrap().apply(&mut machine);
        assert_eq!(machine, expected.with_mmu(AddressTranslation::Hash));
        MachineFlag::parse("mmu=auto").unwrap().apply(&mut machine);
        assert_eq!(machine, expected);
    }

    #[test]
    fn wrong_values_are_named() {
        let error = MachineFlag::parse("cpu=POWER7").unwrap_err().to_string();
        assert!(error.contains("cpu=POWER7") && error.contains("POWER10"), "{error}");
        let error = MachineFlag::parse("interrupts=mpic").unwrap_err().to_string();
        assert!(error.contains("interrupts=mpic") && error.contains("xive"), "{error}");
        let error = MachineFlag::parse("mmu=none").unwrap_err().to_string();
        assert!(error.contains("mmu=none") && error.contains("radix and hash"), "{error}");
        let error = MachineFlag::parse("x-vof=maybe").unwrap_err().to_string();
        assert!(error.contains("on and off"), "{error}");
        let error = MemoryFlag::parse("size=1G,prefault=soon").unwrap_err().to_string();
        assert!(error.contains("prefault=soon") && error.contains("on and off"), "{error}");
        let error = MemoryFlag::parse("ranges=[1G@0]").unwrap_err().to_string();
        assert!(error.contains("\"ranges\"") && error.contains("hugepage_size"), "{error}");
        let error = CpusFlag::parse("topology=4:2").unwrap_err().to_string();
        assert!(error.contains("threads:cores:dies:packages"), "{error}");
        let error = CpusFlag::parse("boot=many").unwrap_err().to_string();
        assert_eq!(error, "boot=many: a number from 1 to 2048 is needed");
    }
}
