//! Files that are read straight into RAM, by several threads.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use arch_ppc64::{FillError, MemoryFault};
use vm_memory::bitmap::{Bitmap, BitmapSlice};
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileSlice};

use super::huge;
use crate::confine::{self, Role};
use crate::locks::lock;
use crate::ram::Ram;

/// What a thread reads at once, from a multiple of it on in the guest: a huge page, which two threads
/// would both wait for.
const PIECE_BYTES: u64 = 2 << 20;

/// For less it is not worth it to start a thread.
const PIECES_A_THREAD: u64 = 4;

/// More threads are no faster: memory is what they wait for.
const MAX_THREADS: u64 = 4;

/// Reads `bytes` bytes from `offset` of a file on to `at`, all of which is RAM.
pub(super) fn fill(
    ram: &Ram,
    at: GuestAddress,
    bytes: u64,
    file: &File,
    offset: u64,
) -> Result<(), FillError> {
    let end = at.0.checked_add(bytes).ok_or(MemoryFault::new(at, usize::MAX))?;
    let job = Job {
        ram,
        file,
        at: at.0,
        end,
        offset,
        next: AtomicU64::new(at.0 / PIECE_BYTES),
        failure: Mutex::default(),
    };
    let threads = (bytes / PIECE_BYTES / PIECES_A_THREAD).min(MAX_THREADS);
    if threads > 1 {
        let cores = thread::available_parallelism().map_or(1, NonZero::get) as u64;
        thread::scope(|scope| {
            for _ in 1..threads.min(cores) {
                // One that is missing is no harm: this one does what others do not.
                let named = thread::Builder::new().name("load".to_owned());
                let _ = named.spawn_scoped(scope, || {
                    confine::begin(Role::Memory);
                    job.work();
                });
            }
            job.work();
        });
    } else {
        job.work();
    }
    let failure = job.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

/// What all threads do.
struct Job<'a> {
    ram: &'a Ram,
    file: &'a File,
    at: u64,
    end: u64,
    offset: u64,
    /// The piece that nobody reads yet.
    next: AtomicU64,
    failure: Mutex<Option<FillError>>,
}

impl Job<'_> {
    fn work(&self) {
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed).saturating_mul(PIECE_BYTES);
            let (from, to) = (piece.max(self.at), piece.saturating_add(PIECE_BYTES).min(self.end));
            if from >= to {
                return;
            }
            if let Err(error) = self.read(from, (to - from) as usize) {
                // The others have nothing left to do.
                self.next.store(self.end.div_ceil(PIECE_BYTES), Ordering::Relaxed);
                let mut first = lock(&self.failure);
                first.get_or_insert(error);
                return;
            }
        }
    }

    fn read(&self, from: u64, bytes: usize) -> Result<(), FillError> {
        let mut offset = self.offset.saturating_add(from - self.at);
        // RAM may be several regions.
        for slice in self.ram.get_slices(GuestAddress(from), bytes) {
            let slice = slice.map_err(|_| MemoryFault::new(GuestAddress(from), bytes))?;
            let read = read_at(self.file, offset, &slice);
            slice.bitmap().mark_dirty(0, slice.len());
            read?;
            offset = offset.saturating_add(slice.len() as u64);
        }
        Ok(())
    }
}

/// Reads a file until a piece of memory is full.
fn read_at<B: BitmapSlice>(file: &File, offset: u64, to: &VolatileSlice<'_, B>) -> io::Result<()> {
    let memory = to.ptr_guard_mut();
    populate(memory.as_ptr(), to.len());
    let mut done = 0;
    while done < to.len() {
        let at = libc::off64_t::try_from(offset.saturating_add(done as u64))
            .map_err(|_| io::ErrorKind::UnexpectedEof)?;
        // SAFETY: the rest of the slice, which is memory of the guest: nobody has a reference to what
        // is in it.
        let count = unsafe {
            let rest = memory.as_ptr().add(done);
            libc::pread64(file.as_raw_fd(), rest.cast(), to.len() - done, at)
        };
        match count {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            1.. => done += count as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Has the host take the pages at once that all of will be written to. Where it cannot, the read takes
/// them one by one.
fn populate(start: *mut u8, bytes: usize) {
    let page = huge::small_page_bytes() as usize;
    let before = start.align_offset(page);
    let whole = bytes.saturating_sub(before) / page * page;
    // SAFETY: whole pages of the guest's memory, whose contents this does not change.
    unsafe { libc::madvise(start.wrapping_add(before).cast(), whole, libc::MADV_POPULATE_WRITE) };
}

#[cfg(test)]
mod tests {
    use super::super::{RamPlan, create};
    use super::*;
    use crate::boot::Stopping;
    use arch_ppc64::GuestRam;
    use arch_ppc64::topology::{MemoryMap, MemoryRange};
    use std::os::unix::fs::FileExt;

    const MIB: u64 = 1 << 20;

    /// A file of so many bytes, each of which tells its place.
    fn file(bytes: u64) -> (File, Vec<u8>) {
        let file = crate::host_file::without_a_name(c"fill", 0).unwrap();
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        file.write_all_at(&content, 0).unwrap();
        (file, content)
    }

    #[test]
    fn all_of_a_file_comes_to_its_place_across_regions() {
        // Zones that are had in two ways are two regions.
        let map = [MemoryRange::ram(GuestAddress(0), 24 * MIB)];
        let split = RamPlan {
            parts: vec![
                (GuestAddress(0), crate::config::Backing::default()),
                (GuestAddress(11 * MIB), crate::config::Backing::default().shared()),
            ],
        };
        let map2 = [
            MemoryRange::ram(GuestAddress(0), 11 * MIB),
            MemoryRange::ram(GuestAddress(11 * MIB), 13 * MIB),
        ];
        for (map, plan) in
            [(MemoryMap::new(map), RamPlan::default()), (MemoryMap::new(map2), split)]
        {
            let ram = create(&map.unwrap(), &plan, &Stopping::new(|| false)).unwrap();
            let (file, content) = file(20 * MIB + 13);
            let at = MIB + 0x123;
            ram.fill(GuestAddress(at), 20 * MIB, &file, 7).unwrap();
            let mut found = vec![0; 20 * MIB as usize + 2];
            ram.read(GuestAddress(at - 1), &mut found).unwrap();
            assert_eq!((found[0], found[found.len() - 1]), (0, 0));
            assert!(found[1..found.len() - 1] == content[7..20 * MIB as usize + 7]);
            // Small ones, and none.
            ram.fill(GuestAddress(24 * MIB - 1), 1, &file, 3).unwrap();
            ram.fill(GuestAddress(24 * MIB), 0, &file, 3).unwrap();
            for (at, bytes, offset) in
                [(0, 20 * MIB, 14), (0, 8, u64::MAX - 7), (0, 8, 21 * MIB), (0, 8, 1 << 63)]
            {
                let error = ram.fill(GuestAddress(at), bytes, &file, offset).unwrap_err();
                let FillError::File(error) = error else { panic!("{error}") };
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
            for (at, bytes) in [(24 * MIB - 4, 8), (0, u64::MAX), (u64::MAX, 2)] {
                let error = ram.fill(GuestAddress(at), bytes, &file, 0).unwrap_err();
                assert!(matches!(error, FillError::Ram(_)), "{error}");
            }
        }
    }

    #[test]
    fn what_is_read_is_noted_as_written() {
        let map = MemoryMap::of_size(64 * MIB).unwrap();
        let ram = create(&map, &RamPlan::default(), &Stopping::new(|| false)).unwrap();
        let pages = crate::ram::HostRam::regions(&ram)[0].pages.clone().unwrap();
        pages.start_log();
        let (file, _) = file(8 * MIB);
        ram.fill(GuestAddress(MIB + 8), 8 * MIB - 8, &file, 8).unwrap();
        let dirty = |at: u64| pages.dirty_at(at as usize);
        assert!(!dirty(MIB - 1) && dirty(MIB) && dirty(9 * MIB - 1) && !dirty(9 * MIB));
    }
}
