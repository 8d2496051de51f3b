//! The files that a guest is started from.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use arch_ppc64::Machine;
use arch_ppc64::boot::{self, Boot};
use arch_ppc64::loader::{Client, LoadError, Part, Placement, Source};
use arch_ppc64::platform::{Platform, outline};

use super::spool::Spool;
use super::{BootError, room};
use crate::config::PayloadConfig;
use crate::host_file::{self, HostFile, Pipe};

/// Open files. They are read anew for each start of the machine, straight into its RAM, so that
/// their contents are only in the guest while it runs.
///
/// What comes in the place of a file does not matter; a file that is written into is an error from
/// then on. What can be read but once, a pipe, is kept.
#[derive(Debug)]
pub struct Payload {
    kernel: Named,
    initramfs: Option<Named>,
}

impl Payload {
    /// Opens the files, and checks that `machine` can start from them. Only the headers of a kernel
    /// are read for that; what does not fit is refused unread.
    ///
    /// # Errors
    /// [`BootError::NoKernel`] when there is none, [`BootError::File`] names the one that cannot be
    /// read, [`BootError::Unusable`] says what is wrong with a file, or what there is no room for.
    pub fn open(config: &PayloadConfig, machine: &Machine) -> Result<Self, BootError> {
        let path = config.kernel.as_deref().ok_or(BootError::NoKernel)?;
        // Its devices are not there yet; what they say in the tree is as long.
        let platform = outline(machine)?;
        let kernel = Named::open("kernel", path, |pipe| keep_program(pipe, path, &platform))?;
        let payload = Self { kernel, initramfs: None };
        // Before anything is read of what comes with it.
        payload.plan(&platform)?;
        let Some(path) = config.initramfs.as_deref() else { return Ok(payload) };
        let initramfs = Named::open("initramfs", path, |pipe| {
            let room = payload.boot(NO_SEED).initrd_room(&platform);
            let room = room.map_err(|error| payload.named(error.into()))?;
            keep_all(pipe, room).map_err(|source| unreadable(path, source))
        })?;
        let payload = Self { initramfs: Some(initramfs), ..payload };
        payload.plan(&platform)?;
        Ok(payload)
    }

    /// What there is to tell whoever gives a kernel less memory than it can start in.
    ///
    /// # Errors
    /// As [`open`](Self::open), of the kernel.
    pub fn hint(&self, machine: &Machine) -> Result<Option<String>, BootError> {
        let client =
            Client::parse(&self.kernel).map_err(|source| unusable(&self.kernel.path, source))?;
        let initrd_bytes = self.initramfs.as_ref().map_or(0, |initramfs| initramfs.stamp.bytes);
        Ok(room::hint(&client, initrd_bytes, machine.memory_map().ram_bytes()))
    }

    /// Where everything goes in a machine.
    pub(crate) fn plan(&self, platform: &Platform) -> Result<Placement, BootError> {
        self.boot(NO_SEED).plan(platform).map_err(|error| self.named(error.into()))
    }

    /// An error if a file is not what it was when it was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), BootError> {
        std::iter::once(&self.kernel).chain(&self.initramfs).try_for_each(Named::check_unchanged)
    }

    /// A start from these files.
    pub(super) fn boot(&self, rng_seed: [u8; 32]) -> Boot<'_> {
        let initrd = self.initramfs.as_ref().map(|initramfs| initramfs as &dyn Source);
        Boot::new(&self.kernel, rng_seed).with_initrd(initrd)
    }

    /// The same error, naming the file that it is about, if it is about one.
    pub(super) fn named(&self, error: BootError) -> BootError {
        let BootError::Start(boot::BootError::Load(source)) = error else { return error };
        let initramfs = self.initramfs.as_ref().filter(|_| source.part() == Part::Initrd);
        unusable(&initramfs.unwrap_or(&self.kernel).path, source)
    }
}

/// For what is planned and not started: no guest sees it.
const NO_SEED: [u8; 32] = [0; 32];

/// A file that can be read at any place, again and again.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    file: File,
    /// What it was when it was opened.
    stamp: Stamp,
}

/// What tells whether a file was written into, as far as anything does: changes within one tick of
/// the host's clock may look like none. Nothing relies on it: whatever is read is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    /// In seconds, and nanoseconds.
    modified: (i64, i64),
}

impl Named {
    /// Opens a file that is the `what` of a machine. What a pipe brings is for `keep` to put into
    /// another file.
    fn open(
        what: &'static str,
        path: &Path,
        keep: impl FnOnce(Pipe) -> Result<File, BootError>,
    ) -> Result<Self, BootError> {
        if path.as_os_str().is_empty() {
            return Err(BootError::NoPath { what });
        }
        let file = match HostFile::open(path).map_err(|source| unreadable(path, source))? {
            HostFile::Sized(file) => file,
            HostFile::Pipe(pipe) => keep(pipe)?,
        };
        let stamp = Stamp::of(&file).map_err(|source| unreadable(path, source))?;
        Ok(Self { path: path.to_owned(), file, stamp })
    }

    fn check_unchanged(&self) -> Result<(), BootError> {
        match Stamp::of(&self.file) {
            Ok(stamp) if stamp == self.stamp => Ok(()),
            Ok(_) => Err(BootError::Changed { path: self.path.clone() }),
            Err(source) => Err(unreadable(&self.path, source)),
        }
    }
}

/// As long as it was at first: what comes behind is not looked at.
impl Source for Named {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.stamp.bytes)
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let modified = match metadata.is_file() {
            true => (metadata.mtime(), metadata.mtime_nsec()),
            // That of a device is not about what is in it.
            false => (0, 0),
        };
        Ok(Self { bytes: host_file::size_bytes(file)?, modified })
    }
}

/// Keeps of a program from a pipe what has to be loaded, if it can be started and fits.
fn keep_program(pipe: Pipe, path: &Path, platform: &Platform) -> Result<File, BootError> {
    let unreadable = |source| unreadable(path, source);
    let spool =
        Spool::new(pipe, platform.machine().memory_map().ram_bytes()).map_err(unreadable)?;
    // Whether anything comes at all.
    spool.keep(1).map_err(unreadable)?;
    match Client::parse(&spool) {
        Ok(client) => {
            Boot::new(&spool, NO_SEED).plan(platform).map_err(|error| match error {
                boot::BootError::Load(source) => unusable(path, source),
                error => error.into(),
            })?;
            spool.keep(client.file_bytes()).map_err(unreadable)?;
        }
        // It ended: what is wrong with what came is found out as with any file.
        Err(LoadError::Shrunk { .. }) => {}
        Err(source) => return Err(unusable(path, source)),
    }
    Ok(spool.into_file())
}

/// Keeps what comes from a pipe, if it is no more than `most` bytes.
fn keep_all(pipe: Pipe, most: u64) -> io::Result<File> {
    let spool = Spool::new(pipe, most)?;
    spool.keep(u64::MAX)?;
    Ok(spool.into_file())
}

fn unreadable(path: &Path, source: io::Error) -> BootError {
    BootError::File { path: path.to_owned(), source }
}

fn unusable(path: &Path, source: LoadError) -> BootError {
    BootError::Unusable { path: path.to_owned(), source }
}
