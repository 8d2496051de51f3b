//! Why a verb is not done.

use std::io;

use super::Verb;
use super::types::VmState;
use crate::config::{DeviceError, NoFolderUrl};
use crate::devices::DeviceChangeError;
use crate::failure::Failure;
use crate::migration::{MigrationError, MigrationUrlError};
use crate::pause::PauseError;
use crate::resize::ResizeError;
use crate::saved::SaveError;

/// Why a verb is not done. Nothing has changed then, but where that is said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// There is no machine.
    #[error("no VM is created: vm.create or vm.restore comes first")]
    NotCreated,
    /// There is one already.
    #[error("a VM is created already: vm.delete comes first")]
    AlreadyCreated,
    /// It is at another place in its life.
    #[error("the VM is {state}, and has to be {}", .verb.needs())]
    WrongState {
        /// What was asked for.
        verb: Verb,
        /// Where it is.
        state: VmState,
    },
    /// Something is under way that takes long, and goes first.
    #[error("{other} is under way{}", .other.ended_by())]
    Busy {
        /// What was asked for.
        verb: Verb,
        /// What is being done.
        other: Verb,
    },
    /// The VMM ends.
    #[error("the VMM shuts down")]
    Ending,
    /// The machine cannot be, or not on this host.
    #[error("the VM cannot be had so")]
    Machine(#[from] Failure),
    /// No device has anything to start. Its console shows what was tried.
    #[error("there is nothing to start on the VM's devices")]
    NothingToStart,
    /// Its start was ended before it ran.
    #[error("the VM ended before it ran: {0}")]
    NotStarted(String),
    /// It does not stand still, or does not go on.
    #[error("{verb} failed")]
    Pause {
        /// What was asked for.
        verb: Verb,
        /// The reason.
        #[source]
        source: PauseError,
    },
    /// It is not saved. It stands still as before.
    #[error("the VM is not saved")]
    Save(#[from] SaveError),
    /// A URL is no folder's.
    #[error("\"{key}\"")]
    Url {
        /// The key.
        key: &'static str,
        /// The reason.
        #[source]
        source: NoFolderUrl,
    },
    /// It is not made larger or smaller. A part may have been done.
    #[error("the VM cannot be resized")]
    Resize(#[from] ResizeError),
    /// There is no balloon.
    #[error("\"desired_balloon\": this VMM has no balloon; it can be left out, or be 0")]
    NoBalloon,
    /// A device is not plugged, or not given back.
    #[error("the device cannot be changed")]
    Device(#[from] DeviceChangeError),
    /// No device has this name.
    #[error("there is no device {id}")]
    UnknownDevice {
        /// The name, as it can be shown.
        id: String,
    },
    /// It has not moved to another process.
    #[error("the VM has not moved")]
    Migration(#[from] MigrationError),
    /// It can neither go to nor come from there.
    #[error("no VM can move there")]
    MigrationUrl(#[from] MigrationUrlError),
    /// A path cannot be followed.
    #[error("a path of the configuration cannot be had")]
    Path(#[source] io::Error),
}

/// Who has to do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Whoever asked: what was asked for cannot be.
    Request,
    /// Whoever asked: it is not there.
    NotFound,
    /// Whoever asked: not now, as the machine is somewhere else in its life.
    State,
    /// Whoever asked: something else has what was asked for.
    Conflict,
    /// The host.
    Host,
}

impl LifecycleError {
    /// Who has to do something about it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::NotCreated | Self::UnknownDevice { .. } => Blame::NotFound,
            Self::Device(DeviceChangeError::Unknown { .. }) => Blame::NotFound,
            Self::Device(DeviceChangeError::Device(DeviceError::Shared { .. }))
            | Self::Machine(Failure::Device(DeviceError::Shared { .. }))
            | Self::Device(DeviceChangeError::Busy)
            | Self::Pause { source: PauseError::Busy, .. }
            | Self::Busy { .. } => Blame::Conflict,
            Self::AlreadyCreated | Self::WrongState { .. } => Blame::State,
            Self::Device(DeviceChangeError::NotRunning | DeviceChangeError::Restarting)
            | Self::Resize(ResizeError::NotRunning | ResizeError::Restarting)
            | Self::Pause { source: PauseError::NotRunning | PauseError::Starting, .. } => {
                Blame::State
            }
            Self::NoBalloon | Self::NothingToStart | Self::Url { .. } => Blame::Request,
            Self::Save(SaveError::NotRunning | SaveError::NotPaused) => Blame::State,
            Self::Save(error) if error.is_the_users() => Blame::Request,
            Self::MigrationUrl(_) => Blame::Request,
            Self::Migration(
                MigrationError::NotRunning
                | MigrationError::Over
                | MigrationError::Save(SaveError::NotRunning),
            ) => Blame::State,
            Self::Migration(error) if error.is_the_users() => Blame::Request,
            Self::Machine(failure) if failure.status() == 2 => Blame::Request,
            Self::Resize(error) if error.is_the_users() => Blame::Request,
            Self::Device(error) if error.is_the_users() => Blame::Request,
            Self::Ending
            | Self::Machine(_)
            | Self::NotStarted(_)
            | Self::Pause { .. }
            | Self::Save(_)
            | Self::Resize(_)
            | Self::Device(_)
            | Self::Migration(_)
            | Self::Path(_) => Blame::Host,
        }
    }
}
