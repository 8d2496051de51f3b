//! The threads of an active device: they are started, asked to end, and waited for together.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// What the kernel keeps of a thread's name.
const NAME_BYTES_MAX: usize = 15;

/// The threads.
pub(super) struct Threads {
    stop: Arc<Stop>,
    count: Arc<Count>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

/// How a thread is asked to end.
pub(super) struct Stop {
    asked: AtomicBool,
    file: EventFd,
}

/// How many threads run.
#[derive(Default)]
struct Count {
    running: Mutex<usize>,
    ended: Condvar,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    AtMost(Duration),
    ForEver,
}

impl Threads {
    /// None yet.
    pub(super) fn new() -> io::Result<Self> {
        let stop = Stop { asked: AtomicBool::new(false), file: EventFd::new(EFD_NONBLOCK)? };
        Ok(Self { stop: Arc::new(stop), count: Arc::default(), handles: Mutex::default() })
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
        let running = Running::new(&self.count);
        let main = move || {
            let _running = running;
            body(&stop);
        };
        handles.push(Builder::new().name(name.to_owned()).spawn(main)?);
        Ok(())
    }

    /// How they are asked to end.
    pub(super) fn ending(&self) -> &Stop {
        &self.stop
    }

    /// Asks all of them to end.
    pub(super) fn stop(&self) {
        // With the lock held: no thread is started after this.
        let _handles = lock(&self.handles);
        self.stop.asked.store(true, Ordering::SeqCst);
        // Nobody reads it, so it stays readable. It has room for one.
        let _ = self.stop.file.write(1);
    }

    /// Whether all have ended, which were asked to; waits so long for them.
    pub(super) fn have_ended(&self, wait: Wait) -> bool {
        if !self.count.is_zero(wait) {
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

    /// Is readable from when it has to end on.
    pub(super) fn file(&self) -> &EventFd {
        &self.file
    }
}

impl Count {
    fn is_zero(&self, wait: Wait) -> bool {
        let begin = Instant::now();
        let mut running = lock(&self.running);
        while *running > 0 {
            running = match wait {
                Wait::No => return false,
                Wait::ForEver => self.ended.wait(running).unwrap_or_else(PoisonError::into_inner),
                Wait::AtMost(most) => {
                    let Some(left) = most.checked_sub(begin.elapsed()) else { return false };
                    let result = self.ended.wait_timeout(running, left);
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}

/// One more runs, until this is dropped.
struct Running(Arc<Count>);

impl Running {
    fn new(count: &Arc<Count>) -> Self {
        *lock(&count.running) += 1;
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
        self.0.ended.notify_all();
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
        let threads = Threads::new().unwrap();
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
}
