//! What a guest does wrong goes to the log, as much of it as a person can read.

use std::fmt;
use std::time::{Duration, Instant};

use crate::limits::{LOG_PERIOD_SECONDS, MAX_LOGGED_COMPLAINTS};

/// Logs at most [`MAX_LOGGED_COMPLAINTS`] a period: a guest can make millions.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    period: Option<Instant>,
    logged: u32,
    left_out: u64,
}

impl Complaints {
    /// Logs one, or counts it.
    pub(crate) fn tell(&mut self, complaint: fmt::Arguments<'_>) {
        if !log::log_enabled!(log::Level::Warn) {
            return;
        }
        let now = Instant::now();
        if self.may_log(now) {
            log::warn!("client interface: {complaint}");
        }
    }

    fn may_log(&mut self, now: Instant) -> bool {
        let period = Duration::from_secs(LOG_PERIOD_SECONDS);
        if self.period.is_none_or(|start| now.saturating_duration_since(start) >= period) {
            self.period = Some(now);
            self.logged = 0;
            let left_out = std::mem::take(&mut self.left_out);
            if left_out > 0 {
                log::warn!("client interface: {left_out} more complaints about the guest");
            }
        }
        if self.logged >= MAX_LOGGED_COMPLAINTS {
            self.left_out += 1;
            return false;
        }
        self.logged += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_period() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        for number in 0..MAX_LOGGED_COMPLAINTS + 5 {
            assert_eq!(complaints.may_log(start), number < MAX_LOGGED_COMPLAINTS);
        }
        assert_eq!(complaints.left_out, 5);
        assert!(complaints.may_log(start + Duration::from_secs(LOG_PERIOD_SECONDS)));
        assert_eq!(complaints.left_out, 0);
    }
}
