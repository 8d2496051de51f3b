//! What the command line says of a machine: only what was written, to be laid over the rest.

use arch_ppc64::config::PseriesOptions;
use arch_ppc64::cpu::CpuModel;

use super::options::{List, OptionError, Options, Switch};
use super::{CpusConfig, MemoryConfig, RangeConfig, Size};

/// The argument of `--cpus`: `boot=N,max=M`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpusFlag {
    boot: Option<u32>,
    max: Option<u32>,
}

impl CpusFlag {
    /// Takes the argument apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["boot", "max"])?;
        Ok(Self { boot: options.get("boot")?, max: options.get("max")? })
    }

    /// Lays what was written over `config`.
    pub fn apply(self, config: &mut CpusConfig) {
        config.boot_vcpus = self.boot.unwrap_or(config.boot_vcpus);
        config.max_vcpus = self.max.or(config.max_vcpus);
    }
}

/// The argument of `--memory`: `size=S,hotplug_size=H`, or `ranges=[S@A,S@A/N],hotplug_size=H`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryFlag {
    size: Option<Size>,
    hotplug_size: Option<Size>,
    ranges: Option<List<RangeConfig>>,
}

impl MemoryFlag {
    /// Takes the argument apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["size", "hotplug_size", "ranges"])?;
        let size = options.get("size")?;
        let ranges = options.get("ranges")?;
        if size.is_some() && ranges.is_some() {
            return Err(OptionError::Both("size", "ranges"));
        }
        Ok(Self { size, hotplug_size: options.get("hotplug_size")?, ranges })
    }

    /// Lays what was written over `config`.
    pub fn apply(self, config: &mut MemoryConfig) {
        if let Some(size) = self.size {
            config.size = size;
            config.ranges.clear();
        }
        if let Some(List(ranges)) = self.ranges {
            config.ranges = ranges;
        }
        config.hotplug_size = self.hotplug_size.unwrap_or(config.hotplug_size);
    }
}

/// The argument of `--machine`: `x-vof=on|off,cpu=MODEL`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineFlag {
    x_vof: Option<Switch>,
    cpu: Option<CpuModel>,
}

impl MachineFlag {
    /// Takes the argument apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["x-vof", "cpu"])?;
        Ok(Self { x_vof: options.get("x-vof")?, cpu: options.get("cpu")? })
    }

    /// Lays what was written over `config`.
    pub fn apply(self, config: &mut PseriesOptions) {
        config.x_vof = self.x_vof.map(|Switch(on)| on).or(config.x_vof);
        config.cpu = self.cpu.unwrap_or(config.cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_changes() {
        let mut cpus = CpusConfig { boot_vcpus: 1, max_vcpus: Some(8) };
        CpusFlag::parse("boot=2").unwrap().apply(&mut cpus);
        assert_eq!(cpus, CpusConfig { boot_vcpus: 2, max_vcpus: Some(8) });
        let mut memory = MemoryConfig::default();
        MemoryFlag::parse("hotplug_size=1G").unwrap().apply(&mut memory);
        assert_eq!(memory, MemoryConfig { hotplug_size: Size(1 << 30), ..Default::default() });
        // One or the other says where RAM is.
        MemoryFlag::parse("ranges=[512M@0,1G@2G/1],hotplug_size=0").unwrap().apply(&mut memory);
        let range = |start, size, numa_node| RangeConfig {
            start: Size(start),
            size: Size(size),
            numa_node,
        };
        let ranges = [range(0, 512 << 20, 0), range(2 << 30, 1 << 30, 1)];
        assert_eq!((memory.hotplug_size, memory.ranges.as_slice()), (Size(0), &ranges[..]));
        MemoryFlag::parse("hotplug_size=1G").unwrap().apply(&mut memory);
        assert_eq!(memory.ranges, ranges);
        MemoryFlag::parse("size=2G").unwrap().apply(&mut memory);
        assert_eq!((memory.size, memory.ranges.as_slice()), (Size(2 << 30), &[][..]));
        MemoryFlag::parse("ranges=1G@0").unwrap().apply(&mut memory);
        assert_eq!(memory.ranges, [range(0, 1 << 30, 0)]);
        let mut machine = PseriesOptions::default().with_x_vof(true).with_cpu(CpuModel::Power10);
        MachineFlag::parse("x-vof=off").unwrap().apply(&mut machine);
        assert_eq!(
            machine,
            PseriesOptions::default().with_x_vof(false).with_cpu(CpuModel::Power10)
        );
        MachineFlag::parse("cpu=power9").unwrap().apply(&mut machine);
        assert_eq!(machine, PseriesOptions::default().with_x_vof(false).with_cpu(CpuModel::Power9));
    }

    #[test]
    fn wrong_values_are_named() {
        let error = MachineFlag::parse("cpu=POWER7").unwrap_err().to_string();
        assert!(error.contains("cpu=POWER7") && error.contains("POWER10"), "{error}");
        let error = MachineFlag::parse("x-vof=maybe").unwrap_err().to_string();
        assert!(error.contains("on and off"), "{error}");
        let error = MemoryFlag::parse("size=1G,ranges=[1G@0]").unwrap_err().to_string();
        assert!(error.contains("size") && error.contains("ranges"), "{error}");
        for wrong in ["ranges=[1G@0", "ranges=[]", "ranges=[1G]", "ranges=[1G@0,,1G@2G]"] {
            let error = MemoryFlag::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("ranges="), "{error}");
        }
        let error = CpusFlag::parse("boot=many").unwrap_err().to_string();
        assert!(error.starts_with("boot=many"), "{error}");
    }
}
