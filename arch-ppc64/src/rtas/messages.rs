//! How often a guest may make its host write to the log.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the messages that a guest causes.
#[derive(Debug, Default)]
pub(super) struct Messages(AtomicU32);

impl Messages {
    const MESSAGES_MAX: u32 = 16;

    /// Whether one more may go to the log.
    pub(super) fn may_log(&self) -> bool {
        let count = |n: u32| (n < Self::MESSAGES_MAX).then_some(n + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }

    /// All may come again.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
