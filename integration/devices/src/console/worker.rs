//! What works for an active console.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vm_memory::GuestAddressSpace;

use super::COMPLAINTS;
use crate::host_console::HostEnd;
use crate::virtio::Interrupt;
use crate::virtio::ring::{Ring, RingError, Taken};

/// The most bytes that go one way at once.
pub const TURN_BYTES: usize = 4096;

/// The most buffers that are used one way before others have a turn, and the most times that
/// [`TURN_BYTES`] go.
pub const TURN_CHAINS: usize = 64;

const BUFFERS: u32 = 0;
const TEXT: u32 = 1;
const END: u32 = 2;

type End = Arc<Mutex<Box<dyn HostEnd>>>;

/// Both directions, on one thread, which waits for the driver and the end.
pub(super) struct Worker<M> {
    memory: M,
    input: Ring,
    output: Ring,
    /// How much of the first chain of text the end has taken.
    shown_bytes: Arc<AtomicU32>,
    end: End,
    interrupt: Arc<dyn Interrupt>,
    waits: Waits,
    is_broken: bool,
}

/// What the end is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Waits {
    input: bool,
    room: bool,
}

impl<M: GuestAddressSpace> Worker<M> {
    pub(super) fn new(
        memory: M,
        input: Ring,
        output: Ring,
        end: End,
        shown_bytes: Arc<AtomicU32>,
        interrupt: Arc<dyn Interrupt>,
    ) -> Self {
        let waits = Waits::default();
        Self { memory, input, output, shown_bytes, end, interrupt, waits, is_broken: false }
    }

    /// Typed text to the guest, as long as it has buffers.
    fn type_in(&mut self) -> Result<(), RingError> {
        let memory = self.memory.memory();
        let result = self.type_some(&*memory);
        // What was done before a mistake is done.
        self.input.tell(&*memory)?;
        result
    }

    fn type_some(&mut self, memory: &M::M) -> Result<(), RingError> {
        let mut end = lock(&self.end);
        let mut buf = [0; TURN_BYTES];
        self.input.ignore(memory)?;
        self.waits.input = false;
        let mut used = 0;
        while used < TURN_CHAINS {
            let Some(Taken { head, chain }) = self.input.take(memory)? else {
                if self.input.listen(memory)? {
                    continue;
                }
                break;
            };
            let room = chain.writable.len().min(TURN_BYTES);
            let bytes = end.read(&mut buf[..room]).min(room);
            if bytes == 0 && room > 0 {
                self.input.put_back(1);
                self.waits.input = true;
                break;
            }
            chain.writable.copy_from(&buf[..bytes]);
            self.input.give(memory, head, bytes as u32)?;
            used += 1;
        }
        if used == TURN_CHAINS {
            let _ = self.input.doorbell().write(1);
        }
        Ok(())
    }

    /// The guest's text to the end, as long as that takes it.
    fn show(&mut self) -> Result<(), RingError> {
        let memory = self.memory.memory();
        let result = self.show_some(&*memory);
        self.output.tell(&*memory)?;
        result
    }

    fn show_some(&mut self, memory: &M::M) -> Result<(), RingError> {
        let mut end = lock(&self.end);
        let mut buf = [0; TURN_BYTES];
        self.output.ignore(memory)?;
        self.waits.room = false;
        let mut turns = 0;
        while turns < TURN_CHAINS && !self.waits.room {
            let Some(Taken { head, chain }) = self.output.take(memory)? else {
                if self.output.listen(memory)? {
                    continue;
                }
                break;
            };
            // A driver that made it shorter by now has nothing more to show.
            let mut text = chain.readable.gather();
            let mut shown_bytes = self.shown_bytes.load(Ordering::Relaxed) as usize;
            let _ = text.split_front(shown_bytes);
            while !text.is_empty() && turns < TURN_CHAINS && !self.waits.room {
                let bytes = text.copy_to(&mut buf);
                let taken = end.write(&buf[..bytes]).min(bytes);
                shown_bytes += taken;
                self.waits.room = taken < bytes;
                turns += 1;
            }
            let is_shown = shown_bytes >= chain.readable.len();
            // A chain has less than 4 GiB (Virtio 1.2 §2.7.5.2).
            let shown_bytes = if is_shown { 0 } else { shown_bytes as u32 };
            self.shown_bytes.store(shown_bytes, Ordering::Relaxed);
            if !is_shown {
                self.output.put_back(1);
            } else {
                self.output.give(memory, head, 0)?;
                turns += 1;
            }
        }
        if turns >= TURN_CHAINS && !self.waits.room {
            let _ = self.output.doorbell().write(1);
        }
        Ok(())
    }

    fn settle(&mut self, result: Result<(), RingError>, before: Waits, ops: &mut EventOps<'_>) {
        match result {
            Ok(()) if self.waits != before => {
                lock(&self.end).wait_for(self.waits.input, self.waits.room);
            }
            Ok(()) => {}
            Err(error) => self.give_up(&error, ops),
        }
    }

    /// Leaves the queues alone from here on.
    fn give_up(&mut self, reason: &dyn std::error::Error, ops: &mut EventOps<'_>) {
        COMPLAINTS.warn(format_args!("the device needs a reset: {reason}"));
        self.is_broken = true;
        for ring in [&self.input, &self.output] {
            let _ = ops.remove(Events::new(ring.doorbell(), EventSet::IN));
        }
        if let Some(events) = self.end_events() {
            let _ = ops.remove(events);
        }
        self.interrupt.needs_reset();
    }

    fn end_events(&self) -> Option<Events> {
        let file = lock(&self.end).file()?;
        Some(Events::with_data_raw(file, END, EventSet::IN))
    }
}

impl<M: GuestAddressSpace + Send> MutEventSubscriber for Worker<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let buffers = Events::with_data(self.input.doorbell(), BUFFERS, EventSet::IN);
        let text = Events::with_data(self.output.doorbell(), TEXT, EventSet::IN);
        for events in [buffers, text].into_iter().chain(self.end_events()) {
            if let Err(error) = ops.add(events) {
                return self.give_up(&error, ops);
            }
        }
        let result = self.show().and_then(|()| self.type_in());
        // Whatever the driver before waited for.
        let before = Waits { input: !self.waits.input, room: !self.waits.room };
        self.settle(result, before, ops);
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        if self.is_broken {
            return;
        }
        let before = self.waits;
        let result = match events.data() {
            BUFFERS => {
                let _ = self.input.doorbell().read();
                self.type_in()
            }
            TEXT => {
                let _ = self.output.doorbell().read();
                self.show()
            }
            _ => {
                lock(&self.end).attend();
                let shown = if before.room { self.show() } else { Ok(()) };
                shown.and_then(|()| if before.input { self.type_in() } else { Ok(()) })
            }
        };
        self.settle(result, before, ops);
    }
}

fn lock(end: &Mutex<Box<dyn HostEnd>>) -> MutexGuard<'_, Box<dyn HostEnd>> {
    end.lock().unwrap_or_else(PoisonError::into_inner)
}
