//! Going through memory that is there from the start of a machine on, by several threads: to take it
//! from the host, or to write it over.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestMemoryRegion, MmapRegion, VolatileMemory};

use super::mapping::advise;
use super::{RamError, huge};
use crate::config::{Backing, Size};
use crate::confine::{self, Role};
use crate::locks::lock;
use crate::logger;
use crate::ram::RamRegion;

/// What a thread does before it looks whether to go on.
const CHUNK_BYTES: u64 = 64 << 20;

/// More threads are no faster: memory is what they wait for.
const MAX_THREADS: usize = 16;

/// How often it is looked whether to go on; and after how long, and then how often, it is told how far
/// it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const TELL_EVERY: Duration = Duration::from_secs(3);

/// What is written over memory.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What becomes of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sweep {
    /// It is all zero, and is taken from the host.
    Populate,
    /// It is the guest's, and is to be zero again.
    Zero,
}

/// A mapping that is gone through.
pub(super) struct Piece {
    mapping: Arc<MmapRegion>,
    /// What of it.
    offset: u64,
    bytes: u64,
    /// The size of its pages.
    page_bytes: u64,
}

/// Goes through all of `pieces`. `false` when `stops` said that it is not to go on.
pub(super) fn run(
    what: Sweep,
    pieces: &[Piece],
    stops: &dyn Fn() -> bool,
) -> Result<bool, RamError> {
    run_with(what, pieces, stops, &available_bytes)
}

/// As [`run`], on a host of which `available` says how much memory it has to give.
fn run_with(
    what: Sweep,
    pieces: &[Piece],
    stops: &dyn Fn() -> bool,
    available: &(dyn Fn() -> Option<u64> + Sync),
) -> Result<bool, RamError> {
    let chunks = chunks(pieces);
    if chunks.is_empty() {
        return Ok(true);
    }
    let all: u64 = chunks.iter().map(|chunk| chunk.bytes).sum();
    let small: u64 =
        chunks.iter().filter(|chunk| !chunk.piece.is_huge()).map(|chunk| chunk.bytes).sum();
    // What is in huge pages has been promised.
    if what == Sweep::Populate {
        check(small, available)?;
    }
    let job = Job {
        what,
        chunks: &chunks,
        next: AtomicU64::new(0),
        done_bytes: AtomicU64::new(0),
        stops: AtomicBool::new(false),
        failure: Mutex::new(None),
        available,
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(MAX_THREADS).min(chunks.len());
    let (finished, ends) = channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let finished = finished.clone();
            let started = thread::Builder::new().name("memory".to_owned()).spawn_scoped(scope, {
                let job = &job;
                move || {
                    confine::begin(Role::Memory);
                    job.work();
                    drop(finished);
                }
            });
            // One that is missing is no harm as long as there is another: this one.
            if started.is_err() {
                job.work();
            }
        }
        drop(finished);
        let start = Instant::now();
        let mut told = TELL_EVERY;
        while ends.recv_timeout(LOOK_EVERY) == Err::<(), _>(RecvTimeoutError::Timeout) {
            if stops() {
                job.stops.store(true, Ordering::Relaxed);
            }
            if start.elapsed() >= told {
                told += TELL_EVERY;
                tell(what, job.done_bytes.load(Ordering::Relaxed), all);
            }
        }
    });
    let failure = job.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failure {
        Some(error) => Err(error),
        None => Ok(job.done_bytes.into_inner() == all),
    }
}

fn tell(what: Sweep, done: u64, all: u64) {
    let what = match what {
        Sweep::Populate => "taking memory for the guest",
        Sweep::Zero => "clearing the guest's memory",
    };
    // In units that do not change from line to line.
    let mib = |bytes: u64| Size(bytes >> 20 << 20);
    logger::tell(&format!("{what}: {} of {}", mib(done), Size(all)));
}

/// What a thread does at once.
struct Chunk<'a> {
    piece: &'a Piece,
    offset: u64,
    bytes: u64,
}

fn chunks(pieces: &[Piece]) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    for piece in pieces {
        let end = piece.offset + piece.bytes;
        let step = CHUNK_BYTES.max(piece.page_bytes);
        let mut offset = piece.offset;
        while offset < end {
            let bytes = step.min(end - offset);
            chunks.push(Chunk { piece, offset, bytes });
            offset += bytes;
        }
    }
    chunks
}

struct Job<'a> {
    what: Sweep,
    chunks: &'a [Chunk<'a>],
    next: AtomicU64,
    done_bytes: AtomicU64,
    stops: AtomicBool,
    failure: Mutex<Option<RamError>>,
    available: &'a (dyn Fn() -> Option<u64> + Sync),
}

impl Job<'_> {
    /// Does one chunk after the other, until there are no more, or one could not be done.
    fn work(&self) {
        while !self.stops.load(Ordering::Relaxed) {
            let next = self.next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some(chunk) = self.chunks.get(next) else { return };
            match self.sweep(chunk) {
                Ok(()) => {
                    self.done_bytes.fetch_add(chunk.bytes, Ordering::Relaxed);
                }
                Err(error) => {
                    self.stops.store(true, Ordering::Relaxed);
                    let mut first = lock(&self.failure);
                    first.get_or_insert(error);
                }
            }
        }
    }

    fn sweep(&self, chunk: &Chunk<'_>) -> Result<(), RamError> {
        match self.what {
            Sweep::Zero => zero(chunk).map_err(RamError::Clear),
            Sweep::Populate => {
                if !chunk.piece.is_huge() {
                    // Others take memory, too: what is missing now would end this process.
                    check(chunk.bytes, self.available)?;
                }
                populate(chunk).map_err(|source| RamError::Populate { bytes: chunk.bytes, source })
            }
        }
    }
}

impl Piece {
    /// All of a region, which is had in this way.
    pub(super) fn of(region: &RamRegion, backing: Backing) -> Result<Self, RamError> {
        Ok(Self {
            mapping: region.mapping().clone(),
            offset: region.offset(),
            bytes: region.len(),
            page_bytes: huge::page_bytes(backing.pages)?,
        })
    }

    fn is_huge(&self) -> bool {
        self.mapping.is_hugetlbfs() == Some(true)
    }
}

/// Takes memory from the host.
fn populate(chunk: &Chunk<'_>) -> io::Result<()> {
    let Chunk { piece, offset, bytes } = *chunk;
    loop {
        let advised = advise(&*piece.mapping, offset, bytes, libc::MADV_POPULATE_WRITE);
        match advised.map_err(|error| (error.raw_os_error(), error)) {
            Err((Some(libc::EINTR | libc::EAGAIN), _)) => {}
            // A kernel that does not know it (Linux before 5.14).
            Err((Some(libc::EINVAL), _)) => return touch(chunk),
            advised => return advised.map_err(|(_, error)| error),
        }
    }
}

/// Takes memory from the host that is all zero, page by page.
fn touch(chunk: &Chunk<'_>) -> io::Result<()> {
    let memory = slice(chunk)?;
    let mut offset = 0;
    while offset < chunk.bytes {
        memory.write_obj(0_u8, offset as usize).map_err(io::Error::other)?;
        offset += chunk.piece.page_bytes;
    }
    Ok(())
}

fn zero(chunk: &Chunk<'_>) -> io::Result<()> {
    let memory = slice(chunk)?;
    let mut offset = 0;
    while offset < chunk.bytes {
        let bytes = (ZEROS.len() as u64).min(chunk.bytes - offset);
        memory.write_slice(&ZEROS[..bytes as usize], offset as usize).map_err(io::Error::other)?;
        offset += bytes;
    }
    Ok(())
}

fn slice<'a>(chunk: &Chunk<'a>) -> io::Result<vm_memory::VolatileSlice<'a>> {
    let (offset, bytes) = (chunk.offset as usize, chunk.bytes as usize);
    chunk.piece.mapping.get_slice(offset, bytes).map_err(io::Error::other)
}

fn check(bytes: u64, available: &dyn Fn() -> Option<u64>) -> Result<(), RamError> {
    match available() {
        Some(available) if available < bytes => Err(RamError::TooMuchAtOnce { bytes, available }),
        _ => Ok(()),
    }
}

/// How much memory the host can give without ending a process; `None` where it does not say.
fn available_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name| huge::kib_of(&meminfo, name);
    let swap = kib("SwapFree").unwrap_or(0);
    Some(kib("MemAvailable")?.saturating_add(swap) << 10)
}

#[cfg(test)]
mod tests {
    use super::super::mapping::{Reserve, map};
    use super::*;

    fn piece(backing: Backing, bytes: u64) -> Piece {
        let mapping = Arc::new(map(backing, bytes, Reserve::Now).unwrap());
        let page_bytes = huge::page_bytes(backing.pages).unwrap();
        Piece { mapping, offset: 0, bytes, page_bytes }
    }

    /// How many of its pages are there, as mincore(2) says.
    fn resident(piece: &Piece) -> u64 {
        let pages = piece.mapping.size() as u64 / piece.page_bytes;
        let mut there = vec![0_u8; pages as usize];
        let start = piece.mapping.as_ptr().cast();
        // SAFETY: of a mapping of ours; a byte a page is written.
        let done = unsafe { libc::mincore(start, piece.mapping.size(), there.as_mut_ptr()) };
        assert_eq!(done, 0);
        there.iter().filter(|page| **page & 1 != 0).count() as u64
    }

    const BYTES: u64 = CHUNK_BYTES + (1 << 20);

    #[test]
    fn all_of_it_is_taken_and_stays_when_it_is_cleared() {
        let (shared, private) = (Backing::default().shared(), Backing::default());
        let pieces = [piece(shared, BYTES), piece(private, 1 << 20)];
        assert_eq!(pieces.iter().map(resident).sum::<u64>(), 0);
        assert!(run(Sweep::Populate, &pieces, &|| false).unwrap());
        let all = |piece: &Piece| piece.mapping.size() as u64 / piece.page_bytes;
        assert!(pieces.iter().all(|piece| resident(piece) == all(piece)));
        for piece in &pieces {
            let memory = piece.mapping.as_volatile_slice();
            for at in [0, piece.mapping.size() - 8] {
                memory.write_obj(u64::MAX, at).unwrap();
            }
        }
        assert!(run(Sweep::Zero, &pieces, &|| false).unwrap());
        for piece in &pieces {
            let memory = piece.mapping.as_volatile_slice();
            for at in [0, piece.mapping.size() - 8] {
                assert_eq!(memory.read_obj::<u64>(at).unwrap(), 0);
            }
            assert_eq!(resident(piece), all(piece));
        }
    }

    #[test]
    fn kernels_that_cannot_take_it_at_once_have_it_touched() {
        let piece = piece(Backing::default(), 1 << 20);
        touch(&Chunk { piece: &piece, offset: 0, bytes: 1 << 20 }).unwrap();
        assert_eq!(resident(&piece), (1 << 20) / piece.page_bytes);
    }

    #[test]
    fn it_stops_when_somebody_wants_it_to() {
        let pieces = [piece(Backing::default(), 64 * CHUNK_BYTES)];
        assert!(!run(Sweep::Zero, &pieces, &|| true).unwrap());
    }

    #[test]
    fn what_the_host_has_not_is_told_before_it_is_taken() {
        let pieces = [piece(Backing::default(), BYTES)];
        let available = || Some(BYTES - 1);
        let error = run_with(Sweep::Populate, &pieces, &|| false, &available).unwrap_err();
        assert!(
            matches!(error, RamError::TooMuchAtOnce { bytes: BYTES, available } if available == BYTES - 1)
        );
        assert_eq!(resident(&pieces[0]), 0);
        // It was enough, and then is not.
        let asked = AtomicU64::new(0);
        let available = || Some(if asked.fetch_add(1, Ordering::Relaxed) == 0 { BYTES } else { 0 });
        let error = run_with(Sweep::Populate, &pieces, &|| false, &available).unwrap_err();
        assert!(error.to_string().contains("this host has 0 of memory"), "{error}");
        assert!(available_bytes().is_some_and(|bytes| bytes > 0));
    }
}
