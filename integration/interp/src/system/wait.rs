//! Who has followed which change, and those who wait for it.
//!
//! An awaited CPU that executes answers at the end of its slice, within microseconds. One whose
//! thread has no core of the host answers when it gets one, so who waits for long sleeps, and CPUs
//! that find somebody asleep give way, too: with more CPUs than cores, it is mostly one of them
//! that keeps the awaited one off.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The mark of a CPU that uses no translations: as if it had followed all changes to come.
pub(super) const USES_NONE: u64 = u64::MAX;

/// Who has no answer after so long sleeps: a slice takes about 10 µs.
const SPIN: Duration = Duration::from_micros(20);

/// The longest that a CPU gives way at once. It goes on then, whatever the others do.
const GIVE_WAY: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Followers {
    marks: Vec<Mark>,
    /// One more than the highest number of a CPU that ever executed: who waits need not look at
    /// those that were never made.
    used: AtomicUsize,
    /// How many sleep until there is an answer.
    asleep: AtomicUsize,
    lock: Mutex<()>,
    answered: Condvar,
    /// Nobody sleeps any more.
    over: Condvar,
}

/// The newest change that a CPU has followed. Lines of the host's cache are not shared.
#[derive(Debug)]
#[repr(align(64))]
struct Mark(AtomicU64);

impl Mark {
    fn has_followed(&self, change: u64) -> bool {
        self.0.load(Ordering::SeqCst) >= change
    }
}

impl Followers {
    /// CPUs that use no translations yet.
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            marks: (0..cpus).map(|_| Mark(AtomicU64::new(USES_NONE))).collect(),
            used: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            lock: Mutex::default(),
            answered: Condvar::new(),
            over: Condvar::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.marks.len()
    }

    /// One more than the highest number of a CPU that ever executed.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A CPU executes.
    pub(super) fn use_of(&self, id: usize) {
        if self.used.load(Ordering::Relaxed) <= id {
            self.used.fetch_max(id + 1, Ordering::SeqCst);
        }
    }

    /// Sets a CPU's mark.
    ///
    /// One that begins to use translations marks what it followed last, and only then looks for
    /// changes: either it sees a change, or who changed something sees that it has to wait.
    pub(super) fn mark(&self, id: usize, followed: u64) {
        let Some(mark) = self.marks.get(id) else { return };
        self.use_of(id);
        mark.0.store(followed, Ordering::SeqCst);
        if self.somebody_sleeps() {
            // Who sleeps has looked before this, or holds the lock until it does sleep.
            drop(self.lock());
            self.answered.notify_all();
        }
    }

    /// Waits until all CPUs, but for one that waits, have followed a change.
    pub(super) fn wait(&self, except: Option<usize>, change: u64) {
        let start = Instant::now();
        let used = self.used.load(Ordering::SeqCst);
        for (id, mark) in self.marks.iter().enumerate().take(used) {
            // Who has followed it once will always have.
            while Some(id) != except && !mark.has_followed(change) {
                if start.elapsed() < SPIN {
                    spin_loop();
                } else {
                    self.sleep(mark, change);
                }
            }
        }
    }

    fn sleep(&self, mark: &Mark, change: u64) {
        let mut guard = self.lock();
        self.asleep.fetch_add(1, Ordering::SeqCst);
        while !mark.has_followed(change) {
            guard = self.answered.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        if self.asleep.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.over.notify_all();
        }
    }

    pub(super) fn somebody_sleeps(&self) -> bool {
        self.asleep.load(Ordering::SeqCst) > 0
    }

    /// Sleeps while others do, but not for long.
    pub(super) fn give_way(&self) {
        let guard = self.lock();
        if self.somebody_sleeps() {
            drop(self.over.wait_timeout(guard, GIVE_WAY));
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpus_that_use_translations_are_waited_for() {
        let followers = Followers::new(3);
        followers.wait(Some(0), 7);
        // Its own mark does not hold anybody up.
        followers.mark(0, 1);
        followers.wait(Some(0), 7);
        followers.mark(1, 7);
        followers.wait(Some(0), 7);
        followers.mark(1, 6);
        followers.mark(1, USES_NONE);
        followers.wait(Some(0), 7);
    }

    #[test]
    fn an_answer_wakes_who_waits_and_who_gave_way() {
        let followers = Followers::new(3);
        followers.mark(1, 6);
        followers.mark(2, 6);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| followers.wait(Some(0), 7));
            // Long enough for it to fall asleep.
            while !followers.somebody_sleeps() {
                std::thread::yield_now();
            }
            followers.mark(1, 7);
            while !followers.somebody_sleeps() {
                std::thread::yield_now();
            }
            followers.give_way();
            assert!(!waits.is_finished());
            followers.mark(2, 8);
            waits.join().unwrap();
        });
        assert!(!followers.somebody_sleeps());
        followers.give_way();
    }
}
