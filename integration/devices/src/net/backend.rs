//! The host's end of a network.

use std::io;
use std::os::fd::BorrowedFd;

use crate::iovec::{Gather, Scatter};

/// `virtio_net_hdr` (Virtio 1.2 §5.1.6), which is before each frame.
pub const HEADER_BYTES: usize = 12;

/// The longest frame: a segment of 64 KiB, with its Ethernet header.
pub const FRAME_BYTES_MAX: usize = 65550;

/// A frame is not shorter: two addresses and a type.
pub(super) const FRAME_BYTES_MIN: usize = 14;

/// The host's end of a network: frames go to it, and come from it, each with a `virtio_net_hdr`
/// before it. No method waits.
///
/// One that fails with [`Lost`] has lost what it was connected to. The device then takes its file
/// out of its event loop, [disconnects](Self::disconnect) it, and the guest sees a link that is
/// down.
pub trait Backend: Send {
    /// What it can do of checksums and segments, by bit numbers of features
    /// (`VIRTIO_NET_F_CSUM`, `VIRTIO_NET_F_GUEST_TSO4`, …): by default nothing.
    fn offloads(&self) -> u64 {
        0
    }

    /// From here on, frames are for a driver that took these features. What is left of a frame that
    /// another driver did not get is left out.
    ///
    /// # Errors
    /// [`Lost`].
    fn start(&mut self, features: u64) -> Result<(), Lost>;

    /// What becomes readable when there is a frame, and writable when there is room for one: the
    /// same for as long as it is connected. Non-blocking. `None` where it is not connected.
    fn file(&self) -> Option<BorrowedFd<'_>>;

    /// How much there is to [`receive`](Self::receive): of the next frame, or of what is left of
    /// one. `None` where nothing has come.
    ///
    /// # Errors
    /// [`Lost`].
    fn expected(&mut self) -> Result<Option<Expected>, Lost>;

    /// Puts a frame into the front of `to`, or the next part of one. `to` has the room that was
    /// [expected](Self::expected) to be needed, and its front is where the last part ended.
    ///
    /// # Errors
    /// [`Lost`].
    fn receive(&mut self, to: &mut Scatter<'_>) -> Result<Received, Lost>;

    /// Sends a frame of at most [`FRAME_BYTES_MAX`], with its header.
    ///
    /// # Errors
    /// [`Lost`].
    fn send(&mut self, frame: Gather<'_>) -> Result<Sent, Lost>;

    /// Whether part of a frame that it took has not gone yet: it does when [flushed](Self::flush).
    fn has_unsent(&self) -> bool {
        false
    }

    /// Sends what is left of a frame that it took, as far as that goes.
    ///
    /// # Errors
    /// [`Lost`].
    fn flush(&mut self) -> Result<(), Lost> {
        Ok(())
    }

    /// Closes what it has lost.
    fn disconnect(&mut self);

    /// Whether a connection that is lost can be made again.
    fn can_reconnect(&self) -> bool {
        false
    }

    /// Tries to get connected again, and tells whether it is.
    fn reconnect(&mut self) -> bool {
        false
    }
}

/// How many bytes are to be received, header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// So many.
    Exactly(usize),
    /// No more than so many.
    AtMost(usize),
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Nothing: nothing has come yet.
    Nothing,
    /// So many bytes, and the frame goes on.
    Part(usize),
    /// So many bytes, the last of a frame.
    End(usize),
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is taken, all of it.
    Taken,
    /// It is not for this network, and was left out.
    LeftOut,
    /// There is no room for it at the moment.
    Full,
}

/// How a back end lost what it was connected to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// It was closed.
    #[error("the other end closed the connection")]
    Closed,
    /// What came makes no sense.
    #[error("the other end sent a frame of {0} bytes (1 to {FRAME_BYTES_MAX} are possible)")]
    Length(u32),
    /// The host says so.
    #[error(transparent)]
    Host(#[from] io::Error),
}
