//! The machine that the user wants: a configuration file in JSON, or the one of a saved machine.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use arch_ppc64::config::{
    AddressTranslation, Boot, Cpus, Interrupts, MachineConfig, Memory, PseriesOptions,
};
use serde::de::DeserializeOwned;
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
    /// An entropy device; there is none without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rng: Option<RngConfig>,
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

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RngConfig {
    /// Where its randomness comes from.
    pub(crate) src: PathBuf,
}

impl MachineConfig for VmConfig {
    fn memory(&self) -> Memory {
        Memory::of_size(self.memory.size)
    }
    fn cpus(&self) -> Cpus {
        Cpus::new(self.cpus.boot_vcpus, self.machine.cpu).with_max(self.cpus.max_vcpus)
    }
    fn boot(&self) -> Boot<'_> {
        Boot::new(&self.payload.cmdline)
    }
    fn interrupts(&self) -> Interrupts {
        self.machine.interrupts
    }
    fn mmu(&self) -> AddressTranslation {
        self.machine.mmu
    }
    fn x_vof(&self) -> bool {
        self.machine.x_vof.unwrap_or(true)
    }
}

impl VmConfig {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        /// No such file is longer.
        const MAX_BYTES: u64 = 1 << 20;
        read_json(path, MAX_BYTES)
    }

    /// The same with paths that lead to the same files from everywhere.
    pub(crate) fn with_absolute_paths(&self) -> Result<Self> {
        let absolute = |path: &PathBuf| {
            fs::canonicalize(path)
                .map_err(|error| format!("cannot find {}: {error}", path.display()))
        };
        let mut config = self.clone();
        config.payload.kernel = absolute(&self.payload.kernel)?;
        config.payload.initramfs = self.payload.initramfs.as_ref().map(absolute).transpose()?;
        Ok(config)
    }
}

/// A file as JSON that has no more than so many bytes.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, max_bytes: u64) -> Result<T> {
    let file = open(path)?;
    if file.metadata()?.len() > max_bytes {
        return Err(format!("{} has more than {max_bytes} bytes", path.display()).into());
    }
    let json = serde_json::from_reader(BufReader::new(file.take(max_bytes)));
    json.map_err(|error| format!("cannot use {}: {error}", path.display()).into())
}

/// Opens a regular file: nothing else can be read without waiting.
pub(crate) fn open(path: &Path) -> Result<File> {
    let open = || {
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is not a regular file")),
        }
    };
    open().map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}
