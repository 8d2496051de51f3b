//! Text to a file, or to nowhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use vmm_sys_util::epoll::EventSet;

use super::watch::Watch;
use super::{HostEnd, HostEndError};

/// Takes all text and shows it to nobody; nobody types.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct NullEnd;

impl NullEnd {
    /// An end that is nowhere.
    pub const fn new() -> Self {
        Self
    }
}

impl HostEnd for NullEnd {
    fn file(&self) -> Option<RawFd> {
        None
    }

    fn wait_for(&mut self, _input: bool, _room: bool) {}

    fn attend(&mut self) {}

    fn read(&mut self, _buf: &mut [u8]) -> usize {
        0
    }

    fn write(&mut self, text: &[u8]) -> usize {
        text.len()
    }
}

/// Text to a file, a pipe or a device; nobody types.
///
/// The disk of a plain file is waited for, by whoever writes; a pipe and a device are not.
#[derive(Debug)]
pub struct FileEnd {
    path: PathBuf,
    file: File,
    /// For what can be waited for: a plain file cannot.
    watch: Option<Watch>,
    has_failed: bool,
}

impl FileEnd {
    /// Opens the file of this path, and makes it where there is none. What was in it is gone.
    ///
    /// # Errors
    /// [`HostEndError`] names the path and the reason.
    pub fn open(path: &Path) -> Result<Self, HostEndError> {
        let path = path.to_owned();
        // Before it is opened: that may do things.
        let kind = fs::metadata(&path).ok().map(|metadata| metadata.file_type());
        let what = kind.and_then(|kind| match kind {
            _ if kind.is_dir() => Some("a folder"),
            _ if kind.is_socket() => Some("a socket"),
            _ if kind.is_block_device() => Some("a disk"),
            _ => None,
        });
        if let Some(what) = what {
            return Err(HostEndError::Kind { path, what });
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        match options.open(&path).and_then(|file| Ok((watch(&file)?, file))) {
            Ok((watch, file)) => Ok(Self { path, file, watch, has_failed: false }),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                Err(HostEndError::Kind { path, what: "a pipe that nobody reads" })
            }
            Err(source) => Err(HostEndError::Open { what: "open", path, source }),
        }
    }
}

impl HostEnd for FileEnd {
    fn file(&self) -> Option<RawFd> {
        self.watch.as_ref().map(Watch::file)
    }

    fn wait_for(&mut self, _input: bool, room: bool) {
        if let Some(watch) = &self.watch {
            watch.remove(&self.file);
            // A reader who left is told of as long as one listens.
            if room {
                let _ = watch.add(&self.file, 0, EventSet::OUT);
            }
        }
    }

    fn attend(&mut self) {}

    fn read(&mut self, _buf: &mut [u8]) -> usize {
        0
    }

    fn write(&mut self, text: &[u8]) -> usize {
        match uninterrupted(|| (&self.file).write(text)) {
            Ok(bytes) => {
                self.has_failed = false;
                bytes
            }
            // One that cannot be waited for has no room for good.
            Err(error) if is_full(&error) && self.watch.is_some() => 0,
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    let path = self.path.display();
                    log::warn!("text of a console is lost: cannot write to {path}: {error}");
                }
                text.len()
            }
        }
    }
}

/// Plain files refuse to be waited for.
fn watch(file: &File) -> io::Result<Option<Watch>> {
    let watch = Watch::new()?;
    match watch.add(file, 0, EventSet::empty()) {
        Ok(()) => {
            watch.remove(file);
            Ok(Some(watch))
        }
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there is no room, or nothing to be read, at the moment.
pub(super) fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// Again, where a signal came in between.
pub(super) fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
