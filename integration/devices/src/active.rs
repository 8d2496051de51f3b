//! A device that is active, with its driver's side, for tests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use event_manager::{EventManager, MutEventSubscriber, SubscriberOps};
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::virtio::driver::{Buffer, CountedInterrupts, DriverQueue};
use crate::virtio::{Activation, ActiveQueue, QueueHandler, VirtioDevice, Worker};

pub(crate) type Memory = Arc<GuestMemoryMmap>;

const RAM_BYTES: usize = 8 << 20;

/// From here on, nothing of the queues is in RAM.
pub(crate) const DATA: u64 = 0x10_0000;

/// What hangs is ended so late.
const HANGS: Duration = Duration::from_secs(120);

pub(crate) struct Active {
    pub(crate) memory: Memory,
    pub(crate) queues: Vec<DriverQueue<Memory>>,
    pub(crate) interrupts: Arc<CountedInterrupts>,
    bells: Vec<EventFd>,
    handlers: Vec<Box<dyn QueueHandler>>,
    events: EventManager<Box<dyn MutEventSubscriber + Send>>,
}

impl Active {
    /// Activates it with queues of so many descriptors.
    pub(crate) fn new(device: &mut dyn VirtioDevice<Memory>, features: u64, size: u16) -> Self {
        let ram = [(GuestAddress(0), RAM_BYTES)];
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&ram).unwrap());
        let count = device.queue_sizes().len() as u64;
        let queues = (0..count)
            .map(|number| DriverQueue::new(memory.clone(), GuestAddress(number << 16), size));
        Self::with(device, features, memory.clone(), queues.collect())
    }

    /// The same with queues that have been used before.
    fn with(
        device: &mut dyn VirtioDevice<Memory>,
        features: u64,
        memory: Memory,
        queues: Vec<DriverQueue<Memory>>,
    ) -> Self {
        let interrupts = Arc::new(CountedInterrupts::default());
        let mut bells = Vec::new();
        let mut active_queues = Vec::new();
        for (index, driver) in queues.iter().enumerate() {
            let bell = EventFd::new(EFD_NONBLOCK).unwrap();
            bells.push(bell.try_clone().unwrap());
            let mut queue = driver.queue();
            queue.set_event_idx(features >> VIRTIO_RING_F_EVENT_IDX & 1 != 0);
            let used = GuestAddress(queue.used_ring() + 2);
            let used = u16::from_le(memory.load(used, Ordering::SeqCst).unwrap());
            queue.set_next_avail(used);
            queue.set_next_used(used);
            active_queues.push(ActiveQueue::new(index as u16, queue, bell, interrupts.clone()));
        }
        let activation =
            Activation::new(memory.clone(), features, active_queues, interrupts.clone());
        let mut active = Self {
            memory,
            queues,
            interrupts,
            bells,
            handlers: Vec::new(),
            events: EventManager::new().unwrap(),
        };
        for worker in device.activate(activation).unwrap() {
            match worker {
                Worker::Queue { handler, .. } => active.handlers.push(handler),
                Worker::Subscriber(subscriber) => {
                    active.events.add_subscriber(subscriber);
                }
            }
        }
        active
    }

    /// The driver goes on with another device, which has taken the state of the first up. Nothing
    /// works for that any more.
    pub(crate) fn hand_over(self, device: &mut dyn VirtioDevice<Memory>, features: u64) -> Self {
        let Self { memory, queues, .. } = self;
        let mut active = Self::with(device, features, memory, queues);
        active.run();
        active
    }

    /// Makes a chain of these buffers available.
    pub(crate) fn add(&mut self, queue: usize, buffers: &[Buffer]) -> u16 {
        self.queues[queue].add(buffers)
    }

    /// Notifies a queue, and lets the device do what it can.
    pub(crate) fn notify(&mut self, queue: usize) {
        self.bells[queue].write(1).unwrap();
        self.run();
    }

    /// Lets the device do what it can. Gives how often it had something to do.
    pub(crate) fn run(&mut self) -> usize {
        let mut count = 0;
        for handler in &mut self.handlers {
            while handler.handle() {
                count += 1;
            }
        }
        while self.events.run_with_timeout(0).unwrap() > 0 {
            count += 1;
            assert!(count < 100_000, "the device is never done");
        }
        count
    }

    /// Lets the device work until it has used a chain of this queue.
    pub(crate) fn next_used(&mut self, queue: usize) -> (u32, u32) {
        let start = Instant::now();
        loop {
            if let Some(used) = self.queues[queue].next_used() {
                return used;
            }
            assert!(start.elapsed() < HANGS, "the device does not use the chain");
            self.events.run_with_timeout(10).unwrap();
        }
    }

    /// Lets the device work until `done`.
    pub(crate) fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < HANGS, "the device does not get that far");
            self.events.run_with_timeout(10).unwrap();
        }
    }

    pub(crate) fn read(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.memory.read_slice(&mut data, GuestAddress(at)).unwrap();
        data
    }

    pub(crate) fn write(&self, at: u64, data: &[u8]) {
        self.memory.write_slice(data, GuestAddress(at)).unwrap();
    }
}
