//! The processors of the user's machine.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file;

/// Virtual CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct CpusConfig {
    /// How many there are at boot, at least 1: whole cores.
    pub boot_vcpus: u32,
    /// How many there may be, those included that can be plugged while the machine runs, at most 2048;
    /// as many as at boot when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_vcpus: Option<u32>,
    /// How they are threads of cores; each is a core of its own when left out.
    #[serde(deserialize_with = "file::some_object", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TopologyConfig")]
    pub topology: Option<TopologyConfig>,
}

/// How CPUs are threads of cores. The product of all four is how many CPUs there may be. On the command
/// line it is `threads:cores:dies:packages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct TopologyConfig {
    /// Threads of a core: 1, 2, 4 or 8.
    pub threads_per_core: u16,
    /// Cores of a die.
    pub cores_per_die: u16,
    /// Dies of a package. Guests of POWER know neither dies nor packages: they count cores.
    pub dies_per_package: u16,
    /// Packages.
    pub packages: u16,
}

impl Default for CpusConfig {
    fn default() -> Self {
        Self { boot_vcpus: 1, max_vcpus: None, topology: None }
    }
}

impl CpusConfig {
    /// How many CPUs there may be.
    pub fn max(&self) -> u32 {
        self.max_vcpus.unwrap_or(self.boot_vcpus)
    }

    /// How many threads a core has.
    pub fn threads_per_core(&self) -> u32 {
        self.topology.map_or(1, |topology| topology.threads_per_core.into())
    }
}

impl TopologyConfig {
    /// How many CPUs those are.
    pub fn cpus(&self) -> u64 {
        let parts =
            [self.threads_per_core, self.cores_per_die, self.dies_per_package, self.packages];
        // Four factors of 16 bits have no more than 64.
        parts.into_iter().map(u64::from).product()
    }
}

/// As on the command line.
impl fmt::Display for TopologyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads_per_core, cores_per_die, dies_per_package, packages } = self;
        write!(f, "{threads_per_core}:{cores_per_die}:{dies_per_package}:{packages}")
    }
}

impl FromStr for TopologyConfig {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a topology is threads:cores:dies:packages, four numbers from 1 to 65535";
        // `parse` would take a sign.
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().ok().filter(|number| *number != 0).ok_or(wrong),
            false => Err(wrong),
        };
        let numbers: Vec<u16> = text.split(':').map(number).collect::<Result<_, _>>()?;
        let [threads_per_core, cores_per_die, dies_per_package, packages] = numbers[..] else {
            return Err(wrong);
        };
        Ok(Self { threads_per_core, cores_per_die, dies_per_package, packages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topologies_are_four_numbers() {
        let topology: TopologyConfig = "4:2:1:3".parse().unwrap();
        assert_eq!((topology.cpus(), topology.to_string().as_str()), (24, "4:2:1:3"));
        let most: TopologyConfig = "65535:65535:65535:65535".parse().unwrap();
        assert_eq!(most.cpus(), 65535_u64.pow(4));
        for text in ["", "4", "4:2:1", "4:2:1:3:1", "0:1:1:1", "4:2:1:", "+1:1:1:1", "65536:1:1:1"]
        {
            let error = text.parse::<TopologyConfig>().unwrap_err();
            assert!(error.contains("threads:cores:dies:packages"), "{text}");
        }
    }

    #[test]
    fn what_is_left_out_is_one() {
        let cpus = CpusConfig { boot_vcpus: 3, ..Default::default() };
        assert_eq!((cpus.max(), cpus.threads_per_core()), (3, 1));
    }
}
