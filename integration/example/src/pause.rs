//! When a machine pauses by itself, to be saved.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much a machine does before it is saved.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    Calls(u64),
    Time(Duration),
}

impl FromStr for After {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, is_time) = match text.strip_suffix("ms") {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        match (digits.parse(), is_time) {
            (Ok(calls @ 1..), false) => Ok(Self::Calls(calls)),
            (Ok(ms @ 1..), true) => Ok(Self::Time(Duration::from_millis(ms))),
            _ => Err("it is a number from 1 on, such as 1200, or with ms behind it"),
        }
    }
}

/// Says when the moment has come, once.
#[derive(Debug, Default)]
pub(crate) struct PauseAfter {
    /// How many hypercalls are left; 0 for none that count.
    calls_left: AtomicU64,
    at: Mutex<Option<Instant>>,
    has_come: AtomicBool,
}

impl PauseAfter {
    /// From here on, it counts.
    pub(crate) fn start(&self, after: After) {
        match after {
            After::Calls(calls) => self.calls_left.store(calls, SeqCst),
            After::Time(time) => *self.lock() = Some(Instant::now() + time),
        }
    }

    /// A hypercall is made. True for the one that was waited for.
    pub(crate) fn hypercall(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        let is_it = self.calls_left.fetch_update(SeqCst, SeqCst, one_less) == Ok(1);
        if is_it {
            self.has_come.store(true, SeqCst);
        }
        is_it
    }

    /// How long it is till then; `None` when no time was said, or it has come.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let mut at = self.lock();
        let left = at.map(|at| at.saturating_duration_since(Instant::now()))?;
        if left.is_zero() {
            *at = None;
            self.has_come.store(true, SeqCst);
        }
        Some(left)
    }

    /// Whether it has come, in this machine or in one before a reset.
    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
