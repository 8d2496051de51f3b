//! What can fail while a machine runs.

use std::io;

use arch_ppc64::CpuIndex;

use crate::boot::BootError;
use crate::halves::PauseError;
use crate::saved::RestoreError;
use crate::vcpu::BackendError;

/// Why the VMM could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// The guest's first instructions and data could not be put in place.
    #[error("cannot prepare the guest's start")]
    Boot(#[from] BootError),
    /// The back end failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The terminal could not be used.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
    /// The event loop failed.
    #[error("the event loop failed")]
    Events(#[source] event_manager::Error),
    /// A resource of the host could not be had.
    #[error("cannot create {what}")]
    Create {
        /// What was wanted.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The machine cannot start again with what is plugged into it.
    #[error("the machine cannot start again as it is now")]
    Present(#[source] arch_ppc64::ConfigError),
    /// A machine that was saved cannot go on here.
    #[error("the machine cannot go on where it was saved")]
    Restore(#[from] RestoreError),
    /// A machine that was saved does not go on.
    #[error("the machine that was saved does not go on")]
    Resume(#[from] PauseError),
    /// A file that has the machine's memory is not what it was.
    #[error(
        "the file that the machine's memory was saved in has become shorter, or cannot be read any more: \
         what was there is lost"
    )]
    LostMemory,
    /// A bug of this program.
    #[error("the thread of {0} panicked")]
    Panic(CpuIndex),
}

pub(crate) fn create(what: &'static str) -> impl FnOnce(io::Error) -> VmmError {
    move |source| VmmError::Create { what, source }
}
