//! Where notifications of a queue arrive.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::activity::Activity;
use crate::virtio::QueueHandler;

/// The port of one queue. It shares nothing with those of others.
pub(super) struct Port {
    doorbell: EventFd,
    /// Whether the device is active, and the queue enabled.
    active: AtomicBool,
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
        if let Some(Inline { handler, activity }) = &mut *inline {
            if !activity.handle_here(&mut **handler) {
                *inline = None;
            }
        } else {
            self.ring();
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
