//! What the CPUs of one machine share: the news that translations or code have changed.
//!
//! Each CPU keeps translations and decoded code of its own. Others tell it what became stale
//! through its inbox, and it looks there at the end of each slice of instructions. Who must know
//! that the others have done so (`ptesync` after `tlbie`, `sync` after `icbi`: Power ISA 3.0B,
//! Book III §5.10.1, Book II §1.8) waits here, and meanwhile reads its own inbox.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ram::PAGE_SHIFT;

/// The CPUs of one machine, and their inboxes.
#[derive(Debug)]
pub struct System {
    inboxes: Vec<Inbox>,
    /// Held while what the host has no safe atomic for is accessed.
    whole: Mutex<()>,
}

#[derive(Debug, Default)]
struct Inbox {
    news: Mutex<News>,
    /// There is something in `news`.
    full: AtomicBool,
    /// Counts what was posted, and what was read.
    posted: AtomicU64,
    read: AtomicU64,
    /// The CPU executes guest code. Another one reads its inbox before it does.
    running: AtomicBool,
}

/// What became stale.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// All translations.
    pub(crate) translations: bool,
    /// Decoded code of these pages.
    pub(crate) pages: Vec<u64>,
    /// All decoded code.
    pub(crate) code: bool,
    /// Decoded code has to be compared with what it was decoded from.
    pub(crate) check_code: bool,
}

/// More pages than this at once, and all code is dropped.
const PAGES_MAX: usize = 1024;

impl System {
    /// A machine of `cpus` CPUs, numbered from 0.
    pub fn new(cpus: usize) -> Self {
        let inboxes = (0..cpus).map(|_| Inbox::default()).collect();
        Self { inboxes, whole: Mutex::new(()) }
    }

    /// Tells all CPUs that somebody other than they has written to RAM: `len` bytes at the real
    /// address `at`.
    ///
    /// To be called after every write by the host that may hit code: a program that is loaded, a
    /// hypercall that copies.
    pub fn host_wrote(&self, at: u64, len: u64) {
        if len == 0 {
            return;
        }
        let first = at >> PAGE_SHIFT;
        let last = at.saturating_add(len - 1) >> PAGE_SHIFT;
        for inbox in &self.inboxes {
            inbox.post(|news| news.add_pages(first, last));
        }
    }

    /// Tells the other CPUs that translations have changed.
    pub(crate) fn translations_changed(&self, by: usize) {
        self.others(by, |inbox| inbox.post(|news| news.translations = true));
    }

    /// Tells the other CPUs that code may have changed.
    pub(crate) fn code_changed(&self, by: usize) {
        self.others(by, |inbox| inbox.post(|news| news.check_code = true));
    }

    fn others(&self, than: usize, mut tell: impl FnMut(&Inbox)) {
        for (id, inbox) in self.inboxes.iter().enumerate() {
            if id != than {
                tell(inbox);
            }
        }
    }

    /// Keeps the other CPUs from accesses for which the host has no safe atomic, until what is
    /// returned is dropped. It is never held for longer than one of them.
    pub(crate) fn whole(&self) -> Option<MutexGuard<'_, ()>> {
        self.is_smp().then(|| self.whole.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is somebody else to tell.
    pub(crate) fn is_smp(&self) -> bool {
        self.inboxes.len() > 1
    }

    /// News for a CPU, if there is any.
    pub(crate) fn news(&self, id: usize) -> Option<News> {
        let inbox = self.inboxes.get(id)?;
        // Not before the CPU's own mark that it is running: see `others_have_read`.
        if !inbox.full.load(Ordering::SeqCst) {
            return None;
        }
        let mut news = inbox.lock();
        inbox.full.store(false, Ordering::Relaxed);
        let taken = std::mem::take(&mut *news);
        inbox.read.store(inbox.posted.load(Ordering::Relaxed), Ordering::Release);
        Some(taken)
    }

    /// The CPU executes guest code, until what is returned is dropped.
    pub(crate) fn running(&self, id: usize) -> Running<'_> {
        let inbox = self.inboxes.get(id);
        if let Some(inbox) = inbox {
            inbox.running.store(true, Ordering::SeqCst);
        }
        Running(inbox)
    }

    /// Whether all others have read what was posted to them.
    pub(crate) fn others_have_read(&self, than: usize) -> bool {
        self.inboxes.iter().enumerate().all(|(id, inbox)| {
            id == than
                || !inbox.running.load(Ordering::SeqCst)
                || inbox.read.load(Ordering::Acquire) == inbox.posted.load(Ordering::SeqCst)
        })
    }
}

/// A CPU that executes guest code.
pub(crate) struct Running<'a>(Option<&'a Inbox>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(inbox) = self.0 {
            inbox.running.store(false, Ordering::SeqCst);
        }
    }
}

impl Inbox {
    fn post(&self, change: impl FnOnce(&mut News)) {
        let mut news = self.lock();
        change(&mut news);
        self.posted.fetch_add(1, Ordering::SeqCst);
        self.full.store(true, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn add_pages(&mut self, first: u64, last: u64) {
        if self.code {
            return;
        }
        if last - first >= PAGES_MAX as u64 || self.pages.len() >= PAGES_MAX {
            self.code = true;
            self.pages.clear();
            return;
        }
        self.pages.extend(first..=last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_tells_everybody() {
        let system = System::new(2);
        system.host_wrote(0x1fff, 2);
        for id in 0..2 {
            assert_eq!(system.news(id).unwrap().pages, [1, 2]);
            assert!(system.news(id).is_none());
        }
    }

    #[test]
    fn large_writes_are_one_piece_of_news() {
        let system = System::new(1);
        system.host_wrote(0, u64::MAX);
        let news = system.news(0).unwrap();
        assert!(news.code && news.pages.is_empty());
    }

    #[test]
    fn only_running_cpus_are_waited_for() {
        let system = System::new(2);
        system.translations_changed(0);
        assert!(system.others_have_read(0));
        let running = system.running(1);
        assert!(!system.others_have_read(0));
        drop(running);
        assert!(system.others_have_read(0));
        let _running = system.running(1);
        assert!(!system.others_have_read(0));
        assert!(system.news(1).unwrap().translations);
        assert!(system.others_have_read(0));
    }
}
