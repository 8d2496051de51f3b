//! What time it is in a guest whose processor is software.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arch_ppc64::layout::TIMEBASE_HZ;
use arch_ppc64::rtas::HostTime;

/// Where a guest's timebase comes from: the host's clock, or the instructions that it executes.
#[derive(Debug)]
pub struct Clock(Source);

#[derive(Debug)]
enum Source {
    Host(Instant),
    /// A tick an instruction.
    Instructions {
        /// Ticks that the CPU was asleep for: it does not wait for what comes next, time does.
        slept: AtomicU64,
        /// The timebase when somebody last asked.
        now: AtomicU64,
    },
}

const NS_PER_S: u128 = 1_000_000_000;

impl Clock {
    /// The host's clock, starting now.
    pub fn of_host() -> Self {
        Self(Source::Host(Instant::now()))
    }

    /// The instructions of the one CPU of a machine: two runs of the same guest are the same, to
    /// the last instruction, as long as nobody types and the guest does not ask the client
    /// interface for `milliseconds`, which are the host's.
    pub fn of_instructions() -> Self {
        Self(Source::Instructions { slept: AtomicU64::new(0), now: AtomicU64::new(0) })
    }

    /// Whether it counts instructions.
    pub fn counts_instructions(&self) -> bool {
        matches!(self.0, Source::Instructions { .. })
    }

    /// A new CPU begins to count at 0: its time goes on where it is.
    pub(super) fn restart(&self) {
        if let Source::Instructions { slept, now } = &self.0 {
            slept.store(now.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The timebase after so many instructions of the CPU that asks.
    pub(super) fn timebase(&self, instructions: u64) -> u64 {
        match &self.0 {
            Source::Host(start) => ticks(start.elapsed()),
            Source::Instructions { slept, now } => {
                let ticks = instructions.wrapping_add(slept.load(Ordering::Relaxed));
                now.store(ticks, Ordering::Relaxed);
                ticks
            }
        }
    }

    /// How long a CPU that sleeps for so many ticks has to wait; `None` when the time has already
    /// been let pass.
    pub(super) fn sleep(&self, wait_ticks: u64) -> Option<Duration> {
        match &self.0 {
            Source::Host(_) => {
                let ns = u128::from(wait_ticks) * NS_PER_S / u128::from(TIMEBASE_HZ);
                Some(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
            }
            Source::Instructions { slept, .. } => {
                slept.fetch_add(wait_ticks, Ordering::Relaxed);
                None
            }
        }
    }
}

fn ticks(time: Duration) -> u64 {
    (time.as_nanos() * u128::from(TIMEBASE_HZ) / NS_PER_S) as u64
}

/// The time of day for a machine whose clock counts instructions: the same at each run.
#[derive(Debug)]
pub struct GuestTime(std::sync::Arc<Clock>);

impl GuestTime {
    /// 2026-01-01 00:00:00 UTC, in seconds since 1970: when every such machine is switched on.
    const START_S: u64 = 1_767_225_600;

    /// The time that `clock` shows.
    pub fn new(clock: std::sync::Arc<Clock>) -> Self {
        Self(clock)
    }
}

impl HostTime for GuestTime {
    fn now(&self) -> Duration {
        let passed = match &self.0.0 {
            Source::Host(start) => start.elapsed(),
            Source::Instructions { now, .. } => {
                let ns = u128::from(now.load(Ordering::Relaxed)) * NS_PER_S;
                Duration::from_nanos((ns / u128::from(TIMEBASE_HZ)) as u64)
            }
        };
        Duration::from_secs(Self::START_S) + passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_ticks_and_sleep_is_skipped() {
        let clock = std::sync::Arc::new(Clock::of_instructions());
        assert_eq!(clock.timebase(100), 100);
        assert_eq!(clock.sleep(u64::from(TIMEBASE_HZ)), None);
        assert_eq!(clock.timebase(101), 101 + u64::from(TIMEBASE_HZ));
        let time = GuestTime::new(clock.clone()).now();
        assert_eq!(time.as_secs(), GuestTime::START_S + 1);
        // A restart does not turn it back.
        clock.restart();
        assert_eq!(clock.timebase(0), 101 + u64::from(TIMEBASE_HZ));
    }

    #[test]
    fn host_time_is_waited_for() {
        let clock = Clock::of_host();
        assert_eq!(clock.sleep(TIMEBASE_HZ.into()), Some(Duration::from_secs(1)));
        let (first, second) = (clock.timebase(0), clock.timebase(0));
        assert!(first <= second && second < u64::from(TIMEBASE_HZ) * 60);
    }
}
