//! What can go wrong before a guest's first instruction.

use std::io;
use std::path::PathBuf;

use arch_ppc64::boot;
use arch_ppc64::loader::LoadError;
use arch_ppc64::platform::{PlatformError, StateError};

use super::RamError;
use crate::devices::PlugError;
use crate::{host_file, quoted};

/// Why a machine cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// There is an initial RAM disk, and no kernel to give it to.
    #[error("no kernel is given: --kernel FILE, or \"payload\": {{\"kernel\": FILE}} in the file")]
    NoKernel,
    /// There is nothing to start, and nothing to start it from.
    #[error(
        "no kernel is given, and nothing to start from in its place: --kernel FILE, --disk \
         path=FILE, --net socket=PATH or --net tap=NAME"
    )]
    NoProgram,
    /// The way in without a client interface is one for kernels.
    #[error(
        "no kernel is given (--kernel FILE), and x-vof=off: without the client interface nothing is \
         started from disks or networks"
    )]
    NeedsKernel,
    /// What the user chose is no device that a machine can start from.
    #[error("{}: {reason}; there are {}", quoted::text(.option), known(.names))]
    NoDevice {
        /// The choice, as on the command line.
        option: String,
        /// What is wrong with it.
        reason: &'static str,
        /// The names that could be chosen.
        names: Vec<String>,
    },
    /// The configuration says two things.
    #[error("there can be \"kernel\" or \"boot\" in \"payload\", not both")]
    Both,
    /// No device has anything to start. The console shows what was tried.
    #[error("there is nothing to start on the machine's devices")]
    Nothing,
    /// Somebody wants the machine to stop, so that it was not started.
    #[error("the machine is to stop")]
    Ending,
    /// The user names a file by nothing.
    #[error("the path of the {what} is empty")]
    NoPath {
        /// What it is to be.
        what: &'static str,
    },
    /// A file that the user named cannot be read.
    #[error("cannot read {}", quoted::path(.path))]
    File {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A file that the user named cannot be started, or does not fit.
    #[error("cannot use {}", quoted::path(.path))]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: LoadError,
    },
    /// A file that the user named was written into.
    #[error("cannot use {}: it was changed after this machine had opened it", quoted::path(.path))]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// The host does not have the memory.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The guest cannot be put in place.
    #[error(transparent)]
    Start(#[from] boot::BootError),
    /// The interrupts of a machine that was saved are none.
    #[error("the interrupts of the machine that was saved")]
    Saved(#[source] StateError),
    /// The devices cannot be one machine.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The devices of the bus cannot be in the machine.
    #[error("cannot connect the machine's devices")]
    Devices(#[from] PlugError),
    /// There can be no client interface.
    #[cfg(feature = "vof")]
    #[error(transparent)]
    Vof(vof_device::BootError),
    /// The host has no randomness.
    #[error("cannot get randomness for the guest from /dev/urandom")]
    Random(#[source] io::Error),
}

/// The names, and what would have one that is not there.
fn known(names: &[String]) -> String {
    let known = names.join(", ");
    if names.iter().any(|name| name == "cdrom") {
        return known;
    }
    known + " (cdrom would be a disk with readonly=on and an ISO 9660 file system)"
}

impl BootError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::NoKernel | Self::NoProgram | Self::NeedsKernel | Self::Both => true,
            Self::NoPath { .. } | Self::NoDevice { .. } | Self::Changed { .. } => true,
            Self::Ram(error) => error.is_the_users(),
            Self::File { source, .. } => !host_file::is_the_hosts(source),
            // It could be opened, and was as long.
            Self::Unusable { source, .. } => !matches!(source, LoadError::Read { .. }),
            _ => false,
        }
    }
}

#[cfg(feature = "vof")]
impl From<vof_device::BootError> for BootError {
    fn from(error: vof_device::BootError) -> Self {
        match error {
            vof_device::BootError::Start(error) => Self::Start(error),
            error => Self::Vof(error),
        }
    }
}
