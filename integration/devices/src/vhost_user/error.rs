//! Why a daemon is of no use.

use std::io;
use std::path::PathBuf;

use arch_ppc64::platform::StateError;
use vm_memory::GuestAddress;

/// A daemon that cannot be worked with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VhostUserError {
    /// There is nobody at the socket.
    #[error("cannot connect to the socket {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// What is at the socket does not talk as a daemon does, or not in time.
    #[error("the daemon at {} fails at \"{request}\"", socket.display())]
    Talk {
        /// The socket.
        socket: PathBuf,
        /// What it was asked.
        request: &'static str,
        /// What is wrong about the answer; `TimedOut` if there is none.
        #[source]
        source: io::Error,
    },
    /// Guest memory is not a file that it could map.
    #[error("guest memory at {:#x} is no file that the daemon at {} could map", at.0, socket.display())]
    Memory {
        /// The socket.
        socket: PathBuf,
        /// Where the memory begins.
        at: GuestAddress,
    },
    /// It is another kind of daemon than the device needs.
    #[error("the daemon at {} does not have {what}", socket.display())]
    Lacks {
        /// The socket.
        socket: PathBuf,
        /// What is missing.
        what: String,
    },
}

/// A device whose daemon fails can be neither saved nor restored.
impl From<VhostUserError> for StateError {
    fn from(error: VhostUserError) -> Self {
        io::Error::other(error).into()
    }
}
