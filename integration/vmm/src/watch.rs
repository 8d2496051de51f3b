//! The thread that signals come to. It waits for nothing else, so that a person who wants to leave,
//! or a signal, is heard whatever the others are at.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::confine::{self, Role};
use crate::end::{End, Why};
use crate::outlet;
use crate::ready;
use crate::signals::{self, Asked, Signals};
use crate::terminal::{self, Place};

/// How long the machine has to stop when somebody wants to leave. Then the process ends without:
/// a thread may be at a disk that does not answer.
const GRACE: Duration = Duration::from_millis(600);

/// How often a job in the background looks whether it has come to the foreground: a shell does not
/// tell one that runs.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where this job is: what the thread of signals and the event loop tell each other about it.
#[derive(Debug)]
pub(crate) struct Job {
    /// Readable when it came to the foreground or went from there.
    pub(crate) moved: EventFd,
    /// Written to when it seems to have gone from there.
    pub(crate) look: EventFd,
}

impl Job {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { moved: EventFd::new(EFD_NONBLOCK)?, look: EventFd::new(EFD_NONBLOCK)? })
    }
}

/// The thread, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<Option<How>>>,
}

impl Watch {
    pub(crate) fn start(signals: Signals, end: Arc<End>, job: Arc<Job>) -> io::Result<Self> {
        let stop = Arc::new(EventFd::new(EFD_NONBLOCK)?);
        let place = terminal::place();
        let watcher = Watcher { signals, end, job, stop: stop.clone(), place, leaves: None };
        let thread = thread::Builder::new().name("signals".to_owned());
        let watch = move || {
            confine::begin(Role::Signals);
            watcher.watch()
        };
        let thread = Some(thread.spawn(watch)?);
        Ok(Self { stop, thread })
    }
}

impl Watch {
    /// Ends the thread. Gives how somebody wanted to leave, if somebody did until now.
    pub(crate) fn stop(mut self) -> Option<How> {
        self.join()
    }

    fn join(&mut self) -> Option<How> {
        // Cannot fail: the counter is far from its end.
        let _ = self.stop.write(1);
        self.thread.take()?.join().ok()?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

struct Watcher {
    signals: Signals,
    end: Arc<End>,
    job: Arc<Job>,
    stop: Arc<EventFd>,
    place: Place,
    /// How the process is to end, and when at the latest.
    leaves: Option<(How, Instant)>,
}

/// How somebody wants to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    Left,
    Signal(i32),
}

impl Watcher {
    fn watch(mut self) -> Option<How> {
        loop {
            let [signalled, left, asked_to_look, stopped] = self.wait();
            if left {
                let _ = self.end.left.read();
                self.leave(How::Left);
            }
            while let Some(asked) = signalled.then(|| self.signals.next()).flatten() {
                self.take(asked);
            }
            // Who came first is heard, even just before the end.
            if stopped {
                return self.leaves.map(|(how, _)| how);
            }
            if asked_to_look {
                let _ = self.job.look.read();
                self.look();
            }
            match self.leaves {
                Some((how, latest)) if Instant::now() >= latest => end_now(how),
                _ if self.place == Place::Background => self.look(),
                _ => {}
            }
        }
    }

    fn take(&mut self, asked: Asked) {
        match asked {
            Asked::End(signal) => {
                self.end.because(Why::Signal(signal));
                self.leave(How::Signal(signal));
            }
            Asked::Stop => {
                terminal::restore();
                signals::stop_here();
                self.look();
            }
            Asked::GoOn => self.look(),
        }
    }

    /// Waits for signals, for a person who leaves, for somebody who asks to look, for the end of
    /// this thread; or until it is time to look at something else.
    fn wait(&self) -> [bool; 4] {
        let limit = match self.leaves {
            Some((_, latest)) => Some(latest.saturating_duration_since(Instant::now())),
            None => (self.place == Place::Background).then_some(LOOK_EVERY),
        };
        ready::wait([&self.signals, &self.end.left, &self.job.look, &*self.stop], limit)
    }

    /// Who was first counts: some send a signal to a process and to its group, so that it comes twice.
    fn leave(&mut self, how: How) {
        if self.leaves.is_none() {
            self.leaves = Some((how, Instant::now() + GRACE));
            outlet::hurry();
        }
    }

    /// The job may have come to the foreground, or gone from there.
    fn look(&mut self) {
        let place = match terminal::look() {
            Ok(place) => place,
            Err(error) => {
                log::warn!("cannot take the terminal again: {error}");
                terminal::place()
            }
        };
        if place != self.place {
            self.place = place;
            let _ = self.job.moved.write(1);
        }
    }
}

/// Ends the process without waiting for anybody.
fn end_now(how: How) -> ! {
    terminal::restore();
    let signal = match how {
        How::Signal(signal) => Some(signal),
        How::Left => None,
    };
    signals::end_now(signal, i32::from(outlet::has_failed()))
}
