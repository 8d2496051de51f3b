//! Flushes of a file that several ask for at once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One at a time: the kernel tells of what it could not write to one caller, once, and forgets it.
/// Who asks while another's is under way is to hear of it, too. All who wait meanwhile share the
/// next one.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    asked: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many of those who asked had done so before the last flush began.
    done: u64,
    /// The host failed to write what it had taken.
    has_lost: bool,
}

impl Flushes {
    /// Has `sync` called, by this caller or another, some time between call and return.
    ///
    /// # Errors
    /// Those of `sync`; after one, EIO for ever.
    pub(super) fn flush(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.has_lost {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if state.done >= number {
            return Ok(());
        }
        let asked = self.asked.load(Ordering::SeqCst);
        let result = sync();
        match result {
            Ok(()) => state.done = asked,
            Err(_) => state.has_lost = true,
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Has `others` ask while the first flush is under way, and end it then, with this result.
    fn while_one_is_under_way(
        flushes: &Flushes,
        others: u64,
        result: io::Result<()>,
        syncs: &AtomicU64,
    ) -> Vec<io::Result<()>> {
        let (begin, begun) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let sync = || {
            syncs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        thread::scope(|scope| {
            let first = scope.spawn(move || {
                flushes.flush(|| {
                    begin.send(()).unwrap();
                    ended.recv().unwrap();
                    result
                })
            });
            begun.recv().unwrap();
            let others: Vec<_> = (0..others).map(|_| scope.spawn(|| flushes.flush(sync))).collect();
            while flushes.asked.load(Ordering::SeqCst) < 1 + others.len() as u64 {
                thread::yield_now();
            }
            end.send(()).unwrap();
            [first].into_iter().chain(others).map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn all_who_asked_hear_of_what_is_lost() {
        let (flushes, syncs) = (Flushes::default(), AtomicU64::new(0));
        let full = Err(io::ErrorKind::StorageFull.into());
        for result in while_one_is_under_way(&flushes, 3, full, &syncs) {
            assert!(result.is_err());
        }
        // What the kernel says by then is no help.
        assert_eq!(flushes.flush(|| Ok(())).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(syncs.into_inner(), 0);
    }

    #[test]
    fn who_waits_shares_the_next_flush() {
        let (flushes, syncs) = (Flushes::default(), AtomicU64::new(0));
        for result in while_one_is_under_way(&flushes, 3, Ok(()), &syncs) {
            result.unwrap();
        }
        assert_eq!(syncs.into_inner(), 1);
    }
}
