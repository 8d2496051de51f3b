//! How often a guest may make its host write to the log.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

/// Lets so many messages a period through to the log, and counts the others: what a guest causes,
/// it can cause a million times.
///
/// The next message that comes through says how many were left out before it. Any thread may tell;
/// a message is made into text only if it goes to the log.
///
/// ```
/// use std::time::Duration;
///
/// use arch_ppc64::log_limit::LogLimit;
///
/// static MISTAKES: LogLimit =
///     LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("my device");
///
/// let register = 0x10;
/// MISTAKES.warn(format_args!("there is no register {register:#x}"));
/// ```
#[derive(Debug)]
pub struct LogLimit {
    count: u32,
    period: Duration,
    target: &'static str,
    topic: &'static str,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    period_start: Option<Instant>,
    count: u32,
    left_out: u64,
}

impl LogLimit {
    /// Lets `count` messages through in each `period`, which begins with a message. With
    /// [`Duration::MAX`], that is all until a [`reset`](Self::reset).
    pub const fn new(count: u32, period: Duration) -> Self {
        let told = Mutex::new(Told { period_start: None, count: 0, left_out: 0 });
        Self { count, period, target: module_path!(), topic: "", told }
    }

    /// With this target of the messages, as the `log` crate has it: a module's path, by convention.
    #[must_use]
    pub const fn with_target(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    /// With this before each message, and a colon.
    #[must_use]
    pub const fn with_topic(mut self, topic: &'static str) -> Self {
        self.topic = topic;
        self
    }

    /// Logs a warning, or counts it.
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        self.tell(Level::Warn, message);
    }

    /// Logs an error, or counts it.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.tell(Level::Error, message);
    }

    /// For those who write messages elsewhere than to the log: whether one more may be told `now`,
    /// and then how many were left out since the last that was.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut told = self.told();
        let begins = |start| now.saturating_duration_since(start) >= self.period;
        if told.period_start.is_none_or(begins) {
            told.period_start = Some(now);
            told.count = 0;
        }
        if told.count >= self.count {
            told.left_out = told.left_out.saturating_add(1);
            return None;
        }
        told.count += 1;
        Some(std::mem::take(&mut told.left_out))
    }

    /// The next message begins a new period.
    pub fn reset(&self) {
        self.told().period_start = None;
    }

    fn tell(&self, level: Level, message: fmt::Arguments<'_>) {
        if !log::log_enabled!(target: self.target, level) {
            return;
        }
        // The lock is free again by now: a logger may take its time.
        if let Some(left_out) = self.admit(Instant::now()) {
            let line = Line { topic: self.topic, message, left_out };
            log::log!(target: self.target, level, "{line}");
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message with what is said around it.
struct Line<'a> {
    topic: &'static str,
    message: fmt::Arguments<'a>,
    left_out: u64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.topic.is_empty() {
            write!(f, "{}: ", self.topic)?;
        }
        f.write_fmt(self.message)?;
        match self.left_out {
            0 => Ok(()),
            count => write!(f, " ({count} more messages were left out before)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(5);

    #[test]
    fn so_many_a_period() {
        let limit = LogLimit::new(8, PERIOD);
        let start = Instant::now();
        for number in 0..8 + 5 {
            assert_eq!(limit.admit(start), (number < 8).then_some(0));
        }
        assert_eq!(limit.admit(start + PERIOD), Some(5));
        assert_eq!(limit.admit(start + PERIOD), Some(0));
    }

    #[test]
    fn so_many_a_start() {
        let limit = LogLimit::new(2, Duration::MAX);
        let start = Instant::now();
        let much_later = start + Duration::from_secs(1 << 32);
        let admitted = [start, start, start, much_later].map(|now| limit.admit(now));
        assert_eq!(admitted, [Some(0), Some(0), None, None]);
        limit.reset();
        assert_eq!(limit.admit(start), Some(2));
    }

    #[test]
    fn no_more_from_many_threads() {
        let limit = LogLimit::new(8, Duration::MAX);
        let start = Instant::now();
        let tell = || (0..100).filter(|_| limit.admit(start).is_some()).count();
        let told: usize = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(tell));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(told, 8);
    }

    #[test]
    fn a_message_says_what_is_missing() {
        let line = |topic, left_out| {
            Line { topic, message: format_args!("no service"), left_out }.to_string()
        };
        assert_eq!(line("", 0), "no service");
        assert_eq!(
            line("client interface", 5),
            "client interface: no service (5 more messages were left out before)"
        );
    }

    /// There is no logger here: each level is off.
    #[test]
    fn nothing_is_formatted_for_nobody() {
        struct Never;
        impl fmt::Display for Never {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                unreachable!("nobody reads it")
            }
        }
        let limit = LogLimit::new(1, PERIOD);
        limit.warn(format_args!("{Never}"));
        limit.error(format_args!("{Never}"));
        assert_eq!(limit.admit(Instant::now()), Some(0));
    }
}
