//! The clock as it is saved.

use serde::{Deserialize, Serialize};

use super::{LATEST, NS_PER_S, RealTimeClock};
use crate::platform::{SaveState, StateError, StateValue};

/// What is saved of a clock: by how much it differs from the host's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockState {
    /// In seconds, rounded down, and the nanoseconds that are missing.
    offset_s: i64,
    offset_ns: u32,
}

impl SaveState for RealTimeClock {
    fn save(&self) -> Result<StateValue, StateError> {
        let (offset, second) = (*self.offset(), NS_PER_S as i128);
        // Neither can be more than the clock can show, of which an i64 is far away.
        let offset_s = i64::try_from(offset.div_euclid(second)).unwrap_or_default();
        StateValue::of(&ClockState { offset_s, offset_ns: offset.rem_euclid(second) as u32 })
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let ClockState { offset_s, offset_ns } = state.get()?;
        let latest_s = LATEST.as_secs() as i64;
        if !(-latest_s..=latest_s).contains(&offset_s) || u128::from(offset_ns) >= NS_PER_S {
            let offset = format!("{offset_s} s and {offset_ns} ns");
            return Err(StateError::Value(format!("a clock cannot be off by {offset}")));
        }
        *self.offset() = i128::from(offset_s) * NS_PER_S as i128 + i128::from(offset_ns);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::At;
    use super::*;

    #[test]
    fn clock_goes_on_where_it_was_saved() {
        for time in [Duration::new(1, 999_999_999), Duration::new(1 << 33, 7), LATEST] {
            let [one, other] =
                [0, 1].map(|_| RealTimeClock::new(Box::new(At(Duration::new(5, 3)))));
            one.set(time);
            other.restore(one.version(), &one.save().unwrap()).unwrap();
            assert_eq!(other.now(), time);
        }
    }

    #[test]
    fn offset_that_cannot_be_is_refused() {
        let clock = RealTimeClock::new(Box::new(At(Duration::new(5, 3))));
        for (offset_s, offset_ns) in [(i64::MAX, 0), (i64::MIN, 0), (0, 1_000_000_000)] {
            let state = StateValue::of(&ClockState { offset_s, offset_ns }).unwrap();
            assert!(matches!(clock.restore(1, &state), Err(StateError::Value(_))));
        }
        let state = StateValue::of(&"noon").unwrap();
        assert!(matches!(clock.restore(1, &state), Err(StateError::Format(_))));
        let version = clock.restore(2, &clock.save().unwrap());
        assert!(matches!(version, Err(StateError::Version { found: 2, newest: 1 })));
        assert_eq!(clock.now(), Duration::new(5, 3));
    }
}
