//! A device that does nothing but give buffers back, and wires for it, for tests and fuzzers.
//! (Feature `test-utils`.)

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arch_ppc64::Machine;
use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::layout::MIN_MEMORY_BYTES;
use arch_ppc64::pci::{Doorbell, PciAddress, PciPins, PciWindows};
use arch_ppc64::platform::{
    InterruptController, InterruptError, InterruptKind, PlatformBuilder, Signal, SourceNumber,
    StateError, StateValue,
};
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::GuestAddressSpace;
use vmm_sys_util::eventfd::EventFd;

use super::saved::check_version;
use super::{
    ActivateError, Activation, ActiveQueue, Connection, DeviceKind, Interrupt, QueueHandler,
    VirtioDevice, Worker,
};

/// The number of the mock device: "memory balloon", which does not matter.
const ID: u16 = 5;

/// The class of a device that is none of the others.
const CLASS: u32 = 0xff_00_00;

/// Gives each buffer back as it is, with the number of the descriptor that it begins with as the
/// bytes that were written.
pub struct MockDevice {
    queue_sizes: Vec<u16>,
    workers: MockWorkers,
    config: [u8; 16],
    seen: Arc<Seen>,
}

/// What works for a mock device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MockWorkers {
    /// Each queue has a handler.
    Queues,
    /// One that waits for all doorbells.
    Subscriber,
    /// It cannot become active.
    Refuses,
}

/// What a mock device has seen, and what it is to do.
#[derive(Default)]
pub struct Seen {
    /// How often it was activated.
    pub activations: AtomicUsize,
    /// How often it was reset.
    pub resets: AtomicUsize,
    /// How many of its workers there are.
    pub workers: AtomicUsize,
    /// How many buffers its workers have taken.
    pub taken: AtomicUsize,
    /// Its workers panic when they next have something to do.
    pub panics: AtomicBool,
    /// Its workers do not go on while this is locked.
    pub gate: Mutex<()>,
    /// What it last was activated with: features, and the interrupt of the device.
    pub interrupt: Mutex<Option<(u64, Arc<dyn Interrupt>)>>,
    /// The interrupts of its queues.
    pub queues: Mutex<Vec<Arc<dyn super::QueueInterrupt>>>,
}

impl MockDevice {
    /// One with queues of these sizes.
    pub fn new(queue_sizes: &[u16], workers: MockWorkers) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let device = Self {
            queue_sizes: queue_sizes.to_owned(),
            workers,
            config: *b"a mock's config.",
            seen: Arc::clone(&seen),
        };
        (device, seen)
    }
}

impl<M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for MockDevice {
    fn kind(&self) -> DeviceKind {
        DeviceKind::new(ID, CLASS)
    }

    fn features(&self) -> u64 {
        // With some that only a transport could have.
        1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC | 0xff << 33
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let config = usize::try_from(offset).ok().and_then(|offset| self.config.get(offset..));
        for (target, source) in data.iter_mut().zip(config.unwrap_or_default()) {
            *target = *source;
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let config = usize::try_from(offset).ok().and_then(|offset| self.config.get_mut(offset..));
        for (target, source) in config.unwrap_or_default().iter_mut().zip(data) {
            *target = *source;
        }
    }

    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError> {
        self.seen.activations.fetch_add(1, Ordering::SeqCst);
        let Activation { memory, features, queues, interrupt, .. } = activation;
        let lines = queues.iter().map(|queue| Arc::clone(&queue.interrupt)).collect();
        *lock(&self.seen.queues) = lines;
        if let (MockWorkers::Refuses, Some(queue)) = (self.workers, queues.first()) {
            // What was made for it until then is gone afterwards.
            queue.interrupt.file().expect("a file");
        }
        *lock(&self.seen.interrupt) = Some((features, Arc::clone(&interrupt)));
        let handlers = queues.into_iter().map(|queue| {
            self.seen.workers.fetch_add(1, Ordering::SeqCst);
            Handler {
                memory: memory.clone(),
                queue,
                interrupt: Arc::clone(&interrupt),
                seen: Arc::clone(&self.seen),
            }
        });
        match self.workers {
            MockWorkers::Queues => Ok(handlers
                .map(|handler| Worker::Queue {
                    index: handler.queue.index,
                    handler: Box::new(handler),
                })
                .collect()),
            MockWorkers::Subscriber => {
                Ok(vec![Worker::Subscriber(Box::new(All { handlers: handlers.collect() }))])
            }
            MockWorkers::Refuses => Err(ActivateError::Host {
                what: "it refuses",
                source: io::Error::other("as it was told to"),
            }),
        }
    }

    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&self.config)
    }

    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        check_version(version, 1)?;
        self.config = state.get()?;
        Ok(())
    }

    fn reset(&mut self) {
        self.seen.resets.fetch_add(1, Ordering::SeqCst);
        *lock(&self.seen.interrupt) = None;
        lock(&self.seen.queues).clear();
    }
}

impl fmt::Debug for MockDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockDevice").field("queue_sizes", &self.queue_sizes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen")
            .field("activations", &self.activations)
            .field("resets", &self.resets)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// Gives the buffers of a queue back.
struct Handler<M> {
    memory: M,
    queue: ActiveQueue,
    interrupt: Arc<dyn Interrupt>,
    seen: Arc<Seen>,
}

impl<M: GuestAddressSpace + Send> QueueHandler for Handler<M> {
    fn handle(&mut self) -> bool {
        let memory = self.memory.memory();
        let queue = &mut self.queue.queue;
        let mut most = queue.size();
        loop {
            let head = match queue.iter(&*memory) {
                Ok(mut chains) => chains.next().map(|chain| chain.head_index()),
                Err(_) => {
                    self.interrupt.needs_reset();
                    return false;
                }
            };
            let Some(head) = head else {
                return queue.enable_notification(&*memory).unwrap_or(false);
            };
            self.seen.taken.fetch_add(1, Ordering::SeqCst);
            drop(lock(&self.seen.gate));
            assert!(!self.seen.panics.load(Ordering::SeqCst), "a mock device panics, as told");
            if queue.add_used(&*memory, head, head.into()).is_err() {
                self.interrupt.needs_reset();
                return false;
            }
            if queue.needs_notification(&*memory).unwrap_or(true) {
                self.queue.interrupt.used();
            }
            most -= 1;
            if most == 0 {
                return true;
            }
        }
    }
}

impl<M> Drop for Handler<M> {
    fn drop(&mut self) {
        self.seen.workers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for the doorbells of all queues.
struct All<M> {
    handlers: Vec<Handler<M>>,
}

impl<M: GuestAddressSpace + Send> MutEventSubscriber for All<M> {
    fn process(&mut self, events: Events, _: &mut EventOps<'_>) {
        if let Some(handler) = self.handlers.get_mut(events.data() as usize) {
            let _ = handler.queue.doorbell.read();
            while handler.handle() {}
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        for (number, handler) in self.handlers.iter().enumerate() {
            let doorbell = &handler.queue.doorbell;
            ops.add(Events::with_data(doorbell, number as u32, EventSet::IN)).expect("a doorbell");
        }
    }
}

/// An interrupt controller that counts, with the wires of a bus.
#[derive(Default)]
pub struct MockController {
    /// How often each source was pulsed.
    pulses: Mutex<Vec<u32>>,
    /// Which levels are high.
    levels: Mutex<Vec<u32>>,
    /// Whether it can attach files.
    attaches: AtomicBool,
    /// The files that are, and their sources.
    attached: Mutex<Vec<(u32, EventFd)>>,
}

impl MockController {
    /// How often a source was pulsed.
    pub fn pulses(&self, source: u32) -> usize {
        lock(&self.pulses).iter().filter(|&&pulsed| pulsed == source).count()
    }

    /// The sources whose level is high.
    pub fn levels(&self) -> Vec<u32> {
        lock(&self.levels).clone()
    }

    /// Can attach files to sources from here on, as KVM can.
    pub fn attach_files(&self) {
        self.attaches.store(true, Ordering::SeqCst);
    }

    /// The sources that files are attached to.
    pub fn attached(&self) -> Vec<u32> {
        lock(&self.attached).iter().map(|(source, _)| *source).collect()
    }

    /// Does what the back end's kernel would: what was written to attached files is pulses.
    pub fn poll_files(&self) {
        for (source, file) in &*lock(&self.attached) {
            if file.read().is_ok() {
                lock(&self.pulses).push(*source);
            }
        }
    }

    /// The doorbell in front of it.
    pub fn doorbell(self: &Arc<Self>) -> Doorbell {
        Doorbell::new(Arc::clone(self) as Arc<dyn InterruptController>, &PciWindows::new())
    }

    /// The wires of a function of a bridge of its own.
    ///
    /// # Panics
    /// If there cannot be a machine for it.
    pub fn connection(self: &Arc<Self>, function: PciAddress) -> Connection {
        let machine = Machine::new(&MockConfig).expect("a machine");
        let controller = Arc::clone(self) as Arc<dyn InterruptController>;
        let mut builder = PlatformBuilder::new(&machine, controller);
        let pins = PciPins::claim(&mut builder, "mock-bridge").expect("four interrupts");
        Connection::new(pins.pin(function, 1), self.doorbell(), PciWindows::new())
    }
}

/// A machine that is made for the wires of its bridge.
struct MockConfig;

impl MachineConfig for MockConfig {
    fn memory(&self) -> Memory {
        Memory::of_size(MIN_MEMORY_BYTES)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(1, CpuModel::Power9)
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

impl InterruptController for MockController {
    fn claim(&self, _: SourceNumber, _: InterruptKind) -> Result<(), InterruptError> {
        Ok(())
    }

    fn signal(&self, source: SourceNumber, signal: Signal) {
        match signal {
            Signal::Pulse => lock(&self.pulses).push(source.0),
            Signal::High => lock(&self.levels).push(source.0),
            _ => lock(&self.levels).retain(|&high| high != source.0),
        }
    }

    fn attach(&self, source: SourceNumber, file: &EventFd) -> Result<bool, InterruptError> {
        let attaches = self.attaches.load(Ordering::SeqCst);
        if attaches {
            let controller = |reason| InterruptError::Controller { source_number: source, reason };
            let file = file.try_clone().map_err(controller)?;
            lock(&self.attached).push((source.0, file));
        }
        Ok(attaches)
    }

    /// A source has one file here.
    fn detach(&self, source: SourceNumber, _: &EventFd) -> Result<(), InterruptError> {
        lock(&self.attached).retain(|(other, _)| *other != source.0);
        Ok(())
    }
}

impl fmt::Debug for MockController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockController").field("levels", &self.levels()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
