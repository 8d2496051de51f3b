//! What works for an active device.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vm_memory::GuestAddressSpace;
use vmm_sys_util::timerfd::TimerFd;

use super::announce::announce;
use super::backend::{Backend, Lost};
use super::counts::Counts;
use super::mac::MacAddress;
use super::patience::Patience;
use super::receive::Receiver;
use super::transmit::Transmitter;
use super::{COMPLAINTS, Failure, Next, lock};
use crate::virtio::Interrupt;

/// A connection that is lost is tried again so often.
pub(super) const RECONNECT: Duration = Duration::from_secs(1);

const BUFFERS: u32 = 0;
const FRAMES: u32 = 1;
const BACKEND: u32 = 2;
const TIMER: u32 = 3;

/// Both directions, on one thread, which waits for whatever they wait for.
pub(super) struct Worker<M> {
    pub(super) memory: M,
    pub(super) features: u64,
    pub(super) receiver: Receiver,
    pub(super) transmitter: Transmitter,
    pub(super) backend: Arc<Mutex<Box<dyn Backend>>>,
    pub(super) link: Link,
    pub(super) counts: Arc<Counts>,
    pub(super) timer: TimerFd,
    /// The station, where the network has to be told of it.
    pub(super) announces: Option<MacAddress>,
    pub(super) waits: Waits,
    pub(super) patience: Patience,
    /// What of the back end is in the event loop.
    pub(super) watched: Option<(RawFd, EventSet)>,
    pub(super) is_broken: bool,
}

/// Which directions wait for the back end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    receiver: bool,
    transmitter: bool,
}

/// The guest's link: up while the back end is connected.
pub(super) struct Link {
    pub(super) is_up: Arc<AtomicBool>,
    pub(super) interrupt: Arc<dyn Interrupt>,
}

impl Link {
    fn set(&self, is_up: bool) {
        if self.is_up.swap(is_up, Ordering::SeqCst) != is_up {
            self.interrupt.configuration_changed();
        }
    }
}

impl<M: GuestAddressSpace> Worker<M> {
    fn receive(&mut self) -> Result<(), Failure> {
        let memory = self.memory.memory();
        let mut backend = lock(&self.backend);
        self.waits.receiver = false;
        if backend.file().is_none() {
            return Ok(());
        }
        let patience = &mut self.patience;
        match self.receiver.receive(&*memory, &mut **backend, &self.counts, patience)? {
            Next::Backend => self.waits.receiver = true,
            Next::Driver => {}
            Next::More => drop(self.receiver.ring().doorbell().write(1)),
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Failure> {
        let memory = self.memory.memory();
        let mut backend = lock(&self.backend);
        self.waits.transmitter = false;
        let backend: Option<&mut dyn Backend> =
            if backend.file().is_some() { Some(&mut **backend) } else { None };
        match self.transmitter.send(&*memory, backend, &self.counts, &mut self.patience)? {
            Next::Backend => self.waits.transmitter = true,
            Next::Driver => {}
            Next::More => drop(self.transmitter.ring().doorbell().write(1)),
        }
        Ok(())
    }

    /// Something has happened to the back end's file.
    fn attend(&mut self, events: EventSet) -> Result<(), Failure> {
        let is_over = events.intersects(EventSet::HANG_UP | EventSet::ERROR);
        if events.contains(EventSet::OUT) {
            lock(&self.backend).flush()?;
            self.send()?;
        }
        // What came before the end is taken as far as there are buffers.
        if events.contains(EventSet::IN) || is_over {
            self.receive()?;
        }
        // Else it would be told again and again.
        if is_over { Err(Lost::Closed.into()) } else { Ok(()) }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let mut backend = lock(&self.backend);
        if backend.file().is_some() {
            backend.start(self.features)?;
            self.link.set(true);
            if let Some(mac) = self.announces.take() {
                announce(&mut **backend, mac)?;
            }
        }
        drop(backend);
        self.send()?;
        self.receive()
    }

    fn settle(&mut self, result: Result<(), Failure>, ops: &mut EventOps<'_>) {
        let result = match result {
            Err(Failure::Lost(lost)) => self.lose(&lost, ops),
            result => result,
        };
        match result {
            Ok(()) => self.watch(ops),
            Err(Failure::Ring(error)) => self.give_up(&error, ops),
            // Without a connection there is none to lose.
            Err(Failure::Lost(_)) => {}
        }
    }

    fn lose(&mut self, lost: &Lost, ops: &mut EventOps<'_>) -> Result<(), Failure> {
        COMPLAINTS.warn(format_args!("the link is down: {lost}"));
        // Before its file is closed: another could get its number.
        self.unwatch(ops);
        lock(&self.backend).disconnect();
        self.receiver.abandon();
        self.link.set(false);
        self.retry_later();
        self.send()
    }

    fn retry_later(&mut self) {
        if !lock(&self.backend).can_reconnect() {
            return;
        }
        if let Err(error) = self.timer.reset(RECONNECT, None) {
            COMPLAINTS.warn(format_args!("the link stays down: {error}"));
        }
    }

    fn reconnect(&mut self) -> Result<(), Failure> {
        // The lock is for the statement.
        let is_connected = lock(&self.backend).reconnect();
        if is_connected {
            log::info!("the guest's network has a link again");
            return self.begin();
        }
        self.retry_later();
        // What waits goes nowhere.
        self.send()
    }

    /// Has the event loop listen to what is waited for.
    fn watch(&mut self, ops: &mut EventOps<'_>) {
        let backend = lock(&self.backend);
        let mut set = EventSet::empty();
        set.set(EventSet::IN, self.waits.receiver);
        set.set(EventSet::OUT, self.waits.transmitter || backend.has_unsent());
        let wanted = backend.file().map(|file| (file.as_raw_fd(), set));
        drop(backend);
        let result = match (self.watched, wanted) {
            (before, after) if before == after => return,
            (None, Some((file, set))) => ops.add(Events::with_data_raw(file, BACKEND, set)),
            (_, Some((file, set))) => ops.modify(Events::with_data_raw(file, BACKEND, set)),
            (_, None) => return,
        };
        match result {
            Ok(()) => self.watched = wanted,
            Err(error) => self.give_up(&error, ops),
        }
    }

    fn unwatch(&mut self, ops: &mut EventOps<'_>) {
        if let Some((file, set)) = self.watched.take() {
            let _ = ops.remove(Events::with_data_raw(file, BACKEND, set));
        }
    }

    /// Leaves the queues alone from here on.
    fn give_up(&mut self, reason: &dyn std::error::Error, ops: &mut EventOps<'_>) {
        COMPLAINTS.warn(format_args!("the device needs a reset: {reason}"));
        self.is_broken = true;
        self.unwatch(ops);
        let _ = self.timer.clear();
        for ring in [self.receiver.ring(), self.transmitter.ring()] {
            let _ = ops.remove(Events::new(ring.doorbell(), EventSet::IN));
        }
        self.link.interrupt.needs_reset();
    }
}

impl<M: GuestAddressSpace + Send> MutEventSubscriber for Worker<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let buffers = Events::with_data(self.receiver.ring().doorbell(), BUFFERS, EventSet::IN);
        let frames = Events::with_data(self.transmitter.ring().doorbell(), FRAMES, EventSet::IN);
        let timer = Events::with_data(&self.timer, TIMER, EventSet::IN);
        for events in [buffers, frames, timer] {
            if let Err(error) = ops.add(events) {
                return self.give_up(&error, ops);
            }
        }
        let is_connected = lock(&self.backend).file().is_some();
        let result = if is_connected { self.begin() } else { self.reconnect() };
        self.settle(result, ops);
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        if self.is_broken {
            return;
        }
        let result = match events.data() {
            BUFFERS => {
                let _ = self.receiver.ring().doorbell().read();
                self.receive()
            }
            FRAMES => {
                let _ = self.transmitter.ring().doorbell().read();
                self.send()
            }
            TIMER => {
                // It may have been set anew: `wait` would wait for that.
                let _ = self.timer.clear();
                self.reconnect()
            }
            _ => self.attend(events.event_set()),
        };
        self.settle(result, ops);
        self.patience.done();
    }
}
