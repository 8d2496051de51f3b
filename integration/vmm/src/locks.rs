//! Locks that a panic leaves as they are: what is behind them is whole between two changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever became of who held it before.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
