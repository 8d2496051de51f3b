//! What time it is in a guest whose processor is software.

#[cfg(feature = "serde")]
mod saved;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arch_ppc64::layout::TIMEBASE_HZ;
use arch_ppc64::rtas::HostTime;

#[cfg(feature = "serde")]
pub(super) use saved::ClockState;

/// Where a guest's timebase comes from: the host's clock, or the instructions that it executes.
#[derive(Debug)]
pub struct Clock(Source);

#[derive(Debug)]
enum Source {
    Host {
        start: Instant,
        /// The timebase then.
        at_start: AtomicU64,
        /// It stands still.
        is_paused: AtomicBool,
        /// The timebase while it does.
        paused_at: AtomicU64,
    },
    /// A tick an instruction.
    Instructions {
        /// Ticks beyond the instructions of the CPU that executes: those that all were asleep for,
        /// which pass at once, and what others have executed.
        slept: AtomicU64,
        /// The timebase when somebody last asked.
        now: AtomicU64,
        pace: Mutex<Pace>,
    },
}

const NS_PER_S: u128 = 1_000_000_000;

/// Keeps a guest that sleeps from running ahead of the host's clock, so that an idle one costs
/// nothing. The guest sees nothing of it.
#[derive(Debug)]
struct Pace {
    /// Guest and host were together when the guest's timebase was this.
    host: Instant,
    guest: u64,
}

impl Pace {
    /// A guest that computed is behind, and may make up for no more than this.
    const BEHIND_MAX: Duration = Duration::from_secs(1);

    /// To wait for less is not worth the host's trouble.
    const AHEAD_MIN: Duration = Duration::from_millis(1);

    /// How long the host has to wait at this timebase of the guest's and moment of its own.
    fn wait(&mut self, guest: u64, host: Instant) -> Option<Duration> {
        let guest_passed = duration(guest.wrapping_sub(self.guest));
        let host_passed = host.saturating_duration_since(self.host);
        if host_passed > guest_passed.saturating_add(Self::BEHIND_MAX) {
            (self.host, self.guest) = (host, guest);
            if let Some(earlier) = host.checked_sub(Self::BEHIND_MAX) {
                self.host = earlier;
            }
            return None;
        }
        let ahead = guest_passed.saturating_sub(host_passed);
        (ahead >= Self::AHEAD_MIN).then_some(ahead)
    }
}

impl Clock {
    /// The host's clock, starting now.
    pub fn of_host() -> Self {
        Self(Source::Host {
            start: Instant::now(),
            at_start: AtomicU64::new(0),
            is_paused: AtomicBool::new(false),
            paused_at: AtomicU64::new(0),
        })
    }

    /// The instructions of a machine's CPUs, which execute in turns: two runs of the same guest are
    /// the same, to the last instruction, as long as nobody types and the guest does not ask the
    /// client interface for `milliseconds`, which are the host's.
    pub fn of_instructions() -> Self {
        Self(Source::Instructions {
            slept: AtomicU64::new(0),
            now: AtomicU64::new(0),
            pace: Mutex::new(Pace { host: Instant::now(), guest: 0 }),
        })
    }

    /// Whether it counts instructions.
    pub fn counts_instructions(&self) -> bool {
        matches!(self.0, Source::Instructions { .. })
    }

    /// Has the guest's time stand still, as no CPU executes. Again is no change.
    pub fn pause(&self) {
        if let Source::Host { is_paused, paused_at, .. } = &self.0 {
            if !is_paused.load(Ordering::Acquire) {
                paused_at.store(self.timebase(0), Ordering::Relaxed);
                is_paused.store(true, Ordering::Release);
            }
        }
    }

    /// Has it go on where it stood, before any CPU executes. One that goes on is not changed.
    pub fn resume(&self) {
        match &self.0 {
            Source::Host { start, at_start, is_paused, paused_at } => {
                if is_paused.load(Ordering::Acquire) {
                    let now = paused_at.load(Ordering::Relaxed);
                    let passed = ticks(start.elapsed());
                    at_start.store(now.wrapping_sub(passed), Ordering::Relaxed);
                    is_paused.store(false, Ordering::Release);
                }
            }
            // What the host had of time meanwhile is nothing to be made up for.
            Source::Instructions { now, pace, .. } => {
                let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
                *pace = Pace { host: Instant::now(), guest: now.load(Ordering::Relaxed) };
            }
        }
    }

    /// A new CPU begins to count at 0: its time goes on where it is.
    pub(super) fn restart(&self) {
        self.go_on(0);
    }

    /// A CPU that has executed so many instructions goes on where the one before it was.
    pub(super) fn go_on(&self, instructions: u64) {
        if let Source::Instructions { slept, now, .. } = &self.0 {
            let ahead = now.load(Ordering::Relaxed).wrapping_sub(instructions);
            slept.store(ahead, Ordering::Relaxed);
        }
    }

    /// The timebase when somebody last asked, where instructions are counted.
    pub(super) fn now(&self) -> u64 {
        match &self.0 {
            Source::Host { .. } => self.timebase(0),
            Source::Instructions { now, .. } => now.load(Ordering::Relaxed),
        }
    }

    /// The timebase after so many instructions of the CPU that asks.
    pub(super) fn timebase(&self, instructions: u64) -> u64 {
        match &self.0 {
            Source::Host { paused_at, is_paused, .. } if is_paused.load(Ordering::Acquire) => {
                paused_at.load(Ordering::Relaxed)
            }
            Source::Host { start, at_start, .. } => {
                at_start.load(Ordering::Relaxed).wrapping_add(ticks(start.elapsed()))
            }
            Source::Instructions { slept, now, .. } => {
                let ticks = instructions.wrapping_add(slept.load(Ordering::Relaxed));
                now.store(ticks, Ordering::Relaxed);
                ticks
            }
        }
    }

    /// How long a CPU that sleeps for so many ticks has to wait; `None`: not at all. Where
    /// instructions are counted, the ticks have passed already, and to wait for less changes
    /// nothing for the guest.
    pub(super) fn sleep(&self, wait_ticks: u64) -> Option<Duration> {
        match &self.0 {
            Source::Host { .. } => Some(duration(wait_ticks)),
            Source::Instructions { slept, now, pace } => {
                slept.fetch_add(wait_ticks, Ordering::Relaxed);
                let now = now.fetch_add(wait_ticks, Ordering::Relaxed).wrapping_add(wait_ticks);
                let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
                pace.wait(now, Instant::now())
            }
        }
    }
}

fn duration(ticks: u64) -> Duration {
    let ns = u128::from(ticks) * NS_PER_S / u128::from(TIMEBASE_HZ);
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
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
        Duration::from_secs(Self::START_S) + duration(self.0.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_ticks_and_sleep_passes_at_once() {
        let clock = std::sync::Arc::new(Clock::of_instructions());
        assert_eq!(clock.timebase(100), 100);
        clock.sleep(u64::from(TIMEBASE_HZ));
        assert_eq!(clock.timebase(101), 101 + u64::from(TIMEBASE_HZ));
        let time = GuestTime::new(clock.clone()).now();
        assert_eq!(time.as_secs(), GuestTime::START_S + 1);
        // Nor does another CPU, which has executed less.
        clock.go_on(7);
        assert_eq!(clock.timebase(8), 102 + u64::from(TIMEBASE_HZ));
        // A restart does not turn it back.
        clock.restart();
        assert_eq!(clock.timebase(0), 102 + u64::from(TIMEBASE_HZ));
    }

    #[test]
    fn only_a_guest_that_is_ahead_waits_for_the_host() {
        const SECOND: u64 = TIMEBASE_HZ as u64;
        let start = Instant::now();
        let mut pace = Pace { host: start, guest: 7 };
        let mut wait = |guest, host_ms| {
            pace.wait(guest + 7, start + Duration::from_millis(host_ms))
                .map(|time| time.as_millis())
        };
        assert_eq!(wait(SECOND, 1000), None);
        assert_eq!(wait(SECOND * 3, 1000), Some(2000));
        // Woken early, it is still ahead; it computes, and the host catches up.
        assert_eq!(wait(SECOND * 3, 1500), Some(1500));
        assert_eq!(wait(SECOND * 3, 3500), None);
        // It has computed for an hour that was ten minutes of its own: one second is forgiven.
        assert_eq!(wait(SECOND * 600, 3_600_000), None);
        assert_eq!(wait(SECOND * 601, 3_600_000), None);
        assert_eq!(wait(SECOND * 603, 3_600_000), Some(2000));
        assert_eq!(wait(u64::MAX / 2, 3_600_000).map(|ms| ms > 1 << 40), Some(true));
    }

    #[test]
    fn time_that_stands_still_goes_on_where_it_stood() {
        let clock = Clock::of_host();
        let before = clock.timebase(0);
        clock.pause();
        let paused = clock.timebase(0);
        assert!(before <= paused);
        std::thread::sleep(Duration::from_millis(300));
        clock.pause();
        assert_eq!(clock.timebase(0), paused);
        // Only the time between these two has passed.
        let resumed = Instant::now();
        clock.resume();
        let now = clock.timebase(0);
        assert!((paused..=paused + ticks(resumed.elapsed())).contains(&now), "{paused} {now}");
        clock.resume();
        assert!(clock.timebase(0) - now <= ticks(resumed.elapsed()));
    }

    #[test]
    fn who_counts_instructions_makes_up_for_no_pause() {
        const SECOND: u64 = TIMEBASE_HZ as u64;
        let clock = Clock::of_instructions();
        let Source::Instructions { pace, .. } = &clock.0 else { panic!() };
        let long_ago = Instant::now().checked_sub(Duration::from_millis(900)).unwrap();
        pace.lock().unwrap().host = long_ago;
        clock.pause();
        clock.resume();
        assert!(clock.sleep(SECOND).unwrap() > Duration::from_millis(500));
    }

    #[test]
    fn host_time_is_waited_for() {
        let clock = Clock::of_host();
        assert_eq!(clock.sleep(TIMEBASE_HZ.into()), Some(Duration::from_secs(1)));
        let (first, second) = (clock.timebase(0), clock.timebase(0));
        assert!(first <= second && second < u64::from(TIMEBASE_HZ) * 60);
    }
}
