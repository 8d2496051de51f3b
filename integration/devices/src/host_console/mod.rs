//! Where the text of a guest's console goes on the host, and where typed text comes from: a file,
//! a terminal of its own, a socket, or nowhere.
//!
//! A [`HostEnd`] is for a thread that waits for its [file](HostEnd::file): the virtio console's, or
//! that of a [`ConsoleInput`], which connects one to a console of the machine
//! ([`arch_ppc64::Console`]).

mod file;
mod pty;
mod queued;
mod socket;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

pub use file::{FileEnd, NullEnd};
pub use pty::PtyEnd;
pub use queued::{ConsoleInput, EndWriter, connect};
pub use socket::SocketEnd;

/// The host's end of a console. No method waits for somebody.
///
/// Text that nobody can ever see is taken and lost: while no one is connected, or behind an error,
/// of which the log tells. What is connected and takes nothing is waited for, by the guest.
pub trait HostEnd: Send {
    /// A file that becomes readable when there is something to [attend](Self::attend) to: the same
    /// for as long as this is there. `None` where there never is.
    fn file(&self) -> Option<RawFd>;

    /// Says what is waited for: typed text, or room for the guest's.
    fn wait_for(&mut self, input: bool, room: bool);

    /// Takes note of what has happened: somebody has come, or left. After that, there may be text to
    /// read, and room to write.
    fn attend(&mut self);

    /// Takes typed text, and gives how many bytes: 0 where there is none at the moment.
    fn read(&mut self, buf: &mut [u8]) -> usize;

    /// Shows text, and gives how many of its leading bytes were taken: 0 where there is no room at
    /// the moment.
    fn write(&mut self, text: &[u8]) -> usize;
}

/// An end that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostEndError {
    /// A file that cannot be opened, or a socket that cannot be made.
    #[error("cannot {what} {}", path.display())]
    Open {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Not what text can be written to.
    #[error("{} is {what}: a console's text goes to a file, a pipe or a device", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A socket that somebody listens at.
    #[error("{} is in use: another program listens there", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("{} is there already, and is no socket", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// There is no terminal to be had.
    #[error("cannot {what}")]
    Pty {
        /// What was tried.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}
