//! How long to wait for others: until they have given no sign for so long that they hang. How fast
//! they are is not judged, and a machine may be ten times as slow as usual.

use std::time::{Duration, Instant};

/// Whoever gives no sign for so long hangs.
pub(crate) const HANG: Duration = Duration::from_secs(600);

/// How often it is said what is waited for.
pub(crate) const SAY: Duration = Duration::from_secs(60);

/// What one look counts for at most: whoever was stopped, or had no processor, saw no signs.
const LOOK: Duration = Duration::from_secs(2);

/// Somebody who waits, and looks for signs several times a second.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    /// For how long there was no sign.
    silent: Duration,
    looked: Instant,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, silent: Duration::ZERO, looked: Instant::now() }
    }

    /// There was a sign.
    pub(crate) fn sign(&mut self) {
        self.silent = Duration::ZERO;
    }

    /// Whether there was none for too long.
    pub(crate) fn is_over(&mut self) -> bool {
        self.is_over_at(Instant::now())
    }

    fn is_over_at(&mut self, now: Instant) -> bool {
        self.silent += now.saturating_duration_since(self.looked).min(LOOK);
        self.looked = now;
        self.silent >= self.limit
    }
}

/// A time for people.
pub(crate) fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_when_there_was_no_sign_for_all_of_the_time() {
        let mut patience = Patience::new(HANG);
        let start = patience.looked;
        let seconds = |seconds| start + Duration::from_secs(seconds);
        assert!((1..600).all(|second| !patience.is_over_at(seconds(second))));
        patience.sign();
        assert!((600..1199).all(|second| !patience.is_over_at(seconds(second))));
        assert!(patience.is_over_at(seconds(1199)));
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut patience = Patience::new(HANG);
        let start = patience.looked;
        assert!(!patience.is_over_at(start + 10 * HANG));
        assert_eq!(patience.silent, LOOK);
    }

    #[test]
    fn times_are_said_in_a_few_words() {
        let said = |seconds| minutes(Duration::from_secs(seconds));
        assert_eq!([90, 600].map(said), ["90 seconds", "10 minutes"]);
    }
}
