//! Whose a file is: locks that are taken with it, or handed over.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::error::DiskFault;
use super::host;

/// The lock of a disk's file, taken or not.
#[derive(Debug)]
pub(super) struct FileLock {
    to_write: bool,
    /// The number of a block device of the host.
    device: Option<u64>,
    taken: Mutex<Option<Taken>>,
}

/// Holds what has to be held besides the file itself.
#[derive(Debug)]
struct Taken {
    /// A device that is open like this is nobody's else, and is not mounted.
    _claim: Option<File>,
}

impl FileLock {
    /// That of a file which is to be written to, or only read; not taken.
    pub(super) fn new(metadata: &Metadata, to_write: bool) -> Self {
        let is_device = metadata.file_type().is_block_device();
        Self { to_write, device: is_device.then(|| metadata.rdev()), taken: Mutex::default() }
    }

    /// Takes it: against everybody else if the file is written to, else against those that write.
    /// False where it was taken before.
    ///
    /// # Errors
    /// [`DiskFault::InUse`], or what the host says.
    pub(super) fn take(&self, file: &File, path: &Path) -> Result<bool, DiskFault> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_some() {
            return Ok(false);
        }
        let in_use = DiskFault::InUse { to_write: self.to_write };
        match host::lock(file, self.to_write) {
            Ok(true) => {}
            Ok(false) => return Err(in_use),
            // Nobody else can lock it there, either.
            Err(error) if host::cannot(&error) || error.raw_os_error() == Some(libc::ENOLCK) => {
                log::warn!("{}: it cannot be locked against other users: {error}", path.display());
            }
            Err(error) => return Err(DiskFault::Host(error)),
        }
        let claim = match self.device.filter(|_| self.to_write).map(|number| claim(path, number)) {
            None => None,
            Some(Ok(claim)) => Some(claim),
            Some(Err(error)) => {
                host::unlock(file);
                let is_claimed = error.raw_os_error() == Some(libc::EBUSY);
                return Err(if is_claimed { in_use } else { DiskFault::Host(error) });
            }
        };
        *taken = Some(Taken { _claim: claim });
        Ok(true)
    }

    /// Lets go of it.
    pub(super) fn release(&self, file: &File) {
        if self.taken.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            host::unlock(file);
        }
    }
}

/// Opens a block device once more, which fails while the host has it mounted or somebody else does so.
fn claim(path: &Path, number: u64) -> io::Result<File> {
    let flags = libc::O_EXCL | libc::O_NONBLOCK | libc::O_NOCTTY;
    let claim = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match claim.metadata()? {
        found if found.file_type().is_block_device() && found.rdev() == number => Ok(claim),
        _ => Err(io::Error::other("there is another device by now")),
    }
}
