//! The decoded pages of a machine, and the host memory that they may take.
//!
//! CPUs of one machine execute the same code, and share what one of them has decoded: a page that
//! is shared is decoded as a whole, and never changes. Each CPU has handles of the pages that it
//! uses, and a page that nobody uses any more stays for the next who does, until there is no room.
//!
//! There is one bound, however many CPUs there are. At the bound, pages that nobody has a handle of
//! make room. When these are few, all CPUs drop their handles: those that execute when they look
//! outside, those that are about to sleep at once, and one that stops in any case. Meanwhile, each
//! CPU has room for a few pages of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::op::{Op, PAGE_OPS};
use crate::page_map::PAGE_BYTES;

/// The most pages of a machine of several CPUs.
const MACHINE_PAGES: usize = 8192;

/// The most pages of the only CPU of a machine: more than a kernel and its programs keep busy.
const CPU_PAGES: usize = 3072;

/// What each CPU can have, whatever the others have.
const LEAST_PAGES: usize = 2;

/// To look through all pages is worth while when so great a part of them makes room.
const WORTH_WHILE: usize = 16;

/// The bytes of a page.
pub(crate) type Source = [u8; PAGE_BYTES as usize];

/// A page of real memory, and how it is decoded.
pub(crate) type Key = (u64, Reading);

/// What a page is decoded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Reading {
    pub(crate) big_endian: bool,
    /// Without the instructions that are newer than the level of the architecture that programs are
    /// held to.
    pub(crate) limited: bool,
}

impl Reading {
    /// All there are.
    pub(crate) const ALL: [Self; 4] = [
        Self { big_endian: false, limited: false },
        Self { big_endian: true, limited: false },
        Self { big_endian: false, limited: true },
        Self { big_endian: true, limited: true },
    ];
}

/// A decoded page.
pub(crate) struct Decoded {
    pub(crate) ops: [Op; PAGE_OPS],
    /// What it is decoded from, where there are several CPUs.
    pub(crate) source: Option<Box<Source>>,
    count: Option<Arc<AtomicUsize>>,
}

impl Decoded {
    fn new(is_smp: bool, count: Option<Arc<AtomicUsize>>) -> Arc<Self> {
        let source = is_smp.then(|| Box::new([0; size_of::<Source>()]));
        Arc::new(Self { ops: [Op::UNDECODED; PAGE_OPS], source, count })
    }
}

impl Drop for Decoded {
    fn drop(&mut self) {
        if let Some(count) = &self.count {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The decoded pages of a machine.
pub(crate) struct Room {
    is_smp: bool,
    /// How many pages there may be, and how many besides what each CPU may always have.
    pages_max: usize,
    shared_max: usize,
    /// How many there are.
    made: Arc<AtomicUsize>,
    shared: Mutex<Shared>,
    /// Counts the times that all CPUs were asked for their pages.
    wanted: AtomicU64,
    /// There is little that makes room.
    is_tight: AtomicBool,
    /// A page of which nothing is decoded.
    empty: Arc<Decoded>,
}

#[derive(Default)]
struct Shared {
    pages: HashMap<Key, Arc<Decoded>>,
    /// Kept for the next who asks: the host's allocator would not reliably give it to another
    /// thread.
    free: Vec<Arc<Decoded>>,
}

impl Room {
    /// Room for so many CPUs.
    pub(crate) fn new(cpus: usize) -> Self {
        match cpus {
            0 | 1 => Self::of_pages(1, CPU_PAGES),
            _ => Self::of_pages(cpus, MACHINE_PAGES),
        }
    }

    /// Room for one page, of one CPU.
    pub(crate) fn of_one_page() -> Self {
        Self::of_pages(1, 1)
    }

    fn of_pages(cpus: usize, pages: usize) -> Self {
        let is_smp = cpus > 1;
        let shared_max = if is_smp { pages.saturating_sub(LEAST_PAGES * cpus) } else { pages };
        let pages_max = if is_smp { shared_max + LEAST_PAGES * cpus } else { pages };
        Self {
            is_smp,
            pages_max,
            shared_max,
            made: Arc::default(),
            shared: Mutex::default(),
            wanted: AtomicU64::new(0),
            is_tight: AtomicBool::new(false),
            empty: Decoded::new(false, None),
        }
    }

    /// The most pages there can be.
    pub(crate) fn pages_max(&self) -> usize {
        self.pages_max
    }

    /// Whether pages are shared.
    pub(crate) fn is_smp(&self) -> bool {
        self.is_smp
    }

    /// A page of which nothing is decoded, to be executed and not to be changed.
    pub(crate) fn empty(&self) -> &Arc<Decoded> {
        &self.empty
    }

    /// A page that is decoded already. It may not be what is there now.
    pub(crate) fn find(&self, key: Key) -> Option<Arc<Decoded>> {
        self.lock().pages.get(&key).cloned()
    }

    /// Shares a page.
    pub(crate) fn share(&self, key: Key, page: &Arc<Decoded>) {
        let mut shared = self.lock();
        if let Some(old) = shared.pages.insert(key, page.clone()) {
            shared.keep(old);
        }
    }

    /// A page that nobody else has, for a CPU that has `has` pages. What it holds is of no meaning.
    /// `None` when the CPU has to give back first.
    pub(crate) fn take(&self, has: usize) -> Option<Arc<Decoded>> {
        let mut shared = self.lock();
        if let Some(page) = shared.free.pop() {
            return Some(page);
        }
        let is_full = || self.made.load(Ordering::Relaxed) >= self.shared_max;
        if is_full() && self.is_smp {
            shared.evict();
            let is_tight = shared.free.len() < (self.shared_max / WORTH_WHILE).max(1);
            self.is_tight.store(is_tight, Ordering::Relaxed);
            self.wanted.fetch_add(is_tight.into(), Ordering::Relaxed);
            if let Some(page) = shared.free.pop() {
                return Some(page);
            }
        }
        if is_full() && !(self.is_smp && has < LEAST_PAGES) {
            return None;
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        Some(Decoded::new(self.is_smp, Some(self.made.clone())))
    }

    /// Takes all pages of a CPU back.
    pub(crate) fn give_back(&self, pages: &mut Vec<Arc<Decoded>>) {
        let mut shared = self.lock();
        for page in pages.drain(..) {
            shared.keep(page);
        }
    }

    /// Takes one page back.
    pub(crate) fn give_back_one(&self, page: Arc<Decoded>) {
        self.lock().keep(page);
    }

    /// A number that changes whenever all CPUs should give their pages back.
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Whether a CPU that cannot be asked for a while should give back what it has.
    pub(crate) fn is_tight(&self) -> bool {
        self.is_tight.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.made.load(Ordering::Relaxed) * self.page_bytes()
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.pages_max * self.page_bytes()
    }

    fn page_bytes(&self) -> usize {
        let source = if self.is_smp { size_of::<Source>() } else { 0 };
        size_of::<[Op; PAGE_OPS]>() + source
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Keeps a page, if nobody has it any more.
    fn keep(&mut self, mut page: Arc<Decoded>) {
        // What is not counted is the empty page.
        if page.count.is_some() && Arc::get_mut(&mut page).is_some() {
            self.free.push(page);
        }
    }

    /// Frees the pages that nobody has a handle of.
    fn evict(&mut self) {
        let unused: Vec<Key> = self
            .pages
            .iter()
            .filter(|(_, page)| Arc::strong_count(page) == 1)
            .map(|(key, _)| *key)
            .collect();
        for key in &unused {
            if let Some(page) = self.pages.remove(key) {
                self.keep(page);
            }
        }
    }
}

impl std::fmt::Debug for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE: Reading = Reading { big_endian: false, limited: false };

    const MIB: usize = 1 << 20;

    /// What `docs/threat-model.md` and the README say.
    #[test]
    fn a_machine_takes_96_mib_at_most() {
        assert_eq!(Room::new(1).bytes_max(), 24 * MIB);
        for cpus in [2, 3, 4, 5, 8, 100, 1000, 2048] {
            assert_eq!(Room::new(cpus).bytes_max(), 96 * MIB, "{cpus} CPUs");
        }
    }

    /// Decodes pages of these numbers for a CPU, as many as it can have.
    fn fill(room: &Room, has: &mut Vec<Arc<Decoded>>, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let page = match room.find((number, LITTLE)) {
                Some(page) => page,
                None => match room.take(has.len()) {
                    Some(page) => page,
                    None => return,
                },
            };
            room.share((number, LITTLE), &page);
            has.push(page);
        }
    }

    #[test]
    fn what_one_cpu_has_decoded_costs_others_nothing() {
        let room = Room::of_pages(4, 40);
        let mut cpus: [Vec<Arc<Decoded>>; 4] = Default::default();
        for pages in &mut cpus {
            fill(&room, pages, 0..30);
            assert_eq!(pages.len(), 30);
        }
        assert_eq!(room.bytes(), 30 * room.page_bytes());
        assert!(cpus.iter().all(|pages| Arc::ptr_eq(&pages[7], &cpus[0][7])));
        // They stay, whoever goes.
        for pages in &mut cpus {
            room.give_back(pages);
        }
        assert!(
            room.find((29, LITTLE)).is_some()
                && room.find((29, Reading { big_endian: true, ..LITTLE })).is_none()
        );
        assert_eq!(room.bytes(), 30 * room.page_bytes());
        assert!(!room.is_tight());
    }

    #[test]
    fn who_comes_when_there_is_no_room_has_a_little() {
        let room = Room::of_pages(4, 40);
        let mut cpus: [Vec<Arc<Decoded>>; 4] = Default::default();
        let [first, others @ ..] = &mut cpus;
        fill(&room, first, 0..100);
        assert_eq!(first.len(), 32);
        assert!(room.is_tight());
        let wanted = room.wanted();
        for (pages, start) in others.iter_mut().zip([100, 200, 300]) {
            fill(&room, pages, start..start + 50);
            assert_eq!(pages.len(), LEAST_PAGES);
        }
        assert!(room.bytes() <= room.bytes_max());
        // The first was asked, and gives back: it has what the others need.
        assert_ne!(room.wanted(), wanted);
        room.give_back(first);
        fill(&room, &mut others[0], 102..125);
        assert!(others[0].len() > 20 && !room.is_tight());
        assert!(room.bytes() <= room.bytes_max());
    }

    #[test]
    fn pages_that_nobody_uses_make_room() {
        let room = Room::of_pages(4, 40);
        let mut pages = Vec::new();
        fill(&room, &mut pages, 0..32);
        room.give_back(&mut pages);
        let wanted = room.wanted();
        fill(&room, &mut pages, 50..80);
        assert_eq!((pages.len(), room.wanted()), (30, wanted));
        assert_eq!(room.bytes(), 32 * room.page_bytes());
    }

    #[test]
    fn one_cpu_has_its_bound() {
        let room = Room::of_pages(1, 3);
        let mut pages: Vec<_> = std::iter::from_fn(|| room.take(0)).take(9).collect();
        assert_eq!(pages.len(), 3);
        assert!(!room.is_tight());
        room.give_back(&mut pages);
        let one = room.take(0);
        assert!(one.is_some());
        assert_eq!(room.bytes(), room.bytes_max());
    }
}
