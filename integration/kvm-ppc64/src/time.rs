//! A guest's time over a save and a restore.
//!
//! The guest's time base is the host's plus TB_OFFSET, a register of each CPU that KVM rounds up to
//! a multiple of 2^24 ticks. All CPUs of a guest must have the same: what a restore adds is computed
//! once. While a guest is paused, its time stands still in the same way: what it was paused for is taken
//! from the offset of all CPUs before they run again.

use std::time::Duration;

use arch_ppc64::layout::TIMEBASE_HZ;

/// What TB_OFFSET is a multiple of.
pub(crate) const OFFSET_STEP: u64 = 1 << 24;

/// What a restored guest's time does about the time that it was not there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TimePolicy {
    /// Nothing: the guest's time base goes on where it was. Its wall clock is late then, for as
    /// long as it asks nobody.
    #[default]
    Frozen,
    /// It passes at once, by the clocks of the two hosts: the guest's wall clock is right, and all
    /// of its timers that are due run out together.
    CatchUp,
}

/// What the time of a host was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostTime {
    /// Its time base.
    pub(crate) timebase: u64,
    /// Nanoseconds since 1970.
    pub(crate) unix_ns: u64,
}

/// What has to be added to TB_OFFSET of every CPU that was saved then and goes on now.
pub(crate) fn correction(then: HostTime, now: HostTime, policy: TimePolicy) -> u64 {
    let frozen = then.timebase.wrapping_sub(now.timebase);
    let missed = match policy {
        TimePolicy::Frozen => 0,
        TimePolicy::CatchUp => ticks(now.unix_ns.saturating_sub(then.unix_ns)),
    };
    let exact = frozen.wrapping_add(missed);
    // The kernel rounds in the same direction, so that time never goes back.
    exact.wrapping_add(OFFSET_STEP - 1) & !(OFFSET_STEP - 1)
}

/// What has to be added to TB_OFFSET of every CPU of a guest that was paused for so long, on one host: less
/// than a step stays, so that time never goes back.
pub(crate) fn correction_of_pause(paused_for: Duration) -> u64 {
    let at = |timebase| HostTime { timebase, unix_ns: 0 };
    correction(at(0), at(ticks_of(paused_for)), TimePolicy::Frozen)
}

impl HostTime {
    /// So much earlier.
    pub(crate) fn before(self, time: Duration) -> Self {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            timebase: self.timebase.wrapping_sub(ticks_of(time)),
            unix_ns: self.unix_ns.saturating_sub(ns),
        }
    }
}

fn ticks_of(time: Duration) -> u64 {
    ticks(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn ticks(ns: u64) -> u64 {
    (u128::from(ns) * u128::from(TIMEBASE_HZ) / 1_000_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = TIMEBASE_HZ as u64;

    fn at(timebase: u64, seconds: u64) -> HostTime {
        HostTime { timebase, unix_ns: seconds * 1_000_000_000 }
    }

    /// What a guest reads, from the one host to the other.
    fn guest_time(host: u64, offset: u64) -> u64 {
        host.wrapping_add(offset)
    }

    #[test]
    fn frozen_time_goes_on_where_it_was() {
        // To a host that was started later, and to one that was started earlier.
        for now in [at(7 * SECOND, 1000), at(900 * SECOND, 1000)] {
            let then = at(500 * SECOND, 500);
            let offset = correction(then, now, TimePolicy::Frozen);
            assert_eq!(offset % OFFSET_STEP, 0);
            let ahead = guest_time(now.timebase, offset) - then.timebase;
            assert!(ahead < OFFSET_STEP, "{ahead}");
        }
    }

    #[test]
    fn time_that_catches_up_is_the_wall_clock() {
        let (then, now) = (at(500 * SECOND, 500), at(7 * SECOND, 530));
        let offset = correction(then, now, TimePolicy::CatchUp);
        let ahead = guest_time(now.timebase, offset) - (then.timebase + 30 * SECOND);
        assert!(ahead < OFFSET_STEP, "{ahead}");
        // A clock that was set back does not take the guest's time back.
        let offset = correction(now, at(7 * SECOND, 100), TimePolicy::CatchUp);
        assert_eq!(offset, 0);
    }

    #[test]
    fn what_a_guest_was_paused_for_has_not_passed() {
        for paused_ms in [0, 1, 32, 33, 1000, 60_000, 86_400_000] {
            let paused_for = Duration::from_millis(paused_ms);
            let offset = correction_of_pause(paused_for);
            assert_eq!(offset % OFFSET_STEP, 0);
            let ahead = guest_time(500 * SECOND + ticks_of(paused_for), offset) - 500 * SECOND;
            assert!(ahead < OFFSET_STEP, "{paused_ms} ms: {ahead}");
        }
        // And what is saved of a paused guest is its time when it was paused.
        let then = at(500 * SECOND, 1000).before(Duration::from_secs(60));
        assert_eq!(then, at(440 * SECOND, 940));
    }

    #[test]
    fn no_saved_time_is_too_much() {
        let (first, last) = (at(0, 0), HostTime { timebase: u64::MAX, unix_ns: u64::MAX });
        for policy in [TimePolicy::Frozen, TimePolicy::CatchUp] {
            assert_eq!(correction(first, last, policy) % OFFSET_STEP, 0);
            assert_eq!(correction(last, first, policy) % OFFSET_STEP, 0);
        }
    }
}
