//! What one process does at a time.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::failure::{Attempt, Failure, Result};
use crate::program::progress;

/// Waits until no other process has this lock, a file that is made for it; it is held until what this
/// gives is dropped, or the process ends.
pub(crate) fn take(path: &Path) -> Result<File> {
    let file = File::create(path).attempt(|| format!("write {}", path.display()))?;
    // SAFETY: an operation on an open descriptor, without memory.
    let try_lock = |how| unsafe { libc::flock(file.as_raw_fd(), how) };
    if try_lock(libc::LOCK_EX | libc::LOCK_NB) != 0 {
        progress!("waiting for another process that has {}", path.display());
        if try_lock(libc::LOCK_EX) != 0 {
            let error = std::io::Error::last_os_error();
            return Err(Failure::new(format!("cannot lock {}: {error}", path.display())));
        }
    }
    Ok(file)
}
