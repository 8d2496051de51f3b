//! A saved machine: a folder with its state, as JSON, and its RAM.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::PathBuf;

use arch_ppc64::platform::{PlatformState, SaveState, StateValue};
use serde::{Deserialize, Serialize};

use crate::config::{VmConfig, open, read_json};
use crate::cpus::SavedCpu;
use crate::{Result, with_causes};

const STATE: &str = "state.json";
const MEMORY: &str = "memory";

/// All but RAM.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    /// Who ran it: nobody else can go on with its CPUs.
    pub(crate) hypervisor: String,
    pub(crate) config: VmConfig,
    pub(crate) boot_count: u32,
    /// How many pieces of RAM are in the other file.
    pub(crate) memory_pieces: u64,
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

    /// Begins to save a machine, in place of one that may be there, by writing its RAM.
    pub(crate) fn write_memory<T>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<T>,
    ) -> Result<T> {
        self.named(|| {
            fs::create_dir_all(&self.0)?;
            match fs::remove_file(self.0.join(STATE)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            let mut file = BufWriter::new(File::create(self.0.join(MEMORY))?);
            let written = write(&mut file)?;
            file.into_inner()?.sync_all()?;
            Ok(written)
        })
    }

    /// Ends it. Where there is no state, no machine was saved.
    pub(crate) fn write_state(&self, snapshot: &Snapshot) -> Result<()> {
        self.named(|| {
            let unfinished = self.0.join("state.json.new");
            let mut file = BufWriter::new(File::create(&unfinished)?);
            serde_json::to_writer(&mut file, snapshot)?;
            file.into_inner()?.sync_all()?;
            Ok(fs::rename(unfinished, self.0.join(STATE))?)
        })
    }

    pub(crate) fn read_state(&self) -> Result<Snapshot> {
        /// The tree and 2,048 CPUs are less.
        const MAX_BYTES: u64 = 32 << 20;
        read_json(&self.0.join(STATE), MAX_BYTES)
    }

    pub(crate) fn read_memory(&self, read: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<()> {
        let path = self.0.join(MEMORY);
        let read = read(&mut BufReader::new(open(&path)?));
        read.map_err(|error| {
            format!("cannot use {}: {}", path.display(), with_causes(&*error)).into()
        })
    }

    fn named<T>(&self, save: impl FnOnce() -> Result<T>) -> Result<T> {
        save().map_err(|error| {
            format!("cannot save in {}: {}", self.0.display(), with_causes(&*error)).into()
        })
    }
}
