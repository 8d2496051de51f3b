//! Guest memory as others map it.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;

use vm_memory::{
    FileOffset, GuestAddress, GuestMemory, GuestMemoryBackend, GuestMemoryRegion,
    MemoryRegionAddress, MmapRegion,
};

/// A range of memory that the worker gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    /// Where it is for the guest.
    pub(crate) guest: u64,
    pub(crate) bytes: u64,
    /// Where it is in this process.
    pub(crate) host: u64,
    /// The file that it is, and where it begins there. Open for as long as the memory is there.
    pub(crate) file: Option<(RawFd, u64)>,
}

/// All of guest memory. What is not memory of this process is an error.
pub(crate) fn regions<M: GuestMemory>(memory: &M) -> io::Result<Vec<Region>> {
    let physical = memory.physical_memory().ok_or_else(not_here)?;
    let region_of = |region: &<M::PhysicalMemory as GuestMemoryBackend>::R| {
        let host = region.get_host_address(MemoryRegionAddress(0)).map_err(|_| not_here())?;
        let file = region.file_offset().map(|file| (file.file().as_raw_fd(), file.start()));
        let (guest, bytes) = (region.start_addr().0, region.len());
        Ok(Region { guest, bytes, host: host.addr() as u64, file })
    };
    physical.iter().map(region_of).collect()
}

/// Where something in guest memory is in this process, all of it in one region.
pub(crate) fn host_address<M: GuestMemory>(
    memory: &M,
    at: GuestAddress,
    bytes: u64,
) -> io::Result<u64> {
    let physical = memory.physical_memory().ok_or_else(not_here)?;
    let apart = || io::Error::new(io::ErrorKind::InvalidInput, "a ring is not in one region");
    let (region, offset) = physical.to_region_addr(at).ok_or_else(apart)?;
    if region.len() - offset.0 < bytes {
        return Err(apart());
    }
    let host = region.get_host_address(offset).map_err(|_| not_here())?;
    Ok(host.addr() as u64)
}

/// The first address behind all of guest memory, to a multiple of 2 MiB; 0 if there is none.
pub(crate) fn end(regions: &[Region]) -> u64 {
    let ends = regions.iter().map(|region| region.guest.saturating_add(region.bytes));
    ends.max().unwrap_or(0).checked_next_multiple_of(2 << 20).unwrap_or(0)
}

/// New memory of this process that can be given to others, all zero.
pub(crate) fn shared(bytes: usize) -> io::Result<Arc<MmapRegion>> {
    // SAFETY: the name is a string with a zero at its end.
    let file = unsafe { libc::memfd_create(c"pseries-rings".as_ptr(), libc::MFD_CLOEXEC) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made and is nobody else's.
    let file = unsafe { File::from_raw_fd(file) };
    file.set_len(bytes as u64)?;
    let region = MmapRegion::from_file(FileOffset::new(file, 0), bytes);
    Ok(Arc::new(region.map_err(io::Error::other)?))
}

fn not_here() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "guest memory is not memory of this process")
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestMemoryMmap;

    use super::*;

    #[test]
    fn places_are_found_in_one_region() {
        let ranges = [(GuestAddress(0), 0x1000), (GuestAddress(0x1000), 0x1000)];
        let memory = GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap();
        let regions = regions(&memory).unwrap();
        assert_eq!(regions.len(), 2);
        assert!(regions.iter().all(|region| region.file.is_none() && region.bytes == 0x1000));
        let at = |at, bytes| host_address(&memory, GuestAddress(at), bytes).ok();
        assert_eq!(at(0x10, 0xff0), Some(regions[0].host + 0x10));
        assert_eq!(at(0x1000, 1), Some(regions[1].host));
        assert_eq!(at(0x10, 0xff1), None);
        assert_eq!(at(0x2000, 1), None);
        assert_eq!(at(u64::MAX, 1), None);
        assert_eq!(end(&regions), 2 << 20);
        assert_eq!(end(&[Region { guest: u64::MAX, ..regions[0] }]), 0);
    }
}
