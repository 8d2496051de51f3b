//! What the machine needs of guest memory, and nothing more.

use std::io;

use vm_memory::bitmap::BitmapSlice;
use vm_memory::{Bytes, GuestAddress, VolatileMemoryError, VolatileSlice, WriteVolatile};

/// An access that touched an address where the guest has no RAM.
///
/// Nothing was transferred that the caller may rely on. Handlers turn it into the error value of
/// the interface they implement; it never ends the VMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at guest real address {:#x} are not all RAM", .at.0)]
#[non_exhaustive]
pub struct MemoryFault {
    /// First real address of the access.
    pub at: GuestAddress,
    /// Length of the access in bytes.
    pub len: usize,
}

impl MemoryFault {
    /// Of an access to `len` bytes at `at`.
    pub const fn new(at: GuestAddress, len: usize) -> Self {
        Self { at, len }
    }
}

/// Why a file is not, or not all, in guest memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FillError {
    /// There is no RAM for it.
    #[error(transparent)]
    Ram(#[from] MemoryFault),
    /// The file cannot be read, or it is shorter ([`io::ErrorKind::UnexpectedEof`]).
    #[error("cannot read it")]
    File(#[from] io::Error),
}

/// Guest RAM as the hypercall handlers see it: bytes at real addresses.
///
/// vm-memory's own traits are generic and so cannot be passed as `&dyn`; this one can. It is
/// implemented for everything that is `Bytes<GuestAddress>`, which covers `GuestMemoryMmap` with
/// and without dirty tracking: every write goes through [`Bytes`], so dirty bitmaps stay true.
///
/// ```
/// use arch_ppc64::GuestRam;
/// use vm_memory::{GuestAddress, GuestMemoryMmap};
///
/// let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)])?;
/// let ram: &dyn GuestRam = &memory;
/// ram.write_be_u32(GuestAddress(0x100), 0x4800_0000)?;
/// assert_eq!(ram.read_be_u32(GuestAddress(0x100))?, 0x4800_0000);
/// assert!(ram.read_be_u32(GuestAddress(0xffff)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait GuestRam: Send + Sync {
    /// Fills `buf` from guest memory at `at`.
    ///
    /// # Errors
    /// [`MemoryFault`] if a byte of the range is not RAM; `buf` may be partly written then.
    fn read(&self, at: GuestAddress, buf: &mut [u8]) -> Result<(), MemoryFault>;

    /// Copies `data` into guest memory at `at`.
    ///
    /// # Errors
    /// [`MemoryFault`] if a byte of the range is not RAM; a leading part may have been written.
    fn write(&self, at: GuestAddress, data: &[u8]) -> Result<(), MemoryFault>;

    /// Fills as much of `buf` as there is RAM for from `at` on, and tells how many bytes that was.
    ///
    /// For structures whose end is found by reading them, such as NUL-terminated strings that
    /// may lie at the very end of RAM. Zero means that `at` itself is not RAM.
    fn read_available(&self, at: GuestAddress, buf: &mut [u8]) -> usize;

    /// Whether the `bytes` from `at` on are RAM, every one of them: RAM may have holes, and so
    /// its being there at both ends says nothing of what lies between. Costs nothing that grows
    /// with `bytes`, for a guest may ask about all of its memory. No bytes are RAM everywhere.
    ///
    /// # Errors
    /// [`MemoryFault`] if a byte of the range is not RAM.
    fn check_ram(&self, at: GuestAddress, bytes: u64) -> Result<(), MemoryFault>;

    /// Fills guest memory at `at` with `bytes` bytes of a file, from `offset` of it on. A kernel is
    /// tens of megabytes.
    ///
    /// They go through a buffer. RAM that is memory of this process can have the host read straight
    /// into it, in several threads, which takes a third of the time: whoever implements this does the
    /// same otherwise, and notes what is written as with [`write`](Self::write).
    ///
    /// # Errors
    /// [`FillError`]; a part of it may have been written.
    #[cfg(unix)]
    fn fill(
        &self,
        at: GuestAddress,
        bytes: u64,
        file: &std::fs::File,
        offset: u64,
    ) -> Result<(), FillError> {
        use std::os::unix::fs::FileExt;
        self.check_ram(at, bytes)?;
        let mut buffer = vec![0; usize::try_from(bytes).map_or(FILL_BYTES, |n| n.min(FILL_BYTES))];
        let mut done = 0;
        while done < bytes {
            let count = (bytes - done).min(FILL_BYTES as u64);
            let piece = buffer.get_mut(..count as usize).unwrap_or_default();
            file.read_exact_at(piece, offset + done)?;
            self.write(GuestAddress(at.0 + done), piece)?;
            done += count;
        }
        Ok(())
    }
}

/// How much of a file is read at once: what a processor's cache takes.
#[cfg(unix)]
const FILL_BYTES: usize = 128 << 10;

impl<M: Bytes<GuestAddress> + Send + Sync + ?Sized> GuestRam for M {
    fn read(&self, at: GuestAddress, buf: &mut [u8]) -> Result<(), MemoryFault> {
        let len = buf.len();
        self.read_slice(buf, at).map_err(|_| MemoryFault::new(at, len))
    }

    fn write(&self, at: GuestAddress, data: &[u8]) -> Result<(), MemoryFault> {
        let len = data.len();
        self.write_slice(data, at).map_err(|_| MemoryFault::new(at, len))
    }

    fn read_available(&self, at: GuestAddress, buf: &mut [u8]) -> usize {
        Bytes::read(self, buf, at).unwrap_or(0)
    }

    fn check_ram(&self, at: GuestAddress, bytes: u64) -> Result<(), MemoryFault> {
        let Ok(len) = usize::try_from(bytes) else {
            return Err(MemoryFault::new(at, usize::MAX));
        };
        if len == 0 {
            return Ok(());
        }
        // Memory hands over its slices one by one, and nobody looks into them.
        self.write_all_volatile_to(at, &mut Unread, len).map_err(|_| MemoryFault::new(at, len))
    }
}

/// Takes slices of memory as they are, without reading them.
struct Unread;

impl WriteVolatile for Unread {
    fn write_volatile<B: BitmapSlice>(
        &mut self,
        slice: &VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        Ok(slice.len())
    }

    fn write_all_volatile<B: BitmapSlice>(
        &mut self,
        _: &VolatileSlice<'_, B>,
    ) -> Result<(), VolatileMemoryError> {
        Ok(())
    }
}

/// Numbers in guest memory. Everything PAPR and IEEE 1275 define is big-endian, whatever the byte
/// order the guest runs in.
impl dyn GuestRam + '_ {
    /// Reads one big-endian 32-bit cell.
    ///
    /// # Errors
    /// [`MemoryFault`] if the cell is not wholly in RAM.
    pub fn read_be_u32(&self, at: GuestAddress) -> Result<u32, MemoryFault> {
        let mut cell = [0; 4];
        self.read(at, &mut cell)?;
        Ok(u32::from_be_bytes(cell))
    }

    /// Writes one big-endian 32-bit cell.
    ///
    /// # Errors
    /// [`MemoryFault`] if the cell is not wholly in RAM.
    pub fn write_be_u32(&self, at: GuestAddress, value: u32) -> Result<(), MemoryFault> {
        self.write(at, &value.to_be_bytes())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use vm_memory::GuestMemoryMmap;

    const MIB: u64 = 1 << 20;

    #[test]
    fn files_come_into_ram() {
        let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[
            (GuestAddress(0), MIB as usize),
            (GuestAddress(2 * MIB), MIB as usize),
        ])
        .unwrap();
        let ram: &dyn GuestRam = &memory;
        // A file that is long enough, and is there: these tests.
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let bytes = 3 * FILL_BYTES as u64 + 17;
        let mut expected = vec![0; bytes as usize];
        file.read_exact_at(&mut expected, 5).unwrap();
        ram.fill(GuestAddress(0x1001), bytes, &file, 5).unwrap();
        let mut found = vec![0; bytes as usize];
        ram.read(GuestAddress(0x1001), &mut found).unwrap();
        assert_eq!(found, expected);

        let end = file.metadata().unwrap().len();
        let error = ram.fill(GuestAddress(0), 8, &file, end - 7).unwrap_err();
        let FillError::File(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        for (at, bytes) in [(MIB - 8, 16), (MIB - 8, MIB + 16), (u64::MAX, 2), (2 * MIB, u64::MAX)]
        {
            let error = ram.fill(GuestAddress(at), bytes, &file, 0).unwrap_err();
            assert!(matches!(error, FillError::Ram(_)), "{at:#x}: {error}");
        }
        ram.fill(GuestAddress(MIB), 0, &file, 0).unwrap();
    }
}
