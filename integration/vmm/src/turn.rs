//! Who changes a machine from outside does so alone: one after the other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::locks::lock;

/// The turn to change a machine, which one has at a time.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: Mutex<bool>,
    given_back: Condvar,
}

/// The turn of whoever has it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for the turn.
    pub(crate) fn take(&self) -> Turn<'_> {
        let taken = self.given_back.wait_while(self.lock(), |taken| *taken);
        *taken.unwrap_or_else(PoisonError::into_inner) = true;
        Turn(self)
    }

    /// Waits for it for so long at most.
    pub(crate) fn take_within(&self, limit: Duration) -> Option<Turn<'_>> {
        let (mut taken, _) = self
            .given_back
            .wait_timeout_while(self.lock(), limit, |taken| *taken)
            .unwrap_or_else(PoisonError::into_inner);
        let is_free = !std::mem::replace(&mut *taken, true);
        is_free.then(|| Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        lock(&self.taken)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let turns = Turns::default();
        let turn = turns.take_within(Duration::ZERO).unwrap();
        assert!(turns.take_within(Duration::from_millis(5)).is_none());
        std::thread::scope(|scope| {
            scope.spawn(|| drop(turns.take_within(Duration::MAX).unwrap()));
            scope.spawn(|| drop(turns.take()));
            drop(turn);
        });
        assert!(turns.take_within(Duration::ZERO).is_some());
    }
}
