//! The clock as it is saved.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arch_ppc64::platform::StateError;

use super::{Clock, Pace, Source, ticks};

/// What there is of it.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::board) struct ClockState {
    /// What the guest's timebase was.
    timebase: u64,
    /// Where instructions are counted: how many of its ticks were slept through.
    slept: Option<u64>,
}

impl Clock {
    pub(in crate::board) fn state(&self) -> ClockState {
        match &self.0 {
            Source::Host { .. } => ClockState { timebase: self.timebase(0), slept: None },
            Source::Instructions { slept, now, .. } => ClockState {
                timebase: now.load(Ordering::Relaxed),
                slept: Some(slept.load(Ordering::Relaxed)),
            },
        }
    }

    /// Whether the clock can go on from there.
    pub(in crate::board) fn check_state(&self, saved: ClockState) -> Result<(), StateError> {
        if self.counts_instructions() && saved.slept.is_none() {
            let what = "time of the host for a clock that counts instructions";
            return Err(StateError::Value(what.to_owned()));
        }
        Ok(())
    }

    /// The guest's timebase goes on where it was: time in which the guest did not run has not
    /// passed. The state was [checked](Self::check_state).
    pub(in crate::board) fn set_state(&self, saved: ClockState) {
        match &self.0 {
            Source::Host { paused_at, is_paused, .. } if is_paused.load(Ordering::Acquire) => {
                paused_at.store(saved.timebase, Ordering::Relaxed);
            }
            Source::Host { start, at_start, .. } => {
                let passed = ticks(start.elapsed());
                at_start.store(saved.timebase.wrapping_sub(passed), Ordering::Relaxed);
            }
            Source::Instructions { slept, now, pace } => {
                slept.store(saved.slept.unwrap_or(0), Ordering::Relaxed);
                now.store(saved.timebase, Ordering::Relaxed);
                let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
                *pace = Pace { host: Instant::now(), guest: saved.timebase };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_still_takes_up_time_and_stands_there() {
        let (first, second) = (Clock::of_host(), Clock::of_host());
        first.set_state(ClockState { timebase: 1 << 50, slept: None });
        first.pause();
        second.pause();
        second.set_state(first.state());
        assert_eq!(second.timebase(0), first.timebase(0));
        second.resume();
        assert!((1 << 50..1 << 51).contains(&second.timebase(0)));
    }

    #[test]
    fn time_goes_on_where_it_was() {
        for make in [Clock::of_host, Clock::of_instructions] {
            let first = make();
            first.sleep(1 << 40);
            let timebase = first.timebase(100);
            let second = make();
            second.check_state(first.state()).unwrap();
            second.set_state(first.state());
            let now = second.timebase(100);
            assert!((timebase..timebase + (1 << 39)).contains(&now), "{timebase} {now}");
        }
        let of_host = Clock::of_host().state();
        assert!(Clock::of_instructions().check_state(of_host).is_err());
    }
}
