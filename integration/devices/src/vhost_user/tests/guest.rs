//! The driver's side of a device that a daemon works for.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use event_manager::{EventManager, MutEventSubscriber, SubscriberId, SubscriberOps};
use virtio_queue::QueueT;
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::tempfile::TempFile;

use super::super::{DeviceSpec, VhostUser, VhostUserError};
use crate::virtio::driver::{Buffer, CountedInterrupts, DriverQueue};
use crate::virtio::{ActivateError, Activation, ActiveQueue, QueueInterrupt, VirtioDevice, Worker};

pub(super) type Memory = Arc<GuestMemoryMmap<AtomicBitmap>>;

pub(super) const QUEUE: u16 = 16;
const REQUESTS: u64 = 0x10_0000;
pub(super) const ANSWERS: u64 = 0x20_0000;
const TABLES: u64 = 0x30_0000;
const BYTES: usize = 0x80_0000;

/// Memory in two regions, each in a file or not.
pub(super) fn memory(has_files: bool) -> Memory {
    let regions = [region(0, has_files), region(0x1_0000_0000, has_files)];
    Arc::new(GuestMemoryMmap::from_ranges_with_files(regions).unwrap())
}

fn region(at: u64, has_file: bool) -> (GuestAddress, usize, Option<FileOffset>) {
    let file = || {
        let file = TempFile::new().unwrap().into_file();
        file.set_len(BYTES as u64 + 0x1_0000).unwrap();
        FileOffset::new(file, 0x1_0000)
    };
    (GuestAddress(at), BYTES, has_file.then(file))
}

/// A region that memory does not have at first.
pub(super) fn plugged(at: u64) -> Arc<GuestRegionMmap<AtomicBitmap>> {
    let (start, bytes, file) = region(at, true);
    Arc::new(GuestRegionMmap::from_range(start, bytes, file).unwrap())
}

/// An interrupt that is a file.
pub(super) struct Line(EventFd);

impl QueueInterrupt for Line {
    fn used(&self) {
        self.0.write(1).unwrap();
    }

    fn file(&self) -> io::Result<EventFd> {
        self.0.try_clone()
    }
}

pub(super) struct Guest {
    pub(super) memory: Memory,
    pub(super) queues: Vec<DriverQueue<Memory>>,
    doorbells: Vec<EventFd>,
    pub(super) lines: Vec<Arc<Line>>,
    pub(super) interrupts: Arc<CountedInterrupts>,
    pub(super) device: VhostUser,
    manager: EventManager<Box<dyn MutEventSubscriber + Send>>,
    workers: Vec<SubscriberId>,
    requests: u64,
}

impl Guest {
    pub(super) fn connect(
        socket: &Path,
        spec: DeviceSpec,
        is_relayed: bool,
    ) -> Result<Self, VhostUserError> {
        let device = VhostUser::connect(socket, spec)?.with_relayed_queues(is_relayed);
        Ok(Self {
            memory: memory(true),
            queues: Vec::new(),
            doorbells: Vec::new(),
            lines: Vec::new(),
            interrupts: Arc::default(),
            device,
            manager: EventManager::new().unwrap(),
            workers: Vec::new(),
            requests: 0,
        })
    }

    /// The driver sets the device up with these features.
    pub(super) fn activate(&mut self, features: u64) -> Result<(), ActivateError> {
        let count = VirtioDevice::<Memory>::queue_sizes(&self.device).len();
        self.queues.clear();
        self.requests = 0;
        let mut at = GuestAddress(0x1_0000_1000);
        for _ in 0..count {
            let queue = DriverQueue::new(self.memory.clone(), at, QUEUE);
            at = queue.end();
            self.queues.push(queue);
        }
        let new = || EventFd::new(EFD_NONBLOCK).unwrap();
        self.doorbells = (0..count).map(|_| new()).collect();
        self.lines = (0..count).map(|_| Arc::new(Line(new()))).collect();
        self.start(features)
    }

    fn start(&mut self, features: u64) -> Result<(), ActivateError> {
        let count = self.queues.len();
        let active = |index: usize| {
            let mut queue = self.queues[index].queue();
            queue.set_event_idx(features >> 29 & 1 != 0);
            let used = GuestAddress(queue.used_ring() + 2);
            let used = u16::from_le(self.memory.load(used, Ordering::SeqCst).unwrap());
            queue.set_next_avail(used);
            queue.set_next_used(used);
            let doorbell = self.doorbells[index].try_clone().unwrap();
            ActiveQueue::new(index as u16, queue, doorbell, self.lines[index].clone())
        };
        let queues = (0..count).map(active).collect();
        let (memory, interrupt) = (self.memory.clone(), self.interrupts.clone());
        let features = features | 1 << 32;
        let activation = Activation::new(memory, features, queues, interrupt);
        for worker in self.device.activate(activation)? {
            let Worker::Subscriber(worker) = worker else { panic!("no subscriber") };
            self.workers.push(self.manager.add_subscriber(worker));
        }
        Ok(())
    }

    /// Another device goes on with the queues, as its driver has set them up with these features.
    pub(super) fn go_on(&mut self, features: u64) -> Result<(), ActivateError> {
        self.start(features)
    }

    /// What works for the device ends.
    pub(super) fn disable(&mut self) {
        for worker in self.workers.drain(..) {
            drop(self.manager.remove_subscriber(worker).unwrap());
        }
    }

    pub(super) fn reset(&mut self) {
        self.disable();
        VirtioDevice::<Memory>::reset(&mut self.device);
    }

    /// Lets workers work once.
    pub(super) fn turn(&mut self) {
        self.manager.run_with_timeout(1).unwrap();
    }

    /// Lets workers work until something is so.
    #[track_caller]
    pub(super) fn wait<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..30_000 {
            if let Some(result) = done(self) {
                return result;
            }
            self.turn();
        }
        panic!("nothing happens");
    }

    /// Makes a request available, with as much room for the answer.
    pub(super) fn ask(&mut self, queue: usize, request: &[u8], is_indirect: bool) {
        self.ask_for(request.len() as u32, queue, request, is_indirect);
    }

    /// Makes a request available, with room for an answer of so many bytes.
    pub(super) fn ask_for(&mut self, room: u32, queue: usize, request: &[u8], is_indirect: bool) {
        let slot = self.requests % u64::from(QUEUE / 2);
        self.requests += 1;
        let (from, to) = (REQUESTS + slot * 0x2000, ANSWERS + slot * 0x2000);
        self.memory.write_slice(request, GuestAddress(from)).unwrap();
        let bytes = request.len() as u32;
        let buffers = [Buffer::readable(from, bytes), Buffer::writable(to, room)];
        if is_indirect {
            let table = GuestAddress(TABLES + slot * 0x1000);
            self.queues[queue].add_indirect(table, &buffers);
        } else {
            self.queues[queue].add(&buffers);
        }
        self.doorbells[queue].write(1).unwrap();
    }

    /// Notifies the device.
    pub(super) fn ring(&self, queue: usize) {
        self.doorbells[queue].write(1).unwrap();
    }

    /// The answer to the request of this number.
    #[track_caller]
    pub(super) fn answer(&mut self, queue: usize, number: u64) -> Vec<u8> {
        let (_, bytes) = self.wait(|guest| guest.queues[queue].next_used());
        let at = ANSWERS + number % u64::from(QUEUE / 2) * 0x2000;
        let mut answer = vec![0; bytes as usize];
        self.memory.read_slice(&mut answer, GuestAddress(at)).unwrap();
        answer
    }

    #[track_caller]
    pub(super) fn wait_for_interrupt(&mut self, queue: usize) {
        let line = self.lines[queue].clone();
        self.wait(|_| line.0.read().ok());
    }

    /// Whether the page at this address is marked as written.
    pub(super) fn is_dirty(&self, at: u64) -> bool {
        let (region, at) = self.memory.to_region_addr(GuestAddress(at)).unwrap();
        region.bitmap().dirty_at(at.0 as usize)
    }

    pub(super) fn clean(&self) {
        for region in self.memory.iter() {
            (**region).bitmap().reset();
        }
    }
}
