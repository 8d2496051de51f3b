//! A saved machine: a folder with its state, as JSON, and its RAM.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use arch_ppc64::platform::{PlatformState, SaveState, StateValue};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::{VmConfig, open};
use crate::cpus::SavedCpu;

/// All but RAM.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    /// Who ran it: nobody else can go on with its CPUs.
    pub(crate) hypervisor: String,
    pub(crate) config: VmConfig,
    pub(crate) boot_count: u32,
    /// What is set for all CPUs at once.
    pub(crate) vm: Versioned,
    pub(crate) cpus: Vec<SavedCpu>,
    pub(crate) platform: PlatformState,
}

/// A state that is no device's of the platform.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versioned {
    version: u32,
    state: StateValue,
}

impl Versioned {
    pub(crate) fn save(of: &dyn SaveState) -> Result<Self> {
        Ok(Self { version: of.version(), state: of.save()? })
    }

    pub(crate) fn restore(&self, of: &dyn SaveState) -> Result<()> {
        Ok(of.restore(self.version, &self.state)?)
    }
}

/// Where a machine is saved.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes the folder. Its state comes last and at once: without it, nothing was saved.
    pub(crate) fn write(
        &self,
        snapshot: &Snapshot,
        memory: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        fs::create_dir_all(&self.0)?;
        let mut file = BufWriter::new(File::create(self.0.join("memory"))?);
        memory(&mut file)?;
        file.flush()?;
        let unfinished = self.0.join("state.json.new");
        fs::write(&unfinished, serde_json::to_vec(snapshot)?)?;
        Ok(fs::rename(unfinished, self.0.join("state.json"))?)
    }

    pub(crate) fn read(&self) -> Result<Snapshot> {
        /// The tree and 2,048 CPUs are less.
        const MAX_BYTES: u64 = 256 << 20;
        Ok(serde_json::from_reader(open(&self.0.join("state.json"))?.take(MAX_BYTES))?)
    }

    pub(crate) fn open_memory(&self) -> Result<File> {
        open(&self.0.join("memory"))
    }
}
