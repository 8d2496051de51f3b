//! Where notifications of a queue arrive.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::activity::Activity;
use crate::virtio::QueueHandler;

/// How often it is looked whether a queue is still handled by who notified it.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The port of one queue. It shares nothing with those of others.
pub(super) struct Port {
    doorbell: EventFd,
    /// Whether the device is active, and the queue enabled.
    active: AtomicBool,
    /// What comes now is for later.
    rests: AtomicBool,
    /// Something has come since, and whoever notified it did not handle it.
    missed: AtomicBool,
    /// What handles the queue, where that is for who notifies it.
    inline: Mutex<Option<Inline>>,
}

/// A handler, and what it works for.
struct Inline {
    handler: Box<dyn QueueHandler>,
    activity: Arc<Activity>,
}

impl Port {
    /// One that hears nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            doorbell: EventFd::new(EFD_NONBLOCK)?,
            active: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            missed: AtomicBool::new(false),
            inline: Mutex::new(None),
        })
    }

    /// The file that is written to for each notification.
    pub(super) fn doorbell(&self) -> &EventFd {
        &self.doorbell
    }

    /// Notifications are heard from here on.
    pub(super) fn open(&self) {
        self.active.store(true, Ordering::Release);
    }

    /// Has whoever notifies the queue handle it, and handles what is there.
    pub(super) fn handle_inline(&self, handler: Box<dyn QueueHandler>, activity: Arc<Activity>) {
        *self.inline() = Some(Inline { handler, activity });
        self.notify();
    }

    /// Nothing is heard from here on, nor kept of what was.
    pub(super) fn close(&self) {
        self.active.store(false, Ordering::Release);
        drop(self.inline().take());
        // That nothing was there is no matter.
        let _ = self.doorbell.read();
    }

    /// The driver notifies the queue.
    pub(super) fn notify(&self) {
        if !self.active.load(Ordering::Acquire) {
            return;
        }
        let mut inline = self.inline();
        let Some(Inline { handler, activity }) = &mut *inline else { return self.ring() };
        if self.rests.load(Ordering::SeqCst) {
            self.missed.store(true, Ordering::SeqCst);
            // Unless it goes on now, and whoever has it do so has seen nothing.
            if self.rests.load(Ordering::SeqCst) || !self.missed.swap(false, Ordering::SeqCst) {
                return;
            }
        }
        if !activity.handle_here(&mut **handler) {
            *inline = None;
        }
    }

    /// Nobody who notifies the queue handles it any more. False if somebody still does when the time
    /// is over.
    pub(super) fn rest(&self, until: Instant) -> bool {
        self.rests.store(true, Ordering::SeqCst);
        while matches!(self.inline.try_lock(), Err(TryLockError::WouldBlock)) {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// They do again, and what came meanwhile is handled.
    pub(super) fn go_on(&self) {
        self.rests.store(false, Ordering::SeqCst);
        if self.active.load(Ordering::Acquire) {
            // Those who work elsewhere may have stopped in the middle.
            self.ring();
        }
        // Only then: a handler that never came to rest is still at it, and not waited for.
        if self.missed.swap(false, Ordering::SeqCst) {
            self.notify();
        }
    }

    /// Writes to the file that whoever works on the queue waits for.
    pub(super) fn ring(&self) {
        // One that is full is readable already.
        let _ = self.doorbell.write(1);
    }

    fn inline(&self) -> MutexGuard<'_, Option<Inline>> {
        self.inline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("active", &self.active).finish_non_exhaustive()
    }
}
