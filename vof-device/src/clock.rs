//! The time since the start of the machine.

use std::time::{Duration, Instant};

/// A clock that can stand still, and be taken up in another process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// `None` while it stands still.
    since: Option<Instant>,
    /// What had passed by then.
    before: Duration,
}

impl Clock {
    /// A clock at 0.
    pub(crate) fn start() -> Self {
        Self { since: Some(Instant::now()), before: Duration::ZERO }
    }

    /// What has passed.
    pub(crate) fn elapsed(&self) -> Duration {
        let since = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.before.saturating_add(since)
    }

    /// It stands still.
    pub(crate) fn pause(&mut self) {
        self.before = self.elapsed();
        self.since = None;
    }

    /// It goes on where it stands.
    pub(crate) fn resume(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// It is at so many milliseconds, and stands still or goes on as it did.
    #[cfg(feature = "serde")]
    pub(crate) fn set(&mut self, milliseconds: u64) {
        self.before = Duration::from_millis(milliseconds);
        if let Some(since) = &mut self.since {
            *since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_and_goes_on_from_there() {
        let mut clock = Clock::start();
        clock.pause();
        let stood_at = clock.elapsed();
        std::thread::sleep(Duration::from_millis(20));
        clock.pause();
        assert_eq!(clock.elapsed(), stood_at);
        let resumed = Instant::now();
        clock.resume();
        clock.resume();
        let passed = clock.elapsed() - stood_at;
        assert!(passed <= resumed.elapsed(), "{passed:?}");
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.elapsed() - stood_at >= Duration::from_millis(2));
    }
}
