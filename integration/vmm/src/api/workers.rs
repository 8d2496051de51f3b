//! The threads that do the verbs.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::sync::oneshot;

use crate::confine::{self, Role};
use crate::locks::lock;

/// How many verbs are worked on at one time: one that takes long, and those who are told so.
const THREADS: usize = 4;

/// How many wait for their turn.
const WAITING: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// The threads. Clones are the same; they end when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Workers(SyncSender<Job>);

/// Nobody does it: too many wait already.
#[derive(Debug, thiserror::Error)]
#[error("too many requests wait already")]
pub(super) struct Full;

impl Workers {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, taken) = sync_channel::<Job>(WAITING);
        let taken = Arc::new(Mutex::new(taken));
        for number in 0..THREADS {
            let taken = taken.clone();
            let thread = thread::Builder::new().name(format!("verb-{number}"));
            thread.spawn(move || {
                confine::begin(Role::Verb);
                work(&taken);
            })?;
        }
        Ok(Self(jobs))
    }

    /// Has `work` done; its result comes when it is there. Nobody has to wait for it.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Full> {
        let (result, receiver) = oneshot::channel();
        let job = Box::new(move || {
            let _ = result.send(work());
        });
        self.0.try_send(job).map_err(|_| Full)?;
        Ok(receiver)
    }
}

fn work(taken: &Mutex<Receiver<Job>>) {
    loop {
        let Ok(job) = lock(taken).recv() else { return };
        confine::to_files_of_machines();
        // A bug in one verb is not the end of the others: whoever waits for it is told.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            log::error!("a request was given up: this is a bug");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_can_wait_is_refused_and_a_panic_is_one_requests() {
        let workers = Workers::start().unwrap();
        let bug = workers.ask(|| panic!("of this test")).unwrap();
        assert!(bug.blocking_recv().is_err());
        let held = Arc::new(Mutex::new(()));
        let hold = held.lock().unwrap();
        let mut answers = Vec::new();
        let refused = loop {
            let held = held.clone();
            match workers.ask(move || drop(held.lock().unwrap())) {
                Ok(answer) => answers.push(answer),
                Err(full) => break full,
            }
        };
        assert!(refused.to_string().contains("too many"));
        assert!((WAITING..=WAITING + THREADS).contains(&answers.len()));
        drop(hold);
        for answer in answers {
            answer.blocking_recv().unwrap();
        }
    }
}
