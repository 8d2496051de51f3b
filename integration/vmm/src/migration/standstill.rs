//! A guest that writes faster than its memory is sent gets less time: it stands still again and again,
//! for moments.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arch_ppc64::smp::Mailboxes;

use crate::confine::{self, Role};
use crate::locks::lock;

/// How long it runs in one turn: a CPU's thread may take a moment to be woken.
const RUNS: Duration = Duration::from_millis(2);

/// How long a turn is at most: the moments in which it stands still are to be short.
const TURN_MAX: Duration = Duration::from_millis(50);

/// How long it may take a CPU to leave the guest; what is late runs on.
const LIMIT: Duration = Duration::from_millis(100);

/// Keeps the CPUs of a machine from running, some of the time, until it is dropped. Nobody else has the
/// machine stand still or go on meanwhile.
#[derive(Debug)]
pub(crate) struct Standstill {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    cpus: Arc<Mailboxes>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    percent: u8,
    is_over: bool,
    /// Whoever ends it has the machine stand still: a moment of that goes on.
    stays: bool,
}

impl Standstill {
    /// None of the time, for now.
    pub(crate) fn new(cpus: Arc<Mailboxes>) -> Self {
        let shared = Shared { cpus, state: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared), thread: None }
    }

    /// So much of the time, from here on. Where there is no thread for it, none.
    pub(crate) fn set(&mut self, percent: u8) {
        lock(&self.shared.state).percent = percent.min(98);
        self.shared.changed.notify_all();
        if percent > 0 && self.thread.is_none() {
            let shared = self.shared.clone();
            let thread = thread::Builder::new().name("slow-down".to_owned());
            let run = move || {
                confine::begin(Role::Pace);
                shared.run();
            };
            self.thread = thread.spawn(run).ok();
        }
    }
}

impl Standstill {
    /// Ends it, for who has the machine stand still next, or go on.
    pub(crate) fn end(self) {
        lock(&self.shared.state).stays = true;
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        lock(&self.shared.state).is_over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut state = lock(&self.state);
            while state.percent == 0 && !state.is_over {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_over {
                return;
            }
            let percent = u32::from(state.percent);
            drop(state);
            let turn = TURN_MAX.min(RUNS * 100 / (100 - percent));
            let stands_still = turn * percent / 100;
            self.cpus.pause();
            let _ = self.cpus.await_paused_for(LIMIT);
            self.sleep(stands_still);
            if lock(&self.state).stays {
                return;
            }
            self.cpus.resume();
            self.sleep(turn - stands_still);
        }
    }

    /// Unless it is over.
    fn sleep(&self, time: Duration) {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, time, |state| !state.is_over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
