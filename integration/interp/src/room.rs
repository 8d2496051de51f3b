//! The host memory that decoded code may take: one bound for all CPUs of a machine.
//!
//! A CPU may always have half of its fair share. The other halves are for those who come first.
//! When they are gone, a CPU that needs more drops all it has and begins again, and those that
//! have more than their fair share give all of it back: those that execute when they are asked,
//! those that are about to sleep unasked, and one that stops in any case. What is given back is
//! kept for the next who asks: the host's allocator would not reliably give it to another thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::op::{Op, PAGE_OPS};
use crate::page_map::PAGE_BYTES;

/// The most pages of a machine.
const MACHINE_PAGES: usize = 8192;

/// The most pages of one CPU: more than a kernel and its programs keep busy.
const CPU_PAGES: usize = 3072;

/// What each CPU can have, however many there are.
const LEAST_PAGES: usize = 2;

/// The bytes of a page.
pub(crate) type Source = [u8; PAGE_BYTES as usize];

/// A decoded page.
pub(crate) struct Page {
    pub(crate) ops: Box<[Op; PAGE_OPS]>,
    /// What it is decoded from, where there are several CPUs.
    pub(crate) source: Option<Box<Source>>,
    /// `source` holds that.
    pub(crate) has_source: bool,
}

#[derive(Debug)]
pub(crate) struct Room {
    is_smp: bool,
    /// What a CPU may have whatever the others have, and what it may have when they need more.
    own_pages: usize,
    fair_pages: usize,
    cpu_pages: usize,
    shared: Mutex<Shared>,
    /// Somebody found nothing.
    is_wanted: AtomicBool,
    pages_max: usize,
}

#[derive(Debug)]
struct Shared {
    /// Pages beyond what each CPU may always have.
    left: usize,
    made: usize,
    given_back: Vec<Page>,
}

impl Room {
    /// Room for so many CPUs.
    pub(crate) fn new(cpus: usize) -> Self {
        Self::of_pages(cpus, MACHINE_PAGES, CPU_PAGES)
    }

    /// Room for one page, of one CPU.
    pub(crate) fn of_one_page() -> Self {
        Self::of_pages(1, 1, 1)
    }

    fn of_pages(cpus: usize, pages: usize, cpu_pages: usize) -> Self {
        let fair_pages = pages / cpus.max(1);
        let own_pages = (fair_pages / 2).max(LEAST_PAGES).min(cpu_pages);
        let left = pages.saturating_sub(own_pages * cpus);
        let pages_max = (cpu_pages * cpus).min(own_pages * cpus + left);
        Self {
            is_smp: cpus > 1,
            own_pages,
            fair_pages,
            cpu_pages,
            shared: Mutex::new(Shared { left, made: 0, given_back: Vec::new() }),
            is_wanted: AtomicBool::new(false),
            pages_max,
        }
    }

    /// An undecoded page for a CPU that has `has` pages; `None` when it has to give back first.
    pub(crate) fn take(&self, has: usize) -> Option<Page> {
        if has >= self.cpu_pages {
            return None;
        }
        let mut shared = self.lock();
        if has >= self.own_pages {
            match shared.left.checked_sub(1) {
                Some(left) => shared.left = left,
                None => {
                    self.is_wanted.store(true, Ordering::Relaxed);
                    return None;
                }
            }
        }
        if let Some(mut page) = shared.given_back.pop() {
            drop(shared);
            page.ops.fill(Op::UNDECODED);
            page.has_source = false;
            return Some(page);
        }
        shared.made += 1;
        drop(shared);
        let source = self.is_smp.then(|| Box::new([0; size_of::<Source>()]));
        Some(Page { ops: Box::new([Op::UNDECODED; PAGE_OPS]), source, has_source: false })
    }

    /// Takes all pages of a CPU back.
    pub(crate) fn give_back(&self, pages: &mut Vec<Page>) {
        let mut shared = self.lock();
        shared.left += pages.len().saturating_sub(self.own_pages);
        shared.given_back.append(pages);
    }

    /// Whether a CPU that has `has` pages should give them back, as others have none; said once.
    pub(crate) fn wants_back(&self, has: usize) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
            && has > self.fair_pages
            && self.is_wanted.swap(false, Ordering::Relaxed)
    }

    /// The same of a CPU that cannot be asked for a while: whether there is nothing for others.
    pub(crate) fn wants_back_of_sleeper(&self, has: usize) -> bool {
        has > self.fair_pages && (self.wants_back(has) || self.lock().left == 0)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lock().made * self.page_bytes()
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

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// What `docs/threat-model.md` and the README say.
    #[test]
    fn a_machine_takes_96_mib_at_most() {
        assert_eq!(Room::new(1).bytes_max(), 24 * MIB);
        assert_eq!(Room::new(2).bytes_max(), 72 * MIB);
        for cpus in [3, 4, 5, 8, 100, 1000, 2048] {
            let max = Room::new(cpus).bytes_max();
            assert!(max <= 96 * MIB, "{cpus} CPUs: {max}");
        }
    }

    fn fill(room: &Room, pages: &mut Vec<Page>) {
        while let Some(page) = room.take(pages.len()) {
            pages.push(page);
        }
    }

    #[test]
    fn who_comes_last_gets_its_share() {
        let room = Room::of_pages(4, 40, 30);
        let mut cpus: [Vec<Page>; 4] = Default::default();
        for (pages, gets) in cpus.iter_mut().zip([25, 5, 5, 5]) {
            fill(&room, pages);
            assert_eq!(pages.len(), gets);
        }
        assert_eq!(room.bytes(), room.bytes_max());
        assert!(!room.wants_back(cpus[3].len()));
        assert!(room.wants_back(cpus[0].len()));
        assert!(!room.wants_back(cpus[0].len()));
        room.give_back(&mut cpus[0]);
        fill(&room, &mut cpus[3]);
        assert_eq!(cpus[3].len(), 25);
        fill(&room, &mut cpus[0]);
        assert_eq!(cpus[0].len(), 5);
        assert_eq!(room.bytes(), room.bytes_max());
    }

    #[test]
    fn who_sleeps_leaves_something_for_others() {
        let room = Room::of_pages(4, 40, 30);
        let mut cpus: [Vec<Page>; 2] = Default::default();
        cpus[0].extend((0..24).map_while(|has| room.take(has)));
        // One page is left.
        assert!(!room.wants_back_of_sleeper(cpus[0].len()));
        fill(&room, &mut cpus[0]);
        assert!(!room.wants_back_of_sleeper(10));
        // Nobody has asked yet.
        assert!(room.wants_back_of_sleeper(cpus[0].len()));
        fill(&room, &mut cpus[1]);
        assert!(room.wants_back_of_sleeper(cpus[0].len()));
        room.give_back(&mut cpus[0]);
        fill(&room, &mut cpus[1]);
        assert_eq!(cpus[1].len(), 25);
    }

    #[test]
    fn a_page_comes_back_empty() {
        let room = Room::of_pages(2, 4, 2);
        let mut pages = Vec::new();
        fill(&room, &mut pages);
        pages[0].ops[7].imm = 1;
        pages[0].has_source = true;
        room.give_back(&mut pages);
        fill(&room, &mut pages);
        for page in &pages {
            assert!(!page.has_source && page.ops.iter().all(|op| *op == Op::UNDECODED));
        }
    }
}
