//! What the client interface needs of a disk.

use std::io;

/// The smallest unit that disks have, in bytes: what their sizes and offsets are multiples of.
pub const SECTOR_BYTES: u64 = 512;

/// A disk of the host, as the client interface needs it: whatever else uses it, such as a virtio
/// device, may do so at the same time.
///
/// Offsets and lengths are multiples of [`SECTOR_BYTES`]; what is not inside the disk is an error,
/// and nothing happens then.
pub trait BlockDevice: Send + Sync {
    /// How many bytes it has.
    fn size_bytes(&self) -> u64;

    /// The unit that clients count its blocks in, in bytes: a power of two from 512 to 16384.
    fn block_bytes(&self) -> u32 {
        SECTOR_BYTES as u32
    }

    /// Whether all but reads fail.
    fn is_read_only(&self) -> bool;

    /// Fills `to` with what is there from `offset` on, if the host has it at hand; else it waits for
    /// nothing, and `false` comes back: what is in `to` is nobody's then.
    ///
    /// A disk that cannot tell says `false`, and is [read](Self::read) from a thread that may wait.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn try_read(&self, to: &mut [u8], offset: u64) -> io::Result<bool> {
        let _ = (to, offset);
        Ok(false)
    }

    /// Whether it is read and written in the clients' calls, however long that takes, and not by a
    /// thread: for runs that are to be the same each time, instruction for instruction. A CPU that
    /// waits for the host cannot be stopped then.
    fn works_in_calls(&self) -> bool {
        false
    }

    /// Fills `to` with what is there from `offset` on. It may wait for the host.
    ///
    /// # Errors
    /// What the host says.
    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `from`, from `offset` on. It may wait for the host.
    ///
    /// # Errors
    /// What the host says, such as that there is no space, or that the disk is only read.
    fn write(&self, from: &[u8], offset: u64) -> io::Result<()>;

    /// Makes last what was written before the call. It may wait for the host.
    ///
    /// # Errors
    /// What the host says.
    fn flush(&self) -> io::Result<()>;
}
