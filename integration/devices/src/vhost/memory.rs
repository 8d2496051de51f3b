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

/// All of guest memory, in as few ranges as can be: others have limits on their number. What is not
/// memory of this process is an error.
pub(crate) fn regions<M: GuestMemory>(memory: &M) -> io::Result<Vec<Region>> {
    collect(memory, Region::is_followed_by)
}

/// The same for who accesses it as this process does, and does not care what files it is.
pub(crate) fn ranges<M: GuestMemory>(memory: &M) -> io::Result<Vec<Region>> {
    collect(memory, Region::adjoins)
}

fn collect<M: GuestMemory>(
    memory: &M,
    are_one: fn(&Region, &Region) -> bool,
) -> io::Result<Vec<Region>> {
    let physical = memory.physical_memory().ok_or_else(not_here)?;
    let region_of = |region: &<M::PhysicalMemory as GuestMemoryBackend>::R| {
        let host = region.get_host_address(MemoryRegionAddress(0)).map_err(|_| not_here())?;
        let file = region.file_offset().map(|file| (file.file().as_raw_fd(), file.start()));
        let (guest, bytes) = (region.start_addr().0, region.len());
        io::Result::Ok(Region { guest, bytes, host: host.addr() as u64, file })
    };
    let all = physical.iter().map(region_of).collect::<io::Result<Vec<_>>>()?;
    Ok(merged(all, are_one))
}

fn merged(all: Vec<Region>, are_one: fn(&Region, &Region) -> bool) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for next in all {
        match regions.last_mut().filter(|last| are_one(last, &next)) {
            Some(last) => last.bytes += next.bytes,
            None => regions.push(next),
        }
    }
    regions
}

impl Region {
    /// Whether the other one goes on where this one ends: for the guest, in this process and in the
    /// same file.
    fn is_followed_by(&self, next: &Self) -> bool {
        let file = self.file.and_then(|(file, at)| Some((file, at.checked_add(self.bytes)?)));
        file == next.file && self.file.is_some() && self.adjoins(next)
    }

    /// The same, whatever the files are.
    fn adjoins(&self, next: &Self) -> bool {
        self.guest.checked_add(self.bytes) == Some(next.guest)
            && self.host.checked_add(self.bytes) == Some(next.host)
    }
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

/// An address behind all of guest memory, however much of it is plugged: no POWER processor has so
/// many bits of it.
pub(crate) const BEHIND: u64 = 1 << 60;

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
    }

    #[test]
    fn ranges_that_go_on_are_one() {
        let (file, host) = (Some((3, 0x8000)), 0x7000_0000);
        let first = Region { guest: 0x1000, bytes: 0x1000, host, file };
        let next = Region { guest: 0x2000, host: host + 0x1000, file: Some((3, 0x9000)), ..first };
        assert!(first.is_followed_by(&next));
        for apart in [
            Region { guest: 0x3000, ..next },
            Region { host: host + 0x2000, ..next },
            Region { file: Some((4, 0x9000)), ..next },
            Region { file: Some((3, 0x8000)), ..next },
            Region { file: None, ..next },
        ] {
            assert!(!first.is_followed_by(&apart), "{apart:?}");
        }
        assert!(!Region { file: None, ..first }.is_followed_by(&Region { file: None, ..next }));
        assert!(!Region { guest: u64::MAX, ..first }.is_followed_by(&next));
    }

    #[test]
    fn files_make_no_difference_in_this_process() {
        let (bytes, host) = (0x1000, 0x7000_0000);
        let at = |guest, host, file| Region { guest, bytes, host, file };
        let all = vec![
            at(0, host, None),
            at(0x1000, host + 0x1000, None),
            at(0x2000, host + 0x2000, Some((3, 0))),
            at(0x3000, host + 0x3000, Some((4, 0))),
            // Apart for the guest, and in this process.
            at(0x5000, host + 0x4000, Some((4, 0x1000))),
            at(0x6000, host + 0x9000, None),
        ];
        assert_eq!(merged(all.clone(), Region::is_followed_by), all);
        let expected = [Region { bytes: 0x4000, ..all[0] }, all[4], all[5]];
        assert_eq!(merged(all, Region::adjoins), expected);
    }
}
