//! A device that is active, and what holds whatever its driver does.

use std::ops::Range;
use std::sync::Arc;

use event_manager::{EventManager, MutEventSubscriber, SubscriberOps};
use pseries_devices::virtio::driver::CountedInterrupts;
use pseries_devices::virtio::{Activation, ActiveQueue, QueueHandler, VirtioDevice, Worker};
use virtio_queue::{Queue as DeviceQueue, QueueT};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::descriptors::{bytes_of, overlap};
use crate::device_ram::{DeviceRam, Memory};
use crate::input::Input;
use crate::ram::are_within;

use super::kind::{Buffer, Host, Kind, Made, Request};
use super::queue::Queue;
use super::{Goals, NONSENSE, USED};

/// `VIRTIO_F_RING_EVENT_IDX` (Virtio 1.2 §6).
const EVENT_IDX: u64 = 1 << 29;

/// How often a device may have something to do for one notification, besides once for each chain.
const TURNS_MAX: usize = 200;

/// Where requests are written, and tables of descriptors: some, one after the other.
const REQUESTS: u64 = 0x2000;
const REQUEST_BYTES: u64 = 0x40;
const TABLES: u64 = 0x2800;
const TABLE_BYTES: u64 = 0x80;
const SLOTS: u64 = 16;

pub(super) struct Bench {
    ram: DeviceRam,
    device: Box<dyn VirtioDevice<Memory>>,
    host: Box<dyn Host>,
    features: u64,
    queues: Vec<Queue>,
    active: Active,
    /// Nothing that devices write was said to be something that they read.
    is_clear: bool,
    slot: u64,
}

/// What works on the queues.
#[derive(Default)]
struct Active {
    bells: Vec<EventFd>,
    handlers: Vec<Box<dyn QueueHandler>>,
    events: Option<EventManager<Box<dyn MutEventSubscriber + Send>>>,
    interrupts: Arc<CountedInterrupts>,
}

impl Bench {
    pub(super) fn new(kind: &Kind, flags: u8) -> Self {
        let Made { device, host } = (kind.make)(flags);
        let ram = DeviceRam::new();
        let mut bench = Self {
            ram,
            device,
            host,
            features: 0,
            queues: Vec::new(),
            active: Active::default(),
            is_clear: true,
            slot: 0,
        };
        bench.activate(flags);
        bench
    }

    /// The driver resets the device, and sets it up again.
    pub(super) fn reset(&mut self, flags: u8) {
        self.active = Active::default();
        self.device.reset();
        self.activate(flags);
    }

    /// The highest two bits of `flags` say how many descriptors queues have, the next two what is
    /// not taken of what is offered.
    fn activate(&mut self, flags: u8) {
        self.is_clear = true;
        self.features = match flags >> 4 & 3 {
            0 => self.device.features(),
            1 => self.device.features() & !EVENT_IDX,
            2 => self.device.features() & EVENT_IDX,
            _ => 0,
        };
        let interrupts = Arc::new(CountedInterrupts::default());
        let mut queues = Vec::new();
        let mut active_queues = Vec::new();
        let mut bells = Vec::new();
        for (index, &most) in (0..).zip(self.device.queue_sizes()) {
            let size = most.min(4 << (flags >> 6 << 1));
            let queue = Queue::new(&self.ram, index, size);
            let bell = EventFd::new(EFD_NONBLOCK).expect("a file");
            bells.push(bell.try_clone().expect("a file"));
            let device_queue = device_queue(&queue, most, self.features & EVENT_IDX != 0);
            let index = index as u16;
            active_queues.push(ActiveQueue::new(index, device_queue, bell, interrupts.clone()));
            queues.push(queue);
        }
        self.queues = queues;
        let memory = self.ram.memory().clone();
        let activation = Activation::new(memory, self.features, active_queues, interrupts.clone());
        let workers = self.device.activate(activation).expect("it becomes active");
        let mut active = Active { bells, interrupts, ..Active::default() };
        for worker in workers {
            match worker {
                Worker::Queue { handler, .. } => active.handlers.push(handler),
                Worker::Subscriber(subscriber) => {
                    let events =
                        active.events.get_or_insert_with(|| EventManager::new().expect("a file"));
                    events.add_subscriber(subscriber);
                }
            }
        }
        self.active = active;
    }

    /// A request that makes sense to the device.
    pub(super) fn request(&mut self, queue: usize, input: &mut Input<'_>) -> Request {
        self.slot = (self.slot + 1) % SLOTS;
        let slot = REQUESTS + self.slot * REQUEST_BYTES;
        let mut request = self.host.request(&self.ram, slot, queue, input);
        request.queue %= self.queues.len();
        for told in request.buffers.iter().filter(|buffer| !buffer.is_writable) {
            self.driver_writes(told.at..told.at.saturating_add(told.bytes.into()));
        }
        request
    }

    /// Makes a chain available.
    pub(super) fn add(&mut self, queue: usize, buffers: &[Buffer], by_table: bool) {
        let room = (TABLE_BYTES / 16) as usize;
        let table = (by_table && buffers.len() <= room).then_some(TABLES + self.slot * TABLE_BYTES);
        let head = self.queues[queue].put(&self.ram, buffers, table);
        self.queues[queue].make_available(&self.ram, head);
    }

    pub(super) fn make_available(&mut self, queue: usize, head: u16) {
        let queue = queue % self.queues.len();
        self.queues[queue].make_available(&self.ram, head);
    }

    pub(super) fn set_available(&mut self, queue: usize, index: u16) {
        let queue = queue % self.queues.len();
        // What is taken back may become another chain, in a place that the device knows.
        let before = self.queues[queue].places.available_index(&self.ram);
        self.is_clear &= index.wrapping_sub(before) <= 1 << 15;
        self.queues[queue].set_available(&self.ram, index);
    }

    pub(super) fn set_descriptor(
        &mut self,
        queue: usize,
        index: u16,
        at: u64,
        bytes: u32,
        flags: u16,
        next: u16,
    ) {
        let place = self.queues[queue % self.queues.len()].place(index);
        self.ram.poke(place, &bytes_of(at, bytes, flags, next));
    }

    /// Whether the driver wants to be told, by flags and by an index.
    pub(super) fn set_wishes(&mut self, queue: usize, flags: u16, event: u16) {
        let places = self.queues[queue % self.queues.len()].places;
        self.ram.poke(places.available, &flags.to_le_bytes());
        let at = places.available + 4 + 2 * u64::from(places.size);
        self.ram.poke(at, &event.to_le_bytes());
    }

    /// The driver writes whatever it likes, wherever it likes.
    pub(super) fn poke(&mut self, at: u64, data: &[u8]) {
        self.driver_writes(at..at.saturating_add(data.len() as u64));
        self.ram.poke(at, data);
    }

    /// The driver writes there. What is told in a ring then is not what the device knows, or has said.
    fn driver_writes(&mut self, place: Range<u64>) {
        let rings = self.queues.iter().map(|queue| queue.places);
        let rings = rings.flat_map(|places| [places.written(), places.available_ring()]);
        self.is_clear &= !overlap(&[place], &rings.collect::<Vec<_>>());
    }

    /// The driver writes the configuration, and reads it.
    pub(super) fn configure(&mut self, offset: u64, data: &[u8]) {
        self.device.write_config(offset, data);
        let mut read = [0; 16];
        self.device.read_config(offset, &mut read);
        self.device.read_config(u64::MAX - offset, &mut read);
    }

    /// Something happens on the host, and the device has its turn.
    pub(super) fn host(&mut self, input: &mut Input<'_>, goals: &mut Goals) {
        self.host.act(input, goals);
        self.turn(goals);
    }

    /// Whether all can be told that the device did.
    pub(super) fn is_clear(&self) -> bool {
        self.is_clear
    }

    /// Sees what came of a request.
    pub(super) fn judge(&mut self, request: &Request, goals: &mut Goals) {
        self.host.judge(&self.ram, request, goals);
    }

    /// Notifies a queue; whether anything was used.
    pub(super) fn notify(&mut self, queue: usize, goals: &mut Goals) -> bool {
        let bell = &self.active.bells[queue % self.queues.len()];
        bell.write(1).expect("a file that is not full");
        self.turn(goals)
    }

    /// Lets the device do all that it can, and sees that it does nothing else; whether anything was
    /// used.
    fn turn(&mut self, goals: &mut Goals) -> bool {
        let permitted = self.permitted();
        let was_broken = self.active.interrupts.reset_count() > 0;
        let told = self.active.interrupts.used_count();
        let snapshot = self.ram.snapshot();
        let chains: usize = self.queues.iter().map(|queue| queue.waiting.len()).sum();
        let is_done = self.active.work(TURNS_MAX + 2 * chains);
        let changes = self.ram.changes(&snapshot);
        self.host.check();
        let is_broken = self.active.interrupts.reset_count() > 0;
        if is_broken {
            goals.common(NONSENSE);
        }
        if was_broken && !self.host.queues_are_apart() {
            assert!(changes.is_empty(), "a queue that makes no sense is not left alone");
        }
        if !self.is_clear {
            return false;
        }
        assert!(is_done, "the device is never done");
        assert!(are_within(&changes, &permitted), "{changes:x?} was written, of {permitted:x?}");
        let mut is_used = false;
        for (number, queue) in self.queues.iter_mut().enumerate() {
            let used = queue.take_used(&self.ram);
            if used.is_empty() {
                continue;
            }
            is_used = true;
            goals.common(USED);
            let is_told = self.active.interrupts.used_count() != told;
            let by_flags = self.features & EVENT_IDX == 0;
            assert!(is_told || !by_flags || queue.wants_silence(&self.ram), "nobody is told");
            for chain in used {
                let begin = chain.writable.first().cloned().unwrap_or_default();
                let bytes = (begin.end - begin.start).min(64).min(chain.bytes.into());
                let data = self.ram.peek(begin.start, bytes as usize);
                self.host.used(number, &data, chain.bytes, goals);
            }
        }
        is_used
    }

    /// What the device may write. From when that cannot be told on, nothing is [clear](Self::is_clear).
    fn permitted(&mut self) -> Vec<Range<u64>> {
        for queue in &mut self.queues {
            queue.look(&self.ram);
        }
        let rings: Vec<_> = self.queues.iter().map(|queue| queue.places.written()).collect();
        let (mut permitted, mut read) = (Vec::new(), Vec::new());
        for queue in &self.queues {
            read.extend(queue.places.read());
            for chain in &queue.waiting {
                permitted.extend(chain.writable.iter().cloned());
                read.extend(chain.descriptors.iter().cloned());
            }
        }
        // What devices write has to be as they left it, and what they read as it was.
        read.extend(rings.iter().cloned());
        self.is_clear &= !overlap(&permitted, &read);
        self.is_clear &= !self.queues.iter().any(|queue| queue.is_overrun);
        permitted.extend(rings);
        permitted
    }
}

impl Active {
    /// Lets the device work as long as it has something to do; whether that has an end.
    fn work(&mut self, most: usize) -> bool {
        let mut turns = 0;
        for handler in &mut self.handlers {
            while handler.handle() {
                turns += 1;
                if turns > most {
                    return false;
                }
            }
        }
        let Some(events) = &mut self.events else { return true };
        while events.run_with_timeout(0).expect("it can be waited for") > 0 {
            turns += 1;
            if turns > most {
                return false;
            }
        }
        true
    }
}

/// The same queue as a device gets it.
fn device_queue(queue: &Queue, most: u16, event_idx: bool) -> DeviceQueue {
    let places = queue.places;
    let mut device = DeviceQueue::new(most).expect("a power of two");
    device.set_size(places.size);
    let halves = |at: u64| (Some(at as u32), Some((at >> 32) as u32));
    let (low, high) = halves(places.descriptors);
    device.set_desc_table_address(low, high);
    let (low, high) = halves(places.available);
    device.set_avail_ring_address(low, high);
    let (low, high) = halves(places.used);
    device.set_used_ring_address(low, high);
    device.set_event_idx(event_idx);
    device.set_ready(true);
    device
}
