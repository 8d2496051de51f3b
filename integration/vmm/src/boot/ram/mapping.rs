//! Memory of the host, mapped.

use std::fs::File;
use std::io;

use vm_memory::bitmap::{Bitmap, NewBitmap};
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestAddress, MmapRegion};
use vmm_sys_util::fallocate::{FallocateMode, fallocate};

use super::{RamError, huge};
use crate::config::{Backing, Pages};
use crate::host_file;

/// Whether the host is asked now for huge pages that will be used later. It never is for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// So that they are there.
    Now,
    /// Where they may not be needed.
    Later,
}

/// The size of the huge pages that hosts make by themselves, or a multiple of it: x86, and radix
/// translation on POWER.
const HUGE_BYTES: usize = 2 << 20;

/// Maps memory that is to be at `start` in the guest, as [`map`] does: the mapping, and where in it the
/// memory begins. Memory that the host can make of huge pages by itself is where a huge page can be one
/// for the guest, too.
pub(crate) fn map_at<B: NewBitmap>(
    start: GuestAddress,
    backing: Backing,
    bytes: u64,
    reserve: Reserve,
) -> Result<(MmapRegion<B>, usize), RamError> {
    if backing.shared || bytes < HUGE_BYTES as u64 {
        return Ok((map(backing, bytes, reserve)?, 0));
    }
    let more = map(backing, bytes.saturating_add(HUGE_BYTES as u64), reserve);
    let mapping = more.map_err(|error| match error {
        // What was asked for.
        RamError::Map { source, .. } => RamError::Map { bytes, source },
        other => other,
    })?;
    let wanted = start.0 as usize % HUGE_BYTES;
    let offset = wanted.wrapping_sub(mapping.as_ptr() as usize) % HUGE_BYTES;
    Ok((mapping, offset))
}

/// Maps memory that nobody has, all zero. It costs nothing until it is used, huge pages that are
/// reserved aside. Shared memory is a file of its own, without a name.
pub(crate) fn map<B: NewBitmap>(
    backing: Backing,
    bytes: u64,
    reserve: Reserve,
) -> Result<MmapRegion<B>, RamError> {
    let page_bytes = huge::page_bytes(backing.pages)?;
    let is_huge = matches!(backing.pages, Pages::Huge(_));
    if is_huge && bytes % page_bytes != 0 {
        return Err(RamError::PartOfPage { bytes, page_bytes });
    }
    let refused = |source: io::Error| match source.raw_os_error() {
        Some(libc::ENOMEM | libc::ENOSPC) if is_huge => huge::too_few(bytes, page_bytes),
        _ => RamError::Map { bytes, source },
    };
    let len = usize::try_from(bytes).map_err(|error| refused(io::Error::other(error)))?;
    let mut builder = MmapRegionBuilder::new_with_bitmap(len, B::with_len(len))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_hugetlbfs(is_huge);
    let mut flags = match backing.shared {
        true => libc::MAP_SHARED,
        false => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    };
    if !is_huge || reserve == Reserve::Later {
        flags |= libc::MAP_NORESERVE;
    }
    if backing.shared {
        let file = file(is_huge.then_some(page_bytes)).and_then(|file| {
            file.set_len(bytes)?;
            Ok(file)
        });
        builder = builder.with_file_offset(FileOffset::new(file.map_err(refused)?, 0));
    }
    let mapping = builder.with_mmap_flags(flags).build().map_err(|error| match error {
        MmapRegionError::Mmap(source) => refused(source),
        other => refused(io::Error::other(other)),
    })?;
    if !backing.shared {
        // A kernel that makes no huge pages by itself says so: it is as well without.
        let _ = advise(&mapping, 0, bytes, libc::MADV_HUGEPAGE);
    }
    Ok(mapping)
}

fn file(huge_page_bytes: Option<u64>) -> io::Result<File> {
    let pages = huge_page_bytes.map_or(0, |bytes| {
        // The logarithm of the size is above the other flags (memfd_create(2)).
        libc::MFD_HUGETLB | bytes.trailing_zeros() << libc::MAP_HUGE_SHIFT
    });
    host_file::without_a_name(c"pseries-ram", pages)
}

/// Gives memory back to the host, of `bytes` bytes from `offset` on, both whole pages: it is zero
/// again, and costs nothing until it is used. Nobody may use it meanwhile.
pub(crate) fn give_back<B: Bitmap>(
    mapping: &MmapRegion<B>,
    backing: Backing,
    offset: u64,
    bytes: u64,
) -> Result<(), RamError> {
    match mapping.file_offset() {
        Some(part) => {
            let start = part.start() + offset;
            fallocate(part.file(), FallocateMode::PunchHole, true, start, bytes)
                .map_err(|error| RamError::Clear(error.into()))
        }
        None => {
            debug_assert!(!backing.shared);
            advise(mapping, offset, bytes, libc::MADV_DONTNEED).map_err(RamError::Clear)
        }
    }
}

/// Has a part of private memory be as new, whatever was mapped there: zero, and nothing that costs. Both
/// ends are whole pages. Nobody may use it meanwhile.
pub(super) fn renew<B: Bitmap>(
    mapping: &MmapRegion<B>,
    offset: u64,
    bytes: u64,
) -> Result<(), RamError> {
    debug_assert!(mapping.file_offset().is_none() && offset + bytes <= mapping.size() as u64);
    let start = mapping.as_ptr().wrapping_add(offset as usize);
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
    );
    // SAFETY: within a mapping of ours, which is memory that others change at any time, and stays that.
    let mapped = unsafe { libc::mmap(start.cast(), bytes as usize, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(RamError::Clear(io::Error::last_os_error()));
    }
    let _ = advise(mapping, offset, bytes, libc::MADV_HUGEPAGE);
    Ok(())
}

/// The host is to keep huge pages for all of a mapping that was given back: what was promised went with
/// what was in it.
pub(super) fn reserve_again<B: Bitmap>(
    mapping: &MmapRegion<B>,
    backing: Backing,
) -> Result<(), RamError> {
    let (Pages::Huge(_), Some(part)) = (backing.pages, mapping.file_offset()) else {
        return Ok(());
    };
    // What is promised to one mapping of a file is promised to the file.
    let again = MmapRegionBuilder::<()>::new(mapping.size())
        .with_file_offset(part.clone())
        .with_mmap_prot(libc::PROT_NONE)
        .with_mmap_flags(libc::MAP_SHARED)
        .build();
    match again {
        Ok(_) => Ok(()),
        Err(_) => Err(huge::too_few(mapping.size() as u64, huge::page_bytes(backing.pages)?)),
    }
}

/// Tells the kernel what to do with a part of a mapping, as far as it lies in there.
pub(super) fn advise<B: Bitmap>(
    mapping: &MmapRegion<B>,
    offset: u64,
    bytes: u64,
    advice: libc::c_int,
) -> io::Result<()> {
    let whole = mapping.size() as u64;
    let offset = offset.min(whole);
    let bytes = bytes.min(whole - offset);
    let start = mapping.as_ptr().wrapping_add(offset as usize);
    // SAFETY: the range is within the mapping. Whatever the advice does to what is in it, it is memory
    // of the guest, which is only accessed as what others change at any time.
    match unsafe { libc::madvise(start.cast(), bytes as usize, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
