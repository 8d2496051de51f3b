use std::io::{self, ErrorKind};
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, PoisonError};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtio_queue::QueueT;
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::disk::BlockSizes;
use crate::iovec::{Gather, Scatter};
use crate::virtio::driver::{Buffer, CountedInterrupts, DriverQueue};
use crate::virtio::{ActiveQueue, QueueHandler};

mod bus;
mod files;
mod requests;
mod saved;
mod together;
mod wrong;

type Memory = Arc<GuestMemoryMmap<AtomicBitmap>>;

const OK: u8 = VIRTIO_BLK_S_OK as u8;
const IOERR: u8 = VIRTIO_BLK_S_IOERR as u8;
const UNSUPP: u8 = VIRTIO_BLK_S_UNSUPP as u8;

/// Where requests have their header, their status and their data.
const HEADER: u64 = 0x8000;
const STATUS: u64 = 0x8100;
const DATA: u64 = 0x1_0000;
const MEMORY_BYTES: usize = 0x10_0000;

const SECTORS: u64 = 64;
const ALL: u64 = u64::MAX;

/// A disk in memory, which counts what is asked of it.
struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
    is_read_only: bool,
    fails: AtomicBool,
    flushes: AtomicU32,
    transfers: AtomicU32,
}

impl MemoryDisk {
    fn new(is_read_only: bool) -> Self {
        let bytes = (0..SECTORS * 512).map(|at| (at / 512) as u8).collect();
        Self {
            bytes: Mutex::new(bytes),
            is_read_only,
            fails: AtomicBool::new(false),
            flushes: AtomicU32::new(0),
            transfers: AtomicU32::new(0),
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut [u8]) -> R) -> io::Result<R> {
        self.transfers.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(act(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Disk for MemoryDisk {
    fn size_bytes(&self) -> u64 {
        SECTORS * 512
    }
    fn block_sizes(&self) -> BlockSizes {
        BlockSizes::new(512, 4096)
    }
    fn is_read_only(&self) -> bool {
        self.is_read_only
    }
    fn id(&self) -> &str {
        "a name of more than twenty bytes"
    }
    fn read_at(&self, to: &mut Scatter<'_>, offset: u64) -> io::Result<()> {
        self.with(|bytes| to.copy_from(&bytes[offset as usize..])).map(drop)
    }
    fn write_at(&self, from: &mut Gather<'_>, offset: u64) -> io::Result<()> {
        self.with(|bytes| from.copy_to(&mut bytes[offset as usize..])).map(drop)
    }
    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) { Err(ErrorKind::Other.into()) } else { Ok(()) }
    }
    fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.write_zeroes(offset, bytes, true)
    }
    fn write_zeroes(&self, offset: u64, bytes: u64, _: bool) -> io::Result<()> {
        self.with(|all| all[offset as usize..][..bytes as usize].fill(0))
    }
}

/// A device with one queue, and its driver.
struct Rig {
    memory: Memory,
    driver: DriverQueue<Memory>,
    device: Block,
    handler: Box<dyn QueueHandler>,
    interrupts: Arc<CountedInterrupts>,
}

impl Rig {
    fn new(disk: Arc<dyn Disk>) -> Self {
        Self::with_features(Block::new(disk, 1), ALL)
    }

    fn with_features(mut device: Block, features: u64) -> Self {
        let memory: Memory =
            Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).unwrap());
        let driver = DriverQueue::new(memory.clone(), GuestAddress(0x1000), QUEUE_SIZE);
        let interrupts = Arc::new(CountedInterrupts::default());
        let handler =
            activate(&mut device, &memory, &[&driver], &interrupts, features).pop().unwrap();
        Self { memory, driver, device, handler, interrupts }
    }

    /// Puts a header into memory; gives the buffers of a request with this data.
    fn request(&self, kind: u32, sector: u64, data: &[Buffer]) -> Vec<Buffer> {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.memory.write_obj(header, GuestAddress(HEADER)).unwrap();
        self.memory.write_obj(0xffu8, GuestAddress(STATUS)).unwrap();
        let mut buffers = vec![Buffer::readable(HEADER, 16)];
        buffers.extend(data);
        buffers.push(Buffer::writable(STATUS, 1));
        buffers
    }

    /// Makes a request; gives its status and how many bytes were said to be written.
    fn ask(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> (u8, u32) {
        let buffers = self.request(kind, sector, data);
        self.ask_with(&buffers)
    }

    fn ask_with(&mut self, buffers: &[Buffer]) -> (u8, u32) {
        let head = self.driver.add(buffers);
        assert!(!self.handler.handle());
        let (used, written) = self.driver.next_used().unwrap();
        assert_eq!(used, u32::from(head));
        assert_eq!(self.driver.next_used(), None);
        assert_eq!(self.interrupts.reset_count(), 0);
        (self.memory.read_obj(GuestAddress(STATUS)).unwrap(), written)
    }

    fn bytes(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.memory.read_slice(&mut data, GuestAddress(at)).unwrap();
        data
    }

    fn config<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut data = [0; N];
        VirtioDevice::<Memory>::read_config(&self.device, offset, &mut data);
        data
    }
}

fn activate(
    device: &mut Block,
    memory: &Memory,
    drivers: &[&DriverQueue<Memory>],
    interrupts: &Arc<CountedInterrupts>,
    features: u64,
) -> Vec<Box<dyn QueueHandler>> {
    let features = features & VirtioDevice::<Memory>::features(device);
    let queues = drivers.iter().enumerate().map(|(index, driver)| {
        let doorbell = EventFd::new(0).unwrap();
        let mut queue = driver.queue();
        queue.set_event_idx(features >> VIRTIO_RING_F_EVENT_IDX & 1 != 0);
        ActiveQueue::new(index as u16, queue, doorbell, interrupts.clone())
    });
    let activation =
        Activation::new(memory.clone(), features, queues.collect(), interrupts.clone());
    let workers = device.activate(activation).unwrap();
    let handlers = workers.into_iter().map(|worker| match worker {
        Worker::Queue { handler, .. } => handler,
        Worker::Subscriber(_) => unreachable!("queues only"),
    });
    handlers.collect()
}

/// With a generator of its own, so that a failure can be seen again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
