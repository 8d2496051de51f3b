//! The writes of a queue that are under way, and who waits for them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What was begun and has not ended, by numbers in the order of the queue.
#[derive(Debug, Default)]
pub(super) struct Writes {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    under_way: Vec<u64>,
    /// How many wait. Nobody else is woken, which would be a call of the host for each write.
    waiting: u32,
}

/// A write that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Write<'a> {
    writes: &'a Writes,
    number: u64,
}

/// All writes that were begun by a point of the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before(u64);

impl Writes {
    /// One begins.
    pub(super) fn begin(&self) -> Write<'_> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.under_way.push(number);
        Write { writes: self, number }
    }

    /// Those that were begun so far.
    pub(super) fn so_far(&self) -> Before {
        Before(self.state().next)
    }

    /// Waits until all of these have ended.
    pub(super) fn wait(&self, before: Before) {
        let is_under_way =
            |state: &mut State| state.under_way.iter().any(|number| *number < before.0);
        let mut state = self.state();
        state.waiting += 1;
        let state = self.ended.wait_while(state, is_under_way);
        state.unwrap_or_else(PoisonError::into_inner).waiting -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        let mut state = self.writes.state();
        state.under_way.retain(|number| *number != self.number);
        if state.waiting > 0 {
            self.writes.ended.notify_all();
        }
    }
}
