//! Why a machine is not saved, or not taken up.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use arch_ppc64::platform::{PlatformError, StateError};
use arch_ppc64::{ConfigError, CpuIndex};

use crate::boot::RamError;
use crate::config::FileError;
use crate::devices::PlugError;
use crate::vcpu::BackendError;
use crate::{host_file, quoted};

/// Why a machine is not saved. It stands still as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// There is no machine yet, or none any more.
    #[error("no machine is running")]
    NotRunning,
    /// It runs.
    #[error("the machine is not paused")]
    NotPaused,
    /// It has ended meanwhile.
    #[error("the machine has ended")]
    Ended,
    /// What runs the guest cannot say where it is.
    #[error("machines cannot be saved on the back end {0}")]
    NoState(&'static str),
    /// The state of a CPU cannot be had.
    #[error("cannot save the CPUs")]
    Cpu(#[source] BackendError),
    /// What is set for all CPUs cannot be had.
    #[error("cannot save the virtual machine")]
    Vm(#[source] StateError),
    /// The state of a device cannot be had.
    #[error("cannot save the devices")]
    Platform(#[from] PlatformError),
    /// The folder cannot have it.
    #[error("cannot save the machine in {}", quoted::path(.path))]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// There is something else.
    #[error("{} is there already, and is no part of a saved machine", quoted::path(.path))]
    Occupied {
        /// Which file.
        path: PathBuf,
    },
}

impl SaveError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::Occupied { .. } => true,
            Self::Folder { source, .. } => !host_file::is_the_hosts(source),
            _ => false,
        }
    }
}

/// Why a machine that was saved is not taken up: nothing of it has run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Another back end goes on with nothing that this one began.
    #[error(
        "it was saved on the back end {0}, and this one is {here}: --backend {0}",
        quoted::text(.saved)
    )]
    Backend {
        /// Where it was saved.
        saved: String,
        /// Where it was to go on.
        here: String,
    },
    /// The machine is another one.
    #[error(
        "{what}: the machine that was saved has {}, and this one {here}", quoted::text(.saved)
    )]
    Machine {
        /// What differs.
        what: &'static str,
        /// What it was.
        saved: String,
        /// What it is here.
        here: String,
    },
    /// What was plugged into it has no place here.
    #[error("what was plugged into it has no place in this machine")]
    Plugged(#[from] ConfigError),
    /// A CPU was not saved that this machine has, or the other way round.
    #[error("{0} is only in one of the two: the machine that was saved, and this one")]
    OneSided(CpuIndex),
    /// The state of a CPU is none.
    #[error("{index} cannot take up its state")]
    Cpu {
        /// Which CPU.
        index: CpuIndex,
        /// What is wrong with it.
        #[source]
        source: BackendError,
    },
    /// The state of what is set for all CPUs is none.
    #[error("the virtual machine cannot take up its state")]
    Vm(#[source] StateError),
    /// The state of a device is none.
    #[error("the devices cannot take up their state")]
    Platform(#[from] PlatformError),
    /// A device of it is not in this machine.
    #[error("the machine that was saved has the device {}, and this one has not", quoted::text(.id))]
    NoDevice {
        /// Which device.
        id: String,
    },
    /// A device is only in this machine.
    #[error("the machine that was saved has no device {}", quoted::text(.id))]
    NewDevice {
        /// Which device.
        id: String,
    },
    /// A device cannot be where it was.
    #[error("its devices cannot be where they were")]
    Place(#[from] PlugError),
    /// Memory that was plugged cannot be had.
    #[error("cannot have the memory that was plugged")]
    Ram(#[from] RamError),
    /// A file of it cannot be read.
    #[error("cannot read {}", quoted::path(.path))]
    Read {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A file of it is not what was written.
    #[error("cannot use {}: {}", quoted::path(.path), quoted::text(.what))]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Its configuration is none.
    #[error("cannot use its configuration")]
    Config(#[from] FileError),
    /// What was in its RAM has no place here, or cannot be read.
    #[error("cannot have the memory of {}", quoted::path(.path))]
    Memory {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: RamError,
    },
    /// It cannot be had where it was to come from.
    #[error(transparent)]
    Source(Box<dyn Error + Send + Sync>),
}

impl RestoreError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::Read { source, .. } => !host_file::is_the_hosts(source),
            Self::Config(error) => error.is_the_users(),
            Self::Ram(error) => error.is_the_users(),
            Self::Memory { source, .. } => !matches!(source, RamError::Clear(_)),
            Self::Source(_) => false,
            _ => true,
        }
    }
}
