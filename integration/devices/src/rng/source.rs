//! Where random bytes come from.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::iovec::Scatter;

/// Where random bytes come from.
#[derive(Debug)]
pub struct Source(Kind);

#[derive(Debug)]
enum Kind {
    File(File),
    /// The state of a SplitMix64 generator.
    Fixed(u64),
}

/// A source that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is not what bytes can be read from.
    #[error("{} is {what}: random bytes come from a device, a pipe or a file", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
}

impl Source {
    /// What comes from this file, such as `/dev/urandom`. Of a pipe or a device it is what comes
    /// when it comes; a file that ends is looked at again each second, as it may grow.
    ///
    /// # Errors
    /// [`SourceError`] names the file and the reason.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let path = path.to_owned();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(source) => return Err(SourceError::Open { path, source }),
        };
        // Before it is opened: that may do things.
        let kind = metadata.file_type();
        let what = match kind {
            _ if kind.is_dir() => Some("a folder"),
            _ if kind.is_socket() => Some("a socket"),
            _ if kind.is_block_device() => Some("a disk"),
            _ if kind.is_file() && metadata.len() == 0 => Some("empty"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(SourceError::Kind { path, what });
        }
        // A pipe that nobody writes to is opened all the same.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => Ok(Self(Kind::File(file))),
            Err(source) => Err(SourceError::Open { path, source }),
        }
    }

    /// Bytes that look random and are the same each time, for machines that are to run the same
    /// each time. **Whoever knows the seed knows them**: not for guests that keep secrets.
    pub const fn fixed(seed: u64) -> Self {
        Self(Kind::Fixed(seed))
    }

    /// How far it is, where its bytes are the same each time.
    pub(super) const fn fixed_state(&self) -> Option<u64> {
        match self.0 {
            Kind::File(_) => None,
            Kind::Fixed(state) => Some(state),
        }
    }

    /// Where its bytes are the same each time, they are those behind this.
    pub(super) const fn go_on_from(&mut self, before: u64) {
        if let Kind::Fixed(state) = &mut self.0 {
            *state = before;
        }
    }

    /// Whether one may have to wait for it.
    pub(super) const fn waits(&self) -> bool {
        matches!(self.0, Kind::File(_))
    }

    /// What becomes readable when there is more, where one can wait for that.
    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Kind::File(file) => Some(file.as_fd()),
            Kind::Fixed(_) => None,
        }
    }

    /// Puts what there is into the front of `to`, and tells how many bytes: at least one.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has come yet, `UnexpectedEof` where the file has ended, and what
    /// the host says.
    pub(super) fn fill(&mut self, to: &mut Scatter<'_>) -> io::Result<usize> {
        match &mut self.0 {
            Kind::File(file) => match to.read(&*file)? {
                0 if !to.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
                bytes => Ok(bytes),
            },
            Kind::Fixed(state) => {
                let mut bytes = 0;
                while !to.is_empty() {
                    bytes += to.copy_from(&next(state).to_le_bytes());
                }
                Ok(bytes)
            }
        }
    }
}

/// Whatever a panic left behind is a source still.
pub(super) fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
