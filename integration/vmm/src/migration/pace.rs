//! When a machine that is being copied has to stand still: how many rounds there are, and how much of
//! its time a guest is taken that writes faster than the connection carries.
#![forbid(unsafe_code)]

use std::time::Duration;

/// What everything but RAM may take while the machine stands still: to come to rest, to save its state
/// and to take it up, and to hand it over. On a host that does nothing else it takes some milliseconds.
const STATE_TIME: Duration = Duration::from_millis(50);

/// A round that carried less says nothing of how fast the connection is.
const MEASURED_BYTES: u64 = 1 << 20;

/// The lowest speed that is reckoned with, in bytes a second, and the one before the first round.
const SPEED_MIN: u64 = 1 << 20;

/// How much of its time a guest is kept from running, one after the other, in percent: each time that
/// a round has not made what is left at least a third smaller.
const STANDSTILLS: [u8; 6] = [0, 50, 75, 90, 95, 98];

/// How many rounds there are at most, and how many that do not help at the last of these.
const ROUNDS_MAX: u32 = 60;
const VAIN_ROUNDS_MAX: u32 = 5;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another round, while the guest is kept from running for so many percent of its time.
    Round { standstill_percent: u8 },
    /// The machine stands still, and what is left goes.
    Finish,
    /// It does not get less: the machine would stand still for longer than it may.
    TooMuch,
}

/// The rounds of a migration.
#[derive(Debug)]
pub(crate) struct Pace {
    downtime: Duration,
    /// Bytes that the connection carries in a second.
    speed: u64,
    /// What was left before the last round, in bytes.
    before: u64,
    rounds: u32,
    standstill: usize,
    /// Rounds that did not help, though it stands still for as much as it may.
    vain: u32,
}

impl Pace {
    /// The machine may stand still for so long.
    pub(crate) fn new(downtime: Duration) -> Self {
        Self { downtime, speed: SPEED_MIN, before: u64::MAX, rounds: 0, standstill: 0, vain: 0 }
    }

    /// A round is over: it has `sent` so many bytes in so much time, and so many were written
    /// meanwhile.
    pub(crate) fn round(&mut self, sent: u64, took: Duration, dirty: u64) -> Next {
        self.rounds += 1;
        if sent >= MEASURED_BYTES || self.rounds == 1 {
            let nanoseconds = took.as_nanos().max(1);
            let speed = u128::from(sent) * 1_000_000_000 / nanoseconds;
            self.speed = u64::try_from(speed).unwrap_or(u64::MAX).max(SPEED_MIN);
        }
        if self.fits(dirty) {
            return Next::Finish;
        }
        if self.rounds >= ROUNDS_MAX || self.vain >= VAIN_ROUNDS_MAX {
            return Next::TooMuch;
        }
        if dirty > self.before / 3 * 2 {
            if self.standstill + 1 < STANDSTILLS.len() {
                self.standstill += 1;
            } else {
                self.vain += 1;
            }
        }
        self.before = dirty;
        Next::Round { standstill_percent: self.standstill_percent() }
    }

    /// Whether so many bytes can be sent while the machine stands still. It does not get less then.
    pub(crate) fn fits(&self, dirty: u64) -> bool {
        self.time_of(dirty) + STATE_TIME.min(self.downtime / 2) <= self.downtime
    }

    /// It stood still, and there was too much: it is to write less in the rounds that follow.
    pub(crate) fn was_too_much(&mut self, dirty: u64) {
        self.standstill = (self.standstill + 1).min(STANDSTILLS.len() - 1);
        self.before = dirty;
        self.vain += 1;
    }

    /// How much of its time the guest is kept from running, in percent.
    pub(crate) const fn standstill_percent(&self) -> u8 {
        STANDSTILLS[self.standstill]
    }

    /// How long it takes to send so many bytes.
    pub(crate) fn time_of(&self, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.speed);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How many bytes the connection carries in a second.
    pub(crate) const fn bytes_per_second(&self) -> u64 {
        self.speed
    }

    /// How many rounds there were.
    pub(crate) const fn rounds(&self) -> u32 {
        self.rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A guest that writes so much in a second, over and over the same bytes, and a connection that
    /// carries so much. Gives how long it stands still, and how many rounds there were.
    fn moved(
        ram: u64,
        working_set: u64,
        writes: u64,
        carries: u64,
        downtime_ms: u64,
    ) -> Option<(Duration, u32)> {
        let mut pace = Pace::new(Duration::from_millis(downtime_ms));
        let (mut to_send, mut standstill) = (ram, 0_u64);
        loop {
            let took = Duration::from_secs_f64(to_send as f64 / carries as f64);
            let written = writes as f64 * took.as_secs_f64() * (100 - standstill) as f64 / 100.0;
            let dirty = (written as u64).min(working_set);
            match pace.round(to_send, took, dirty) {
                Next::Round { standstill_percent } => standstill = standstill_percent.into(),
                Next::Finish => return Some((pace.time_of(dirty), pace.rounds())),
                Next::TooMuch => return None,
            }
            to_send = dirty;
            assert!(pace.rounds() <= ROUNDS_MAX);
        }
    }

    #[test]
    fn a_guest_that_does_little_takes_one_round() {
        let (stands_still, rounds) =
            moved(1024 * MIB, 256 * MIB, 10 * MIB, 1000 * MIB, 100).unwrap();
        assert!(
            stands_still <= Duration::from_millis(70) && rounds == 1,
            "{stands_still:?} {rounds}"
        );
    }

    #[test]
    fn a_guest_that_writes_slower_than_the_connection_takes_several() {
        let (stands_still, rounds) =
            moved(1024 * MIB, 512 * MIB, 500 * MIB, 1000 * MIB, 100).unwrap();
        assert!(stands_still <= Duration::from_millis(70) && (2..8).contains(&rounds), "{rounds}");
    }

    /// All of the working set is written anew long before a round is over.
    #[test]
    fn a_guest_that_writes_faster_is_slowed_down() {
        for writes in [2_000, 8_000, 20_000] {
            let moved = moved(1024 * MIB, 256 * MIB, writes * MIB, 1000 * MIB, 100);
            let (stands_still, rounds) = moved.unwrap();
            assert!(
                stands_still <= Duration::from_millis(70),
                "{writes}: {stands_still:?} {rounds}"
            );
        }
    }

    #[test]
    fn what_does_not_get_less_is_given_up() {
        assert_eq!(moved(1024 * MIB, 1024 * MIB, 1 << 40, 10 * MIB, 100), None);
        // Without any time, only what does not write at all moves.
        assert_eq!(moved(1024 * MIB, MIB, 1 << 40, 1000 * MIB, 0), None);
        assert_eq!(moved(1024 * MIB, 0, 0, 1000 * MIB, 0).unwrap().1, 1);
    }

    #[test]
    fn any_figures_are_a_decision() {
        let figures = [0, 1, u64::MAX];
        for all in 0..27 {
            let (sent, took, dirty) = (figures[all % 3], figures[all / 3 % 3], figures[all / 9]);
            let mut pace = Pace::new(Duration::MAX);
            let _ = pace.round(sent, Duration::from_nanos(took), dirty);
            let mut pace = Pace::new(Duration::ZERO);
            for _ in 0..ROUNDS_MAX + 1 {
                let _ = pace.round(sent, Duration::from_nanos(took), dirty);
            }
        }
    }
}
