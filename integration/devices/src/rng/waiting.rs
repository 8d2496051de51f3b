//! Requests for a source that one may have to wait for.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vm_memory::GuestAddressSpace;
use vmm_sys_util::timerfd::TimerFd;

use super::COMPLAINTS;
use super::requests::{Progress, Requests};
use super::source::lock;

/// How long a source is left alone that has nothing, and cannot be waited for.
const NOTHING: Duration = Duration::from_millis(10);

/// How long one is left alone that has ended, or fails.
const ENDED: Duration = Duration::from_secs(1);

const DOORBELL: u32 = 0;
const SOURCE: u32 = 1;
const TIMER: u32 = 2;

/// The requests, on a thread that waits for their notifications and for the source.
pub(super) struct Waiting<M> {
    requests: Requests<M>,
    timer: TimerFd,
    /// For the source, or for the timer in its place.
    waits: bool,
    watches_source: bool,
}

impl<M: GuestAddressSpace> Waiting<M> {
    pub(super) const fn new(requests: Requests<M>, timer: TimerFd) -> Self {
        Self { requests, timer, waits: false, watches_source: false }
    }

    fn answer(&mut self, ops: &mut EventOps<'_>) {
        self.waits = false;
        match self.requests.answer() {
            Progress::Done => {}
            // Those of others come in between.
            Progress::More => {
                let _ = self.requests.ring().doorbell().write(1);
            }
            Progress::Waits(error) => self.wait(&error, ops),
            Progress::Broken => self.stop(ops),
        }
        if !self.waits {
            self.unwatch_source(ops);
        }
    }

    fn wait(&mut self, reason: &std::io::Error, ops: &mut EventOps<'_>) {
        self.waits = true;
        let pause = if reason.kind() == ErrorKind::WouldBlock {
            if self.watch_source(ops) {
                return;
            }
            NOTHING
        } else {
            COMPLAINTS.warn(format_args!("the source gives no more: {reason}"));
            // It might be readable all the time.
            self.unwatch_source(ops);
            ENDED
        };
        if let Err(error) = self.timer.reset(pause, None) {
            self.requests.give_up(&error);
            self.stop(ops);
        }
    }

    /// True where the source tells when there is more: files and some devices do not.
    fn watch_source(&mut self, ops: &mut EventOps<'_>) -> bool {
        if !self.watches_source {
            self.watches_source =
                self.source_events().is_some_and(|events| ops.add(events).is_ok());
        }
        self.watches_source
    }

    fn unwatch_source(&mut self, ops: &mut EventOps<'_>) {
        if std::mem::take(&mut self.watches_source) {
            let _ = self.source_events().map(|events| ops.remove(events));
        }
    }

    fn source_events(&self) -> Option<Events> {
        let source = lock(self.requests.source());
        let file = source.file()?.as_raw_fd();
        Some(Events::with_data_raw(file, SOURCE, EventSet::IN))
    }

    fn stop(&mut self, ops: &mut EventOps<'_>) {
        let doorbell = Events::new(self.requests.ring().doorbell(), EventSet::IN);
        let _ = ops.remove(doorbell);
        let _ = self.timer.clear();
        self.unwatch_source(ops);
    }
}

impl<M: GuestAddressSpace + Send> MutEventSubscriber for Waiting<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let doorbell = self.requests.ring().doorbell();
        let doorbell = Events::with_data(doorbell, DOORBELL, EventSet::IN);
        let timer = Events::with_data(&self.timer, TIMER, EventSet::IN);
        match ops.add(doorbell).and_then(|()| ops.add(timer)) {
            Ok(()) => self.answer(ops),
            Err(error) => self.requests.give_up(&error),
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        match events.data() {
            DOORBELL => {
                let _ = self.requests.ring().doorbell().read();
                // Else the first request still waits.
                if !self.waits {
                    self.answer(ops);
                }
            }
            TIMER => {
                // It may have been set anew: `wait` would wait for that.
                let _ = self.timer.clear();
                self.answer(ops);
            }
            _ => self.answer(ops),
        }
    }
}
