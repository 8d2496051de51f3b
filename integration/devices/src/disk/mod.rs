//! Disks, whoever uses them: a virtio block device, or a package of Open Firmware.

#[cfg(feature = "vof")]
mod client;
mod direct;
mod error;
mod file;
mod file_lock;
mod flush;
mod format;
pub(crate) mod host;

use std::io;

#[cfg(feature = "vof")]
pub use client::ClientDisk;
pub use error::{DiskError, DiskFault};
pub use file::{DiskOptions, FileDisk};
pub use format::ImageType;
pub(crate) use host::{allocate_ahead, lock as lock_file, unlock as unlock_file};

use crate::iovec::{Gather, Scatter};

/// What offsets and lengths are multiples of, in bytes.
pub const SECTOR_BYTES: u64 = 512;

/// Something that has blocks of bytes.
///
/// Called by several threads at once: nobody waits for another's transfer, but for another's flush. Offsets and lengths are
/// multiples of [`SECTOR_BYTES`]; what is not inside the disk is an error, and nothing happens. An
/// error is told to the guest as one of its disk. After an error of a read or a write, part of it
/// may have been made.
pub trait Disk: Send + Sync {
    /// How many bytes it has: a multiple of [`SECTOR_BYTES`], not 0.
    fn size_bytes(&self) -> u64;

    /// The units that it is best accessed in.
    fn block_sizes(&self) -> BlockSizes;

    /// Whether all but reads fail.
    fn is_read_only(&self) -> bool;

    /// What the guest is told as its serial number.
    fn id(&self) -> &str;

    /// Fills all of `to` with what is there from `offset` on.
    ///
    /// # Errors
    /// What the host says; `UnexpectedEof` where a file has become shorter.
    fn read_at(&self, to: &mut Scatter<'_>, offset: u64) -> io::Result<()>;

    /// The same, if the host has it at hand; else nothing is waited for, and `false` comes back: what
    /// is in `to` is nobody's then. A disk that cannot tell says `false`.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn try_read_at(&self, to: &mut Scatter<'_>, offset: u64) -> io::Result<bool> {
        let _ = (to, offset);
        Ok(false)
    }

    /// Whether [`write_at`](Self::write_at) waits for the disk, and not only for memory of the host.
    fn write_waits(&self) -> bool {
        true
    }

    /// Writes all of `from`, from `offset` on. It need not last until [`flush`](Self::flush).
    ///
    /// # Errors
    /// What the host says, such as that there is no space.
    fn write_at(&self, from: &mut Gather<'_>, offset: u64) -> io::Result<()>;

    /// Makes last, whatever happens to the host, what was written before the call.
    ///
    /// # Errors
    /// What the host says. If it has lost anything, this fails from then on: there is no way to tell
    /// what is missing.
    fn flush(&self) -> io::Result<()>;

    /// What is there is not needed any more: it may read as anything.
    ///
    /// # Errors
    /// What the host says. A host that cannot give space back is none.
    fn discard(&self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Takes the lock of a disk that was opened without it or has let go of it, before it is used. A
    /// disk that has its lock, or none at all, is not changed.
    ///
    /// # Errors
    /// [`DiskError`]: somebody else has it, or what the host says.
    fn lock(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Lets go of its lock, so that another process can have the disk. Nobody uses it from here on,
    /// unless it is [locked](Self::lock) again; what was written and is to be seen on other hosts was
    /// [flushed](Self::flush) before.
    fn unlock(&self) {}

    /// Makes it read as zeros. The space is given back only if that is allowed.
    ///
    /// # Errors
    /// What the host says, such as that there is no space.
    fn write_zeroes(&self, offset: u64, bytes: u64, may_unmap: bool) -> io::Result<()>;
}

/// The units that a disk is accessed in: powers of two, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockSizes {
    /// The unit that partition tables count in.
    pub logical: u32,
    /// The unit in which a write does not take a read; not less than `logical`.
    pub physical: u32,
}

impl BlockSizes {
    /// Of these sizes; what is no power of two from 512 on is taken as 512.
    pub fn new(logical: u32, physical: u32) -> Self {
        let valid = |bytes: u32| {
            if bytes.is_power_of_two() { bytes.max(SECTOR_BYTES as u32) } else { 512 }
        };
        let logical = valid(logical);
        Self { logical, physical: valid(physical).max(logical) }
    }
}

#[cfg(test)]
mod tests;
