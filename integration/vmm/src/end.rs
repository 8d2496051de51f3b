//! The end of a machine: who wants it first, and why.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use arch_ppc64::StopReason;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::boot::Stopping;
use crate::error::VmmError;

use crate::locks::lock;

/// Why a machine stops.
#[derive(Debug)]
pub(crate) enum Why {
    Guest(StopReason),
    Crash(String),
    Left,
    Signal(i32),
    /// Whoever controls it has it start again.
    Reboot,
    /// Whoever controls it has it end.
    Stopped,
    Host(VmmError),
}

/// Where the first who wants the machine to stop says so.
pub(crate) struct End {
    why: Mutex<Option<Why>>,
    said: Condvar,
    /// Readable when a person at the terminal wants to leave.
    pub(crate) left: EventFd,
}

impl End {
    pub(crate) fn new() -> io::Result<Self> {
        let left = EventFd::new(EFD_NONBLOCK)?;
        Ok(Self { why: Mutex::new(None), said: Condvar::new(), left })
    }

    pub(crate) fn because(&self, why: Why) {
        let mut first = lock(&self.why);
        // A person or a signal that wants to leave is not held up by a guest that restarts.
        let outranked = matches!(*first, None | Some(Why::Guest(StopReason::Reset) | Why::Reboot));
        if matches!(why, Why::Left) {
            // Cannot fail: the counter is far from its end.
            let _ = self.left.write(1);
        }
        if outranked {
            *first = Some(why);
        }
        drop(first);
        self.said.notify_all();
    }

    /// Waits until somebody says so.
    pub(crate) fn wait(&self) -> Why {
        let mut first = lock(&self.why);
        loop {
            match first.take() {
                Some(why) => return why,
                None => first = self.said.wait(first).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Whether somebody has said so. A start that is to be followed by another one goes on until it is
    /// there.
    pub(crate) fn is_wanted(&self) -> bool {
        !matches!(*lock(&self.why), None | Some(Why::Reboot))
    }

    /// Tells others whether somebody has said so.
    pub(crate) fn stopping(self: &Arc<Self>) -> Stopping {
        let end = self.clone();
        Stopping::new(move || end.is_wanted())
    }

    pub(crate) fn take(&self) -> Option<Why> {
        lock(&self.why).take()
    }
}
