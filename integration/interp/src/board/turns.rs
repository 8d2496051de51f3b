//! Whose turn it is, where time is counted in instructions.
//!
//! Several CPUs execute in turns then, each for a fixed number of instructions, in the order of their
//! numbers, and time is what all of them together have executed: two runs are the same, to the last
//! instruction. A CPU keeps its turn while the machine answers it, so that what it asks of devices
//! is in order, too. Who stops, sleeps, or only waits for another one passes its turn on; when all
//! sleep, time jumps to the first decrementer.
//!
//! Each CPU has a thread of the host. Who may not execute waits in [`Turns::take`], outside guest
//! code; a kick gets it out of there, and changes nothing for the guest.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::lines::{Line, Lines, Referee};
use crate::system::System;

/// The instructions of a turn: long beside what it costs to wake another thread.
const TURN: u64 = 1 << 16;

/// The turns of a machine's CPUs.
#[derive(Debug)]
pub(super) struct Turns {
    round: Mutex<Round>,
    /// Of each CPU: it is its turn, or it was kicked.
    came: Vec<Condvar>,
    /// Something happened while all slept.
    stirred: Condvar,
}

/// What ends the sleep of CPUs.
pub(super) struct Causes<'a> {
    pub(super) lines: &'a Lines,
    pub(super) system: &'a System,
    pub(super) clock: &'a Clock,
}

impl Causes<'_> {
    fn wakes(&self, cpu: usize) -> bool {
        let line = self.lines.at(cpu);
        line.is_some_and(|line| line.external() || line.is_prodded()) || self.system.is_rung(cpu)
    }
}

#[derive(Debug)]
struct Round {
    seats: Vec<Seat>,
    holder: Option<usize>,
    /// How many instructions the holder will have executed when its turn is over, once it has begun.
    ends_at: Option<u64>,
    /// The CPU whose instructions the clock counts.
    counted: Option<usize>,
    /// How long the host has to wait for time that has passed for the guest.
    pause: Option<Duration>,
}

/// Where a CPU stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// It does not run.
    Away,
    /// It has been told to run: its turns count, and wait for its thread to come.
    Expected,
    Runs,
    /// It sleeps, at the latest until the timebase is this.
    Sleeps {
        until: u64,
    },
}

/// What is saved of it: whose turn it is, and when that is over.
#[cfg(feature = "serde")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TurnState {
    cpu: u32,
    ends_at: Option<u64>,
}

impl Round {
    /// Whether a sleep that all of them are in is over: a CPU, which has this line, was kicked, or
    /// something wakes one.
    fn is_stirred(&self, line: Option<&Line>, causes: &Causes<'_>) -> bool {
        let sleeps = |cpu: &usize| matches!(self.seats[*cpu], Seat::Sleeps { .. });
        line.is_some_and(Line::is_kicked)
            || (0..self.seats.len()).filter(sleeps).any(|cpu| causes.wakes(cpu))
    }
}

impl Turns {
    pub(super) fn new(cpus: usize) -> Self {
        let round = Round {
            seats: vec![Seat::Away; cpus],
            holder: None,
            ends_at: None,
            counted: None,
            pause: None,
        };
        let came = (0..cpus).map(|_| Condvar::new()).collect();
        Self { round: Mutex::new(round), came, stirred: Condvar::new() }
    }

    /// A CPU that has executed so many instructions wants to execute: waits for its turn. Gives how
    /// many it will have executed when that is over; `None` when it was kicked instead.
    pub(super) fn take(&self, cpu: usize, executed: u64, causes: &Causes<'_>) -> Option<u64> {
        let mut round = self.lock();
        if matches!(round.seats[cpu], Seat::Away | Seat::Expected) {
            round.seats[cpu] = Seat::Runs;
        }
        let line = causes.lines.at(cpu);
        loop {
            // Nobody has a turn, or one that a saved state says does not run.
            if round.holder.is_none_or(|holder| round.seats[holder] == Seat::Away) {
                self.choose(&mut round, None, causes);
            }
            if round.holder == Some(cpu) {
                if let Some(time) = round.pause.take() {
                    // Who came before this waits has stirred nobody.
                    if !round.is_stirred(line, causes) {
                        round = wait_for(&self.stirred, round, time);
                    }
                    continue;
                }
                if matches!(round.seats[cpu], Seat::Sleeps { .. }) {
                    round.seats[cpu] = Seat::Runs;
                    if let Some(line) = line {
                        line.take_prod();
                    }
                }
                if round.counted.replace(cpu) != Some(cpu) {
                    causes.clock.go_on(executed);
                }
                let end = (executed / TURN + 1) * TURN;
                return Some((*round.ends_at.get_or_insert(end)).min(end));
            }
            if line.is_none_or(|line| line.is_kicked()) {
                return None;
            }
            round = self.came[cpu].wait(round).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The CPU's turn is over: it wants another one.
    pub(super) fn pass(&self, cpu: usize, executed: u64, causes: &Causes<'_>) {
        self.leave(cpu, Seat::Runs, executed, causes);
    }

    /// The CPU sleeps until the timebase is `until`, or something else wakes it. Its next turn is
    /// when that has happened.
    pub(super) fn sleep(&self, cpu: usize, until: u64, executed: u64, causes: &Causes<'_>) {
        self.leave(cpu, Seat::Sleeps { until }, executed, causes);
    }

    /// The CPU does not run any more.
    pub(super) fn stop(&self, cpu: usize, executed: u64, causes: &Causes<'_>) {
        self.leave(cpu, Seat::Away, executed, causes);
    }

    fn leave(&self, cpu: usize, seat: Seat, executed: u64, causes: &Causes<'_>) {
        let mut round = self.lock();
        round.seats[cpu] = seat;
        if round.holder == Some(cpu) {
            // Time goes on from what this one has executed.
            if round.counted == Some(cpu) {
                causes.clock.timebase(executed);
            }
            self.choose(&mut round, Some(cpu), causes);
        }
    }

    /// The CPU is a new one, which has executed nothing.
    pub(super) fn made(&self, cpu: usize) {
        let mut round = self.lock();
        round.seats[cpu] = Seat::Away;
        round.counted.take_if(|counted| *counted == cpu);
    }

    /// There is no such CPU any more. If it is its turn, it keeps it: it has not stopped, so this is
    /// the end of the machine, and nobody executes behind it.
    pub(super) fn gone(&self, cpu: usize) {
        let mut round = self.lock();
        if round.holder != Some(cpu) {
            round.seats[cpu] = Seat::Away;
        }
    }

    /// Gives the turn to the next CPU behind `last` that has something to execute.
    fn choose(&self, round: &mut Round, last: Option<usize>, causes: &Causes<'_>) {
        let count = round.seats.len();
        let first = last.map_or(0, |last| last + 1);
        let order = (first..first + count).map(|cpu| cpu % count);
        let now = causes.clock.now();
        let wait = |cpu: usize| match round.seats[cpu] {
            Seat::Away => None,
            Seat::Expected | Seat::Runs => Some(0),
            Seat::Sleeps { .. } if causes.wakes(cpu) => Some(0),
            Seat::Sleeps { until } => Some((until.wrapping_sub(now) as i64).max(0) as u64),
        };
        // The first of those that wait for as short.
        let next = order.filter_map(|cpu| Some((wait(cpu)?, cpu)));
        let next = next.min_by_key(|(wait, _)| *wait);
        round.pause = next.filter(|next| next.0 > 0).and_then(|next| causes.clock.sleep(next.0));
        round.holder = next.map(|(_, cpu)| cpu);
        round.ends_at = None;
        if let Some(came) = round.holder.and_then(|cpu| self.came.get(cpu)) {
            came.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "serde")]
impl Turns {
    pub(super) fn state(&self) -> Option<TurnState> {
        let round = self.lock();
        let cpu = round.holder? as u32;
        Some(TurnState { cpu, ends_at: round.ends_at.filter(|_| round.counted == round.holder) })
    }

    /// Whether there is such a turn.
    pub(super) fn has(&self, saved: TurnState) -> bool {
        (saved.cpu as usize) < self.came.len()
    }

    /// Goes on with a turn that was saved, of which there [is](Self::has) one. No CPU runs yet.
    pub(super) fn set_state(&self, saved: Option<TurnState>) {
        let mut round = self.lock();
        round.holder = saved.map(|saved| saved.cpu as usize).filter(|cpu| *cpu < self.came.len());
        round.ends_at = saved.and_then(|saved| saved.ends_at);
        // In the middle of its turn, it goes on counting where it was.
        round.counted = round.holder.filter(|_| round.ends_at.is_some());
        round.pause = None;
    }
}

impl Referee for Turns {
    fn stir(&self, cpu: usize) {
        drop(self.lock());
        if let Some(came) = self.came.get(cpu) {
            came.notify_all();
        }
        self.stirred.notify_all();
    }

    /// From this instruction of who told it on, it has turns.
    fn expect(&self, cpu: usize) {
        let mut round = self.lock();
        if let Some(seat @ Seat::Away) = round.seats.get_mut(cpu) {
            *seat = Seat::Expected;
        }
    }
}

fn wait_for<'a>(
    condition: &Condvar,
    round: MutexGuard<'a, Round>,
    time: Duration,
) -> MutexGuard<'a, Round> {
    condition.wait_timeout(round, time).unwrap_or_else(PoisonError::into_inner).0
}
