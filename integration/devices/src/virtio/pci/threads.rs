//! The threads of an active device: they are started, asked to rest or to end, and waited for
//! together.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use arch_ppc64::threads::{self, Role};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// What the kernel keeps of a thread's name.
const NAME_BYTES_MAX: usize = 15;

/// The threads.
pub(super) struct Threads {
    /// What they are for.
    role: Role,
    stop: Arc<Stop>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

/// How a thread is asked to rest, or to end.
pub(super) struct Stop {
    /// To end.
    asked: AtomicBool,
    /// To rest until it is told to go on.
    rests: AtomicBool,
    /// Wakes those that wait for something else.
    file: EventFd,
    count: Mutex<Count>,
    changed: Condvar,
}

/// How many threads there are, and how many of them rest.
#[derive(Default)]
struct Count {
    running: usize,
    resting: usize,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    AtMost(Duration),
    ForEver,
}

impl Threads {
    /// None yet, of the device of this number in virtio.
    pub(super) fn new(device: u16) -> io::Result<Self> {
        let stop = Stop {
            asked: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            file: EventFd::new(EFD_NONBLOCK)?,
            count: Mutex::default(),
            changed: Condvar::new(),
        };
        Ok(Self { role: Role::Device(device), stop: Arc::new(stop), handles: Mutex::default() })
    }

    /// Runs `body` on a thread of this name. Everything that `body` has is dropped when it has ended.
    pub(super) fn spawn(
        &self,
        name: &str,
        body: impl FnOnce(&Stop) + Send + 'static,
    ) -> io::Result<()> {
        let mut handles = lock(&self.handles);
        if self.stop.is_asked() {
            return Err(io::Error::other("the device is no longer active"));
        }
        let stop = Arc::clone(&self.stop);
        let running = Running::new(&stop);
        let role = self.role;
        let main = move || {
            threads::starts(role);
            let _running = running;
            body(&stop);
        };
        handles.push(Builder::new().name(name.to_owned()).spawn(main)?);
        Ok(())
    }

    /// How they are asked to rest, or to end.
    pub(super) fn ending(&self) -> &Stop {
        &self.stop
    }

    /// Asks all of them to end.
    pub(super) fn stop(&self) {
        // With the lock held: no thread is started after this.
        let _handles = lock(&self.handles);
        let _count = lock(&self.stop.count);
        self.stop.asked.store(true, Ordering::SeqCst);
        // Nobody reads it any more, so it stays readable. It has room for one.
        let _ = self.stop.file.write(1);
        self.stop.changed.notify_all();
    }

    /// Asks all of them to rest.
    pub(super) fn rest(&self) {
        let _count = lock(&self.stop.count);
        self.stop.rests.store(true, Ordering::SeqCst);
        let _ = self.stop.file.write(1);
    }

    /// Those that rest go on.
    pub(super) fn go_on(&self) {
        let _count = lock(&self.stop.count);
        self.stop.rests.store(false, Ordering::SeqCst);
        if !self.stop.is_asked() {
            let _ = self.stop.file.read();
        }
        self.stop.changed.notify_all();
    }

    /// Whether all rest, or have ended, as they were asked to; waits so long for them.
    pub(super) fn do_rest(&self, wait: Wait) -> bool {
        self.stop.is_so(wait, |count| count.resting == count.running)
    }

    /// Whether all have ended, which were asked to; waits so long for them.
    pub(super) fn have_ended(&self, wait: Wait) -> bool {
        if !self.stop.is_so(wait, |count| count.running == 0) {
            return false;
        }
        for handle in lock(&self.handles).drain(..) {
            // Its panic was told already.
            let _ = handle.join();
        }
        true
    }
}

impl Stop {
    /// Whether it has to end.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Is readable while it has to rest, and from when it has to end on.
    pub(super) fn file(&self) -> &EventFd {
        &self.file
    }

    /// Called by each thread before it does something: rests if it has to. False when it has to end.
    pub(super) fn goes_on(&self) -> bool {
        if self.rests.load(Ordering::SeqCst) {
            let mut count = lock(&self.count);
            count.resting += 1;
            self.changed.notify_all();
            while self.rests.load(Ordering::SeqCst) && !self.is_asked() {
                count = self.changed.wait(count).unwrap_or_else(PoisonError::into_inner);
            }
            count.resting -= 1;
        }
        !self.is_asked()
    }

    fn is_so(&self, wait: Wait, is_it: impl Fn(&Count) -> bool) -> bool {
        let begin = Instant::now();
        let mut count = lock(&self.count);
        while !is_it(&count) {
            count = match wait {
                Wait::No => return false,
                Wait::ForEver => self.changed.wait(count).unwrap_or_else(PoisonError::into_inner),
                Wait::AtMost(most) => {
                    let Some(left) = most.checked_sub(begin.elapsed()) else { return false };
                    let result = self.changed.wait_timeout(count, left);
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

/// One more runs, until this is dropped.
struct Running(Arc<Stop>);

impl Running {
    fn new(stop: &Arc<Stop>) -> Self {
        lock(&stop.count).running += 1;
        Self(Arc::clone(stop))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.0.count).running -= 1;
        self.0.changed.notify_all();
    }
}

/// The name of a thread of a device: as much of the device's id as there is room for.
pub(super) fn name(id: &str, of: fmt::Arguments<'_>) -> String {
    let of = of.to_string();
    let room = NAME_BYTES_MAX.saturating_sub(of.len() + 1);
    let end = (0..=room.min(id.len())).rev().find(|&end| id.is_char_boundary(end)).unwrap_or(0);
    let id: String = id[..end].chars().filter(|&letter| letter != '\0').collect();
    format!("{id} {of}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn names_keep_what_tells_them_apart() {
        assert_eq!(name("disk0", format_args!("q1")), "disk0 q1");
        assert_eq!(name("a-very-long-name", format_args!("q12")), "a-very-long q12");
        assert_eq!(name("ääääääääääää", format_args!("q1")), "ääääää q1");
        assert_eq!(name("a\0b", format_args!("q1")), "ab q1");
    }

    #[test]
    fn who_does_not_end_is_not_waited_for() {
        let threads = Threads::new(2).unwrap();
        let gate = Arc::new(Mutex::new(()));
        let closed = lock(&gate);
        let wait = {
            let gate = Arc::clone(&gate);
            move |_: &Stop| drop(lock(&gate))
        };
        threads.spawn("waits", wait).unwrap();
        threads.stop();
        assert!(!threads.have_ended(Wait::No));
        assert!(!threads.have_ended(Wait::AtMost(Duration::from_millis(10))));
        drop(closed);
        assert!(threads.have_ended(Wait::ForEver));
        assert!(threads.spawn("late", |_| {}).is_err());
    }

    #[test]
    fn who_rests_goes_on_or_ends() {
        let threads = Threads::new(2).unwrap();
        let turns = Arc::new(AtomicUsize::new(0));
        for name in ["one", "two"] {
            let turns = turns.clone();
            let body = move |stop: &Stop| {
                while stop.goes_on() {
                    turns.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                }
            };
            threads.spawn(name, body).unwrap();
        }
        for _ in 0..20 {
            threads.rest();
            assert!(threads.do_rest(Wait::ForEver));
            let before = turns.load(Ordering::SeqCst);
            std::thread::yield_now();
            assert_eq!(turns.load(Ordering::SeqCst), before);
            threads.go_on();
            while turns.load(Ordering::SeqCst) == before {
                std::thread::yield_now();
            }
            assert!(threads.ending().file().read().is_err(), "nobody is woken any more");
        }
        threads.rest();
        threads.stop();
        assert!(threads.have_ended(Wait::ForEver));
        assert!(threads.do_rest(Wait::No));
        // Who was asked to end stays asked.
        threads.go_on();
        assert!(threads.ending().file().read().is_ok());
    }

    #[test]
    fn who_does_not_rest_is_not_waited_for() {
        let threads = Threads::new(2).unwrap();
        let gate = Arc::new(Mutex::new(()));
        let closed = lock(&gate);
        let wait = {
            let gate = Arc::clone(&gate);
            move |stop: &Stop| {
                drop(lock(&gate));
                while stop.goes_on() {
                    std::thread::yield_now();
                }
            }
        };
        threads.spawn("waits", wait).unwrap();
        threads.rest();
        assert!(!threads.do_rest(Wait::AtMost(Duration::from_millis(10))));
        drop(closed);
        assert!(threads.do_rest(Wait::ForEver));
        threads.go_on();
        threads.stop();
        assert!(threads.have_ended(Wait::ForEver));
    }
}
