//! Why a machine is not saved, or not taken up.

use std::error::Error;

use arch_ppc64::platform::{PlatformError, StateError};
use arch_ppc64::{ConfigError, CpuIndex};

use crate::boot::RamError;
use crate::vcpu::BackendError;

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
}

/// Why a machine that was saved is not taken up: nothing of it has run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Another back end goes on with nothing that this one began.
    #[error("it was saved on the back end {saved}, and this one is {here}: --backend {saved}")]
    Backend {
        /// Where it was saved.
        saved: String,
        /// Where it was to go on.
        here: String,
    },
    /// The machine is another one.
    #[error("{what}: the machine that was saved has {saved}, and this one {here}")]
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
    /// Memory that was plugged cannot be had.
    #[error("cannot have the memory that was plugged")]
    Ram(#[from] RamError),
    /// It cannot be had where it was to come from.
    #[error(transparent)]
    Source(Box<dyn Error + Send + Sync>),
}
