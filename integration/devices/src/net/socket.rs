//! A network on the other end of a Unix stream socket, as passt and QEMU's `-netdev stream` have
//! it: each frame comes behind its length, 32 bits, big-endian.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use virtio_bindings::virtio_net::{VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE};

use super::backend::{
    Backend, Expected, FRAME_BYTES_MAX, FRAME_BYTES_MIN, HEADER_BYTES, Lost, Received, Sent,
};
use crate::iovec::{Gather, Scatter};
use crate::unix_socket;

/// Bytes of a length.
const LENGTH_BYTES: usize = 4;

/// What is read ahead of the frame that goes to the guest: many small frames come in one call, and
/// of a large one little has to be copied.
const AHEAD_BYTES: usize = 4096;

/// A connection to who carries frames, such as passt.
///
/// What has come is read straight into the guest's buffers, but for the few kilobytes that come
/// with what is before them. One frame waits in host memory at most: the one that the other end has
/// taken a part of.
#[derive(Debug)]
pub struct Socket {
    path: Option<PathBuf>,
    stream: Option<UnixStream>,
    ahead: Ahead,
    /// What is still to come of the frame, header included.
    frame: Option<usize>,
    /// The header of the frame is still to be made up.
    needs_header: bool,
    /// How many bytes to come are nobody's.
    skipped: usize,
    unsent: Vec<u8>,
    unsent_from: usize,
}

/// A socket that cannot be connected to.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {}", path.display())]
#[non_exhaustive]
pub struct SocketError {
    /// Where it is.
    pub path: PathBuf,
    /// The reason.
    #[source]
    pub source: io::Error,
}

impl Socket {
    /// Connects to the socket of this path. When the connection is lost, it can be made again.
    ///
    /// # Errors
    /// [`SocketError`] names the path and the reason.
    pub fn connect(path: &Path) -> Result<Self, SocketError> {
        match unix_socket::connect(path) {
            Ok(stream) => Ok(Self::new(Some(path.to_owned()), stream)),
            Err(source) => Err(SocketError { path: path.to_owned(), source }),
        }
    }

    /// A connection that somebody else made. When it is lost, that is for good.
    ///
    /// # Errors
    /// What the host says: it has to be non-blocking.
    pub fn from_stream(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::new(None, stream))
    }

    fn new(path: Option<PathBuf>, stream: UnixStream) -> Self {
        Self {
            path,
            stream: Some(stream),
            ahead: Ahead::new(),
            frame: None,
            needs_header: false,
            skipped: 0,
            unsent: Vec::new(),
            unsent_from: 0,
        }
    }

    /// Reads on, behind what has been read ahead; false where nothing has come.
    fn read_ahead(&mut self) -> Result<bool, Lost> {
        let stream = self.stream.as_ref().ok_or(Lost::Closed)?;
        let Some(bytes) = came(Scatter::from(self.ahead.room()).read(stream))? else {
            return Ok(false);
        };
        self.ahead.end += bytes;
        Ok(true)
    }

    /// What of a frame is not sent, once a part of it is.
    fn keep(&mut self, mut rest: Gather<'_>) {
        self.unsent.resize(rest.len(), 0);
        rest.copy_to(&mut self.unsent);
        self.unsent_from = 0;
    }
}

impl Backend for Socket {
    fn start(&mut self, _features: u64) -> Result<(), Lost> {
        let left = self.frame.take().unwrap_or(0);
        self.skipped += if self.needs_header { left - HEADER_BYTES } else { left };
        self.needs_header = false;
        Ok(())
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(UnixStream::as_fd)
    }

    fn expected(&mut self) -> Result<Option<Expected>, Lost> {
        loop {
            if let Some(left) = self.frame {
                return Ok(Some(Expected::Exactly(left)));
            }
            self.skipped -= self.ahead.take(self.skipped).len();
            if self.skipped == 0 {
                if let Some(length) = self.ahead.length() {
                    self.frame = Some(HEADER_BYTES + frame_bytes(length)?);
                    self.needs_header = true;
                    continue;
                }
            }
            if !self.read_ahead()? {
                return Ok(None);
            }
        }
    }

    fn receive(&mut self, to: &mut Scatter<'_>) -> Result<Received, Lost> {
        let Some(left) = self.frame else {
            return Ok(Received::Nothing);
        };
        let mut room = to.split_front(left);
        let has_room = room.len();
        let mut bytes = 0;
        if std::mem::take(&mut self.needs_header) {
            bytes += room.copy_from(&[0; HEADER_BYTES]);
        }
        bytes += room.copy_from(self.ahead.take(has_room - bytes));
        let missing = has_room - bytes;
        if missing > 0 {
            let stream = self.stream.as_ref().ok_or(Lost::Closed)?;
            room.append(Scatter::from(self.ahead.room()));
            let read = came(room.read(stream))?.unwrap_or(0);
            let for_frame = read.min(missing);
            self.ahead.end += read - for_frame;
            bytes += for_frame;
        }
        self.frame = Some(left - bytes).filter(|&left| left > 0);
        Ok(match (self.frame, bytes) {
            (None, _) => Received::End(bytes),
            (Some(_), 0) => Received::Nothing,
            (Some(_), _) => Received::Part(bytes),
        })
    }

    fn send(&mut self, mut frame: Gather<'_>) -> Result<Sent, Lost> {
        self.flush()?;
        if self.has_unsent() {
            return Ok(Sent::Full);
        }
        let mut header = [0; HEADER_BYTES];
        frame.split_front(HEADER_BYTES).copy_to(&mut header);
        let [flags, segmentation, ..] = header.map(u32::from);
        // The driver did not take the features for those.
        let is_plain =
            flags & VIRTIO_NET_HDR_F_NEEDS_CSUM == 0 && segmentation == VIRTIO_NET_HDR_GSO_NONE;
        let bytes = frame.len();
        if !is_plain || !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes) {
            return Ok(Sent::LeftOut);
        }
        let stream = self.stream.as_ref().ok_or(Lost::Closed)?;
        let length = (bytes as u32).to_be_bytes();
        let mut all = Gather::from(&length[..]);
        all.append(frame);
        if went(all.write(stream))?.is_none() {
            return Ok(Sent::Full);
        }
        if !all.is_empty() {
            self.keep(all);
        }
        Ok(Sent::Taken)
    }

    fn has_unsent(&self) -> bool {
        self.unsent_from < self.unsent.len()
    }

    fn flush(&mut self) -> Result<(), Lost> {
        while self.has_unsent() {
            let stream = self.stream.as_ref().ok_or(Lost::Closed)?;
            let mut rest = Gather::from(&self.unsent[self.unsent_from..]);
            let Some(bytes) = went(rest.write(stream))? else {
                return Ok(());
            };
            self.unsent_from += bytes;
        }
        self.unsent.clear();
        self.unsent_from = 0;
        Ok(())
    }

    /// Another connection begins with a length.
    fn disconnect(&mut self) {
        self.stream = None;
        self.ahead = Ahead::new();
        self.frame = None;
        self.needs_header = false;
        self.skipped = 0;
        self.unsent = Vec::new();
        self.unsent_from = 0;
    }

    fn can_reconnect(&self) -> bool {
        self.path.is_some()
    }

    fn reconnect(&mut self) -> bool {
        self.stream = self.path.as_ref().and_then(|path| unix_socket::connect(path).ok());
        self.stream.is_some()
    }
}

/// What has been read and is not the frame's that is being received.
#[derive(Debug)]
struct Ahead {
    bytes: Box<[u8; AHEAD_BYTES]>,
    start: usize,
    end: usize,
}

impl Ahead {
    fn new() -> Self {
        Self { bytes: Box::new([0; AHEAD_BYTES]), start: 0, end: 0 }
    }

    /// Takes up to so many bytes.
    fn take(&mut self, most: usize) -> &[u8] {
        let start = self.start;
        self.start += most.min(self.end - start);
        &self.bytes[start..self.start]
    }

    /// Takes a length, if it is there in whole.
    fn length(&mut self) -> Option<u32> {
        let length = *self.bytes[self.start..self.end].first_chunk::<LENGTH_BYTES>()?;
        self.start += LENGTH_BYTES;
        Some(u32::from_be_bytes(length))
    }

    /// Where more may be put, behind the few bytes that are there.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.bytes[self.end..]
    }
}

fn frame_bytes(length: u32) -> Result<usize, Lost> {
    match length as usize {
        bytes @ 1..=FRAME_BYTES_MAX => Ok(bytes),
        _ => Err(Lost::Length(length)),
    }
}

/// How many bytes a read gave; `None` where nothing has come.
fn came(read: io::Result<usize>) -> Result<Option<usize>, Lost> {
    match read {
        Ok(0) => Err(Lost::Closed),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many bytes a write took; `None` where there is no room.
fn went(written: io::Result<usize>) -> Result<Option<usize>, Lost> {
    match written {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}
