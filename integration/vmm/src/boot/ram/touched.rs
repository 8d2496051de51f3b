//! Which parts of RAM somebody has used: all others are zero, and cost nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use vm_memory::{FileOffset, GuestMemoryRegion};

use super::huge;
use crate::ram::RamRegion;

/// Looks at what this process, or whoever has its memory, has used.
pub(crate) struct Touched {
    /// `/proc/self/pagemap`; without it, all counts as used.
    pagemap: Option<File>,
    page_bytes: u64,
}

/// Bits of an entry of `/proc/self/pagemap`, of a page that is in RAM, and in swap
/// (Documentation/admin-guide/mm/pagemap.rst of Linux).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

impl Touched {
    pub(crate) fn new() -> Self {
        let pagemap = File::open("/proc/self/pagemap");
        if let Err(error) = &pagemap {
            log::info!("all memory is looked at, as /proc/self/pagemap cannot be read: {error}");
        }
        Self { pagemap: pagemap.ok(), page_bytes: huge::small_page_bytes() }
    }

    /// Which of the pieces of `piece_bytes` each were used, of `count` pieces from `offset` of a region
    /// on. All of them where nobody knows.
    pub(crate) fn pieces(
        &self,
        region: &RamRegion,
        offset: u64,
        piece_bytes: u64,
        count: usize,
    ) -> Vec<bool> {
        let bytes = piece_bytes * count as u64;
        let found = match region.file_offset() {
            Some(file) => of_file(file, offset, piece_bytes, count),
            None => self.of_process(region.pointer(offset as usize) as u64, bytes, piece_bytes),
        };
        found.unwrap_or_else(|_| vec![true; count])
    }

    fn of_process(&self, start: u64, bytes: u64, piece_bytes: u64) -> io::Result<Vec<bool>> {
        let Some(pagemap) = &self.pagemap else { return Err(io::ErrorKind::NotFound.into()) };
        let first = start / self.page_bytes;
        let pages = (start + bytes).div_ceil(self.page_bytes) - first;
        let mut entries = vec![0; pages as usize * 8];
        pagemap.read_exact_at(&mut entries, first * 8)?;
        let mut pieces = vec![false; bytes.div_ceil(piece_bytes) as usize];
        for (page, entry) in (first..).zip(entries.chunks_exact(8)) {
            let entry = entry.try_into().map_or(PRESENT, u64::from_ne_bytes);
            if entry & (PRESENT | SWAPPED) == 0 {
                continue;
            }
            // A page may be in several pieces, or begin before the first.
            let from = (page * self.page_bytes).saturating_sub(start);
            let to = ((page + 1) * self.page_bytes - start).min(bytes);
            for piece in from / piece_bytes..to.div_ceil(piece_bytes) {
                pieces[piece as usize] = true;
            }
        }
        Ok(pieces)
    }
}

/// Memory of a file: what is in none of its holes.
fn of_file(
    file: &FileOffset,
    offset: u64,
    piece_bytes: u64,
    count: usize,
) -> io::Result<Vec<bool>> {
    let start = file.start() + offset;
    let end = start + piece_bytes * count as u64;
    let mut pieces = vec![false; count];
    let mut at = start;
    while at < end {
        let Some(data) = seek(file.file(), at, libc::SEEK_DATA)? else { break };
        if data >= end {
            break;
        }
        let hole = seek(file.file(), data, libc::SEEK_HOLE)?.unwrap_or(end).min(end);
        for piece in (data - start) / piece_bytes..(hole - start).div_ceil(piece_bytes) {
            pieces[piece as usize] = true;
        }
        at = hole.max(data + 1);
    }
    Ok(pieces)
}

/// Where there is data, or a hole, from a place on; `None` behind the last.
fn seek(file: &File, from: u64, whence: libc::c_int) -> io::Result<Option<u64>> {
    let from = libc::off_t::try_from(from).map_err(io::Error::other)?;
    // SAFETY: of a file of ours, whose position nobody uses.
    match unsafe { libc::lseek(file.as_raw_fd(), from, whence) } {
        at @ 0.. => Ok(Some(at as u64)),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error => Err(error),
        },
    }
}
