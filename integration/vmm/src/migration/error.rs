//! Why a machine has not moved.

use std::io;
use std::time::Duration;

use super::protocol::WireError;
use super::ram::RamTransferError;
use super::url::MigrationUrl;
use crate::config::Size;
use crate::devices::HeldError;
use crate::pause::PauseError;
use crate::quoted;
use crate::reasons;
use crate::saved::SaveError;
use crate::vcpu::BackendError;

/// Why a machine has not moved. Unless it is said otherwise, it runs where it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// There is no machine.
    #[error("no machine is running")]
    NotRunning,
    /// Its memory cannot be handed over without a copy.
    #[error("local=on is not there: the machine's memory is copied, also within a host")]
    Local,
    /// A device's worker writes to memory so that nobody notices.
    #[error(
        "{device} is a worker's that writes to memory unseen: such a machine cannot move, unless on \
         --backend interp or without that device"
    )]
    Unseen {
        /// Which one.
        device: String,
    },
    /// Nobody can be waited for there.
    #[error("cannot wait for a machine at {url}")]
    Listen {
        /// Where.
        url: MigrationUrl,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Nobody takes it there.
    #[error("cannot connect to {url}")]
    Connect {
        /// Where.
        url: MigrationUrl,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The connection does not carry it.
    #[error("the connection with the other side failed")]
    Wire(#[from] WireError),
    /// The other side said something else than it has to.
    #[error("the other side says what makes no sense: {0}")]
    Sequence(&'static str),
    /// The destination does not take it.
    #[error("the destination does not take the machine: {reason}")]
    Refused {
        /// What it says.
        reason: String,
    },
    /// The source gives up.
    #[error("the source has given up: {reason}")]
    Abandoned {
        /// What it says.
        reason: String,
    },
    /// Its memory is not what it was.
    #[error(
        "the file that the machine's memory was saved in has become shorter, or cannot be read any \
         more: what was there is lost"
    )]
    LostMemory,
    /// What is written to memory is not known.
    #[error("what is written to memory cannot be noted")]
    Log(#[source] BackendError),
    /// There is no RAM where it is to be.
    #[error("there is no memory of {bytes:#x} bytes at {at:#x}")]
    Place {
        /// Where it begins.
        at: u64,
        /// How much it is.
        bytes: u64,
    },
    /// It does not stand still.
    #[error("the machine cannot stand still")]
    Pause(#[source] PauseError),
    /// Its state cannot be had.
    #[error("the state of the machine cannot be had")]
    Save(#[from] SaveError),
    /// It started again meanwhile.
    #[error("the machine has started again meanwhile")]
    Restarted,
    /// It writes more than the connection carries.
    #[error(
        "the machine writes to memory faster than it can be sent, {} of it in a second: to send \
         {} takes longer than the {} ms that it may stand still (downtime_ms)",
        Size(*.bytes_per_second), Size(*.dirty_bytes), .downtime.as_millis()
    )]
    TooBusy {
        /// What was left to be sent at last.
        dirty_bytes: u64,
        /// How fast it is sent.
        bytes_per_second: u64,
        /// How long it may take.
        downtime: Duration,
    },
    /// It takes too long.
    #[error("it takes longer than {} s (timeout_s)", .0.as_secs())]
    TimedOut(Duration),
    /// It ended meanwhile.
    #[error(
        "the machine has ended meanwhile: somebody ended it (vm.delete, vm.shutdown, vmm.shutdown), or \
         it ended by itself"
    )]
    Over,
    /// Somebody wants the machine to stay.
    #[error("the machine was told to stay (vm.resume)")]
    Cancelled,
    /// A file that only one machine may have cannot be had: it stands still.
    #[error(
        "the machine has not moved, and stands still: what it had is another one's; vm.resume has it \
         go on once that is free"
    )]
    Files(#[from] HeldError),
    /// What it wrote to a file may not be there on another host.
    #[error("what the machine has written may be lost")]
    Flush(#[source] HeldError),
    /// It does not go on where it was.
    #[error("the machine has not moved, and does not go on")]
    Resume(#[source] PauseError),
    /// Nobody knows which side has it: it stands still here.
    #[error(
        "the connection broke as the machine was handed over, and the destination cannot be asked \
         whether it runs there: it stands still here. If it does not run there, and never will, \
         vm.resume has it go on here"
    )]
    Undecided,
    /// What the source says of its machine makes no sense.
    #[error("what the source says of its machine cannot be used: {what}")]
    Content {
        /// What is wrong with it.
        what: String,
    },
    /// There is too much of it.
    #[error("the machine's {0} cannot be sent")]
    TooLong(&'static str),
    /// Someone wants to hear no more of it.
    #[error("it was ended before a machine came")]
    Ended,
}

impl From<RamTransferError> for MigrationError {
    fn from(error: RamTransferError) -> Self {
        match error {
            RamTransferError::Wire(error) => Self::Wire(error),
            RamTransferError::Place { at, bytes } => Self::Place { at, bytes },
        }
    }
}

impl MigrationError {
    /// What the source says of its machine makes no sense. Why may quote it.
    pub(crate) fn content(why: impl std::fmt::Display) -> Self {
        Self::Content { what: quoted::text(&why.to_string()) }
    }

    /// Whether whoever asked is to blame, and not a host or a connection.
    pub fn is_the_users(&self) -> bool {
        matches!(self, Self::Local | Self::Unseen { .. } | Self::Refused { .. } | Self::Cancelled)
    }

    /// With its reasons, in one line.
    pub(crate) fn told(&self) -> String {
        reasons::in_one_line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_says_does_not_get_to_a_terminal_as_it_is() {
        let error = MigrationError::content("unknown field `\u{1b}[2J`");
        assert!(
            !error.to_string().contains('\u{1b}') && error.to_string().contains("[2J"),
            "{error}"
        );
    }
}
