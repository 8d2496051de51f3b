//! The machine that the user wants: a configuration file in JSON, or the one of a saved machine.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory, PseriesOptions};
use serde::{Deserialize, Serialize};

use crate::Result;

/// A virtual machine. The keys are Cloud Hypervisor's, and `machine` is new.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VmConfig {
    pub(crate) cpus: CpusConfig,
    pub(crate) memory: MemoryConfig,
    pub(crate) payload: PayloadConfig,
    pub(crate) machine: PseriesOptions,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CpusConfig {
    boot_vcpus: u32,
    max_vcpus: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryConfig {
    size: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PayloadConfig {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: Option<PathBuf>,
    pub(crate) cmdline: String,
}

impl MachineConfig for VmConfig {
    fn memory(&self) -> Memory {
        Memory::of_size(self.memory.size)
    }
    fn cpus(&self) -> Cpus {
        Cpus { boot: self.cpus.boot_vcpus, max: self.cpus.max_vcpus, model: self.machine.cpu }
    }
    fn boot(&self) -> Boot<'_> {
        Boot { cmdline: &self.payload.cmdline }
    }
    fn x_vof(&self) -> bool {
        self.machine.x_vof.unwrap_or(true)
    }
}

impl VmConfig {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        /// No such file is longer.
        const MAX_BYTES: u64 = 1 << 20;
        Ok(serde_json::from_reader(open(path)?.take(MAX_BYTES))?)
    }
}

pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}
