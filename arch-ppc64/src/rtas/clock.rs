//! The time of day (LoPAPR §7.3.2).

#[cfg(feature = "serde")]
mod saved;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::args::RtasStatus;
use super::handler::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome};
use crate::platform::Device;

/// Where a [`RealTimeClock`] gets the time from.
pub trait HostTime: Send + Sync {
    /// The time since 1970-01-01 00:00:00 UTC, without leap seconds.
    fn now(&self) -> Duration;
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTime;

impl HostTime for SystemTime {
    fn now(&self) -> Duration {
        // A host that thinks it is before 1970 gives its guests 1970.
        std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
    }
}

/// The machine's clock: the host's, plus what the guest set it off by.
///
/// "A non-volatile real time clock which maintains the time of day even if power to the machine
/// is removed" (LoPAPR §7.3.2): a VMM keeps one over all restarts of its machine.
pub struct RealTimeClock {
    host: Box<dyn HostTime>,
    offset_ns: Mutex<i128>,
}

impl RealTimeClock {
    /// A clock that shows the time of `host` until the guest sets it.
    pub fn new(host: Box<dyn HostTime>) -> Self {
        Self { host, offset_ns: Mutex::new(0) }
    }

    /// The time since 1970-01-01 00:00:00 UTC.
    pub fn now(&self) -> Duration {
        let now = self.host_ns() + *self.offset();
        let now = now.clamp(0, LATEST.as_nanos() as i128) as u128;
        Duration::new((now / NS_PER_S) as u64, (now % NS_PER_S) as u32)
    }

    /// Sets the clock to a time since 1970-01-01 00:00:00 UTC.
    pub fn set(&self, time: Duration) {
        *self.offset() = time.as_nanos() as i128 - self.host_ns();
    }

    fn host_ns(&self) -> i128 {
        self.host.now().as_nanos() as i128
    }

    fn offset(&self) -> MutexGuard<'_, i128> {
        self.offset_ns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for RealTimeClock {
    /// The host's clock.
    fn default() -> Self {
        Self::new(Box::new(SystemTime))
    }
}

impl fmt::Debug for RealTimeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealTimeClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

const GET: usize = 0;
const SET: usize = 1;
const CALLS: &[RtasCall] =
    &[RtasCall::new("get-time-of-day", &[0], 8), RtasCall::new("set-time-of-day", &[7], 1)];

/// `get-time-of-day` and `set-time-of-day`.
#[derive(Debug)]
pub struct RtasClock {
    clock: Arc<RealTimeClock>,
}

impl RtasClock {
    /// Calls that read and set `clock`.
    pub fn new(clock: Arc<RealTimeClock>) -> Self {
        Self { clock }
    }

    /// Inputs: as the outputs of `get-time-of-day` (§7.3.2.3).
    fn set(&self, call: &RtasInvocation<'_>) -> RtasStatus {
        match call.inputs.try_into().ok().and_then(since_epoch) {
            Some(time) => {
                self.clock.set(time);
                RtasStatus::SUCCESS
            }
            None => RtasStatus::PARAMETER_ERROR,
        }
    }
}

impl RtasHandler for RtasClock {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match number {
            GET => {
                // Year, month, day, hour, minute, second, nanosecond, in UTC (§7.3.2.2).
                for (output, field) in invocation.outputs.iter_mut().zip(civil(self.clock.now())) {
                    *output = field;
                }
                RtasStatus::SUCCESS.into()
            }
            SET => self.set(invocation).into(),
            _ => RtasStatus::PARAMETER_ERROR.into(),
        }
    }
}

impl Device for RtasClock {
    fn id(&self) -> &str {
        "rtas-clock"
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(&*self.clock)
    }
}

const NS_PER_S: u128 = 1_000_000_000;
const S_PER_DAY: u64 = 24 * 60 * 60;
/// The years that the clock can show.
const FIRST_YEAR: u32 = 1970;
const LAST_YEAR: u32 = 9999;
/// The last moment that the clock can show: the end of [`LAST_YEAR`].
pub(super) const LATEST: Duration =
    Duration::new(days_before_year(LAST_YEAR + 1) * S_PER_DAY - 1, 999_999_999);

/// Year, month, day, hour, minute, second and nanosecond of a time since 1970.
pub(super) fn civil(time: Duration) -> [u32; 7] {
    let seconds = time.as_secs();
    let days = seconds / S_PER_DAY;
    // Years have at most 366 days, so this is not too late; the loop ends after a few dozen.
    let mut year = FIRST_YEAR + (days / 366) as u32;
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    let mut day = (days - days_before_year(year)) as u32;
    let mut month = 1;
    while day >= days_in_month(year, month) {
        day -= days_in_month(year, month);
        month += 1;
    }
    let second = (seconds % S_PER_DAY) as u32;
    [year, month, day + 1, second / 3600, second / 60 % 60, second % 60, time.subsec_nanos()]
}

/// The time since 1970 of such fields, or `None` when "the specified date is outside the range"
/// or is no date (§7.3.2.1).
fn since_epoch(fields: [u32; 7]) -> Option<Duration> {
    let [year, month, day, hour, minute, second, nanosecond] = fields;
    let is_valid = (FIRST_YEAR..=LAST_YEAR).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && u128::from(nanosecond) < NS_PER_S;
    if !is_valid {
        return None;
    }
    let months: u32 = (1..month).map(|month| days_in_month(year, month)).sum();
    let days = days_before_year(year) + u64::from(months + day - 1);
    let seconds = u64::from(hour * 3600 + minute * 60 + second);
    Some(Duration::new(days * S_PER_DAY + seconds, nanosecond))
}

/// Days from 1970-01-01 to the first day of a year.
const fn days_before_year(year: u32) -> u64 {
    // Leap years since year 0, before `year`.
    const fn leaps(year: u64) -> u64 {
        year.div_ceil(4) - year.div_ceil(100) + year.div_ceil(400)
    }
    let year = year as u64;
    (year - FIRST_YEAR as u64) * 365 + leaps(year) - leaps(FIRST_YEAR as u64)
}

const fn is_leap(year: u32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// `month` is 1 to 12; any other has 31 days.
const fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // Seconds since 1970 as `date -u +%s` gives them.
        for (seconds, fields) in [
            (0, [1970, 1, 1, 0, 0, 0]),
            (68_169_599, [1972, 2, 28, 23, 59, 59]),
            (68_169_600, [1972, 2, 29, 0, 0, 0]),
            (951_782_400, [2000, 2, 29, 0, 0, 0]),
            (951_868_800, [2000, 3, 1, 0, 0, 0]),
            (1_735_689_599, [2024, 12, 31, 23, 59, 59]),
            (4_107_542_400, [2100, 3, 1, 0, 0, 0]),
            (253_402_300_799, [9999, 12, 31, 23, 59, 59]),
        ] {
            let time = Duration::new(seconds, 7);
            let [year, month, day, hour, minute, second] = fields;
            let fields = [year, month, day, hour, minute, second, 7];
            assert_eq!(civil(time), fields);
            assert_eq!(since_epoch(fields), Some(time));
        }
    }

    #[test]
    fn every_day_of_eight_centuries_is_the_same_both_ways() {
        for day in 0..800 * 365 {
            let time = Duration::from_secs(day * S_PER_DAY + 3_661);
            assert_eq!(since_epoch(civil(time)), Some(time), "day {day}");
        }
    }

    /// "The date must also be a valid date according to common usage: the day range being
    /// restricted for certain months, month 2 having 29 days in leap years" (§7.3.2.1).
    #[test]
    fn what_is_no_date_is_refused() {
        for fields in [
            [1969, 12, 31, 23, 59, 59, 0],
            [10_000, 1, 1, 0, 0, 0, 0],
            [2023, 2, 29, 0, 0, 0, 0],
            [2100, 2, 29, 0, 0, 0, 0],
            [2024, 0, 1, 0, 0, 0, 0],
            [2024, 13, 1, 0, 0, 0, 0],
            [2024, 4, 31, 0, 0, 0, 0],
            [2024, 1, 0, 0, 0, 0, 0],
            [2024, 1, 1, 24, 0, 0, 0],
            [2024, 1, 1, 0, 60, 0, 0],
            [2024, 1, 1, 0, 0, 60, 0],
            [2024, 1, 1, 0, 0, 0, 1_000_000_000],
            [u32::MAX; 7],
        ] {
            assert_eq!(since_epoch(fields), None, "{fields:?}");
        }
    }

    pub(super) struct At(pub(super) Duration);

    impl HostTime for At {
        fn now(&self) -> Duration {
            self.0
        }
    }

    #[test]
    fn clock_never_leaves_its_range() {
        let clock = RealTimeClock::new(Box::new(At(Duration::MAX)));
        assert_eq!(clock.now(), LATEST);
        clock.set(Duration::ZERO);
        assert_eq!(clock.now(), Duration::ZERO);
        clock.set(LATEST);
        assert_eq!(clock.now(), LATEST);
    }
}
