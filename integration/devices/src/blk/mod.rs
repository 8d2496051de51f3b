//! The virtio block device (Virtio 1.2 §5.2), on any [`Disk`].
//!
//! Transfers go straight between the disk and the driver's buffers. What the host has in memory is
//! read and written in the order of the queue, by one thread; while that waits for the disk, others
//! go on with the queue, up to [`TRANSFERS_AT_ONCE`] of all queues. Queues share nothing but the
//! disk, which has no lock. A flush is done when all writes are that were before it in its queue.
//!
//! A request that makes sense but cannot be done gets `VIRTIO_BLK_S_IOERR` or, where it is of an
//! unknown kind, `VIRTIO_BLK_S_UNSUPP`. A chain that breaks the rules of queues
//! ([`ChainError`](crate::chain::ChainError)), or has no room for a status, cannot be answered:
//! the device needs a reset, and the queue is left alone until then.

mod config;
mod counts;
mod queue;
mod request;
mod saved;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arch_ppc64::fdt::{FdtError, NodeBuilder};
use arch_ppc64::platform::{StateError, StateValue};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX,
    VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestAddressSpace;

pub use self::queue::{BYTES_AT_ONCE, REQUESTS_AT_ONCE};

use self::counts::Counts;
use self::queue::BlockQueue;
use self::request::Requests;
use crate::disk::Disk;
use crate::virtio::{ActivateError, Activation, Counters, DeviceKind, VirtioDevice, Worker};

/// The most descriptors that each queue may have, if nobody says otherwise.
pub const QUEUE_SIZE: u16 = 256;

/// The most transfers that wait for the disk at the same time: those of all queues, and one of each
/// where there are more queues.
pub const TRANSFERS_AT_ONCE: u16 = 16;

/// The least and the most that can be said: a header, a status and data have to find room in a
/// queue (§5.2.6), and there is a limit for all queues (§2.7).
const QUEUE_SIZES: std::ops::RangeInclusive<u16> = 4..=32768;

/// The most queues that a device may have.
pub const MAX_QUEUES: u16 = 64;

/// Mass storage, SCSI, as it is the custom for virtio (PCI Code and ID Assignment §1.2).
const CLASS: u32 = 0x01_00_00;

/// A block device.
pub struct Block {
    disk: Arc<dyn Disk>,
    queue_sizes: Vec<u16>,
    /// Whether what is written may wait for a flush (§5.2.6.2): as the driver said it in
    /// `writeback`.
    writes_back: Arc<AtomicBool>,
    /// Whether the driver may still say it.
    takes_writeback: bool,
    counts: Arc<Counts>,
}

impl Block {
    /// The disk, behind so many queues, from 1 to [`MAX_QUEUES`]; what is outside is taken as the
    /// nearest of these.
    pub fn new(disk: Arc<dyn Disk>, queues: u16) -> Self {
        let queue_sizes = vec![QUEUE_SIZE; usize::from(queues.clamp(1, MAX_QUEUES))];
        let writes_back = Arc::new(AtomicBool::new(true));
        let counts = Arc::default();
        Self { disk, queue_sizes, writes_back, takes_writeback: true, counts }
    }

    /// The same with queues of at most so many descriptors: a power of two from 4 to 32768; what is
    /// none is taken as the next smaller one.
    #[must_use]
    pub fn with_queue_size(mut self, descriptors: u16) -> Self {
        let (least, most) = (*QUEUE_SIZES.start(), *QUEUE_SIZES.end());
        let size = 1 << descriptors.clamp(least, most).ilog2();
        self.queue_sizes.fill(size);
        self
    }

    /// That of each queue.
    fn queue_size(&self) -> u16 {
        self.queue_sizes.first().copied().unwrap_or(QUEUE_SIZE)
    }
}

impl<M> VirtioDevice<M> for Block
where
    M: GuestAddressSpace + Send + 'static,
{
    fn kind(&self) -> DeviceKind {
        DeviceKind::new(VIRTIO_ID_BLOCK as u16, CLASS)
    }

    fn features(&self) -> u64 {
        let mut features = 1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_BLK_F_SIZE_MAX
            | 1 << VIRTIO_BLK_F_SEG_MAX
            | 1 << VIRTIO_BLK_F_BLK_SIZE
            | 1 << VIRTIO_BLK_F_TOPOLOGY
            | 1 << VIRTIO_BLK_F_FLUSH;
        if self.queue_sizes.len() > 1 {
            features |= 1 << VIRTIO_BLK_F_MQ;
        }
        features |= if self.disk.is_read_only() {
            1 << VIRTIO_BLK_F_RO
        } else {
            1 << VIRTIO_BLK_F_CONFIG_WCE
                | 1 << VIRTIO_BLK_F_DISCARD
                | 1 << VIRTIO_BLK_F_WRITE_ZEROES
        };
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        Some(self.counts.clone())
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let queues = self.queue_sizes.len() as u16;
        let writes_back = self.writes_back.load(Ordering::Relaxed);
        let config = config::space(&*self.disk, queues, self.queue_size(), writes_back);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for (to, from) in data.iter_mut().zip(config.iter().skip(start)) {
            *to = *from;
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let ([value], config::WRITEBACK, true) = (data, offset, self.takes_writeback) {
            self.writes_back.store(*value != 0, Ordering::Relaxed);
        }
    }

    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError> {
        // "If VIRTIO_BLK_F_CONFIG_WCE is negotiated but VIRTIO_BLK_F_FLUSH is not, the device MUST
        // initialize writeback to 0" (§5.2.5.2); without both, a driver knows no flush (§5.2.6.2).
        self.takes_writeback = activation.has(VIRTIO_BLK_F_CONFIG_WCE);
        if !activation.has(VIRTIO_BLK_F_FLUSH) {
            self.writes_back.store(false, Ordering::Relaxed);
        } else if !self.takes_writeback {
            self.writes_back.store(true, Ordering::Relaxed);
        }
        if activation.queues.is_empty() {
            return Err(ActivateError::Queue(0));
        }
        let Activation { memory, interrupt, queues, features, .. } = activation;
        let helpers = (TRANSFERS_AT_ONCE / queues.len().max(1) as u16).saturating_sub(1);
        let workers = queues.into_iter().map(|queue| {
            let index = queue.index;
            let writes_back = self.writes_back.clone();
            let requests =
                Requests::new(self.disk.clone(), features, writes_back, self.counts.clone());
            let interrupt = interrupt.clone();
            let handler = BlockQueue::new(memory.clone(), queue, interrupt, requests, helpers);
            Worker::Queue { index, handler: Box::new(handler) }
        });
        Ok(workers.collect())
    }

    fn save(&self) -> Result<StateValue, StateError> {
        self.state()
    }

    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        self.take_up(version, state)
    }

    fn reset(&mut self) {
        self.writes_back.store(true, Ordering::Relaxed);
        self.takes_writeback = true;
    }

    /// What Open Firmware's boot loaders know a disk by (IEEE 1275 §3.7.2). The node keeps the name
    /// that the binding for PCI gives it.
    fn describe(&self, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        node.text("device_type", &["block"]).map(drop)
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("disk", &self.disk.id())
            .field("queues", &self.queue_sizes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
