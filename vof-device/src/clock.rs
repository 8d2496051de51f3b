//! The time since the start of the machine.

use std::time::{Duration, Instant};

/// A clock that can be taken up in another process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    since: Instant,
    /// What had passed by then.
    before: Duration,
}

impl Clock {
    /// A clock at 0.
    pub(crate) fn start() -> Self {
        Self::running_since(0)
    }

    /// A clock that is at so many milliseconds.
    pub(crate) fn running_since(milliseconds: u64) -> Self {
        Self { since: Instant::now(), before: Duration::from_millis(milliseconds) }
    }

    /// What has passed.
    pub(crate) fn elapsed(&self) -> Duration {
        self.before.saturating_add(self.since.elapsed())
    }
}
