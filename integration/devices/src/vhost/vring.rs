//! What a worker is told of a queue.

use std::io;
use std::sync::Arc;

use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemory, MmapRegion};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::memory;
use super::relay::{Relay, Rings};
use super::requests::Requests;
use crate::virtio::ActiveQueue;

/// A queue as its worker gets it. Addresses are those of this process.
#[derive(Debug)]
pub(crate) struct Vring {
    pub(crate) index: u16,
    pub(crate) size: u16,
    /// How many buffers were taken before.
    pub(crate) base: u16,
    pub(crate) descriptors: u64,
    pub(crate) available: u64,
    pub(crate) used: u64,
    /// Written to when there are buffers.
    pub(crate) kick: EventFd,
    /// To be written to when buffers have been used.
    pub(crate) call: EventFd,
}

/// Queues for a worker, and what this process has to do for them.
#[derive(Debug)]
pub(crate) struct Vrings {
    pub(crate) vrings: Vec<Vring>,
    /// One for each, if they are relayed.
    pub(crate) relays: Vec<Relay>,
    /// The memory of the worker's rings, then.
    pub(crate) rings: Option<Arc<MmapRegion>>,
}

impl Vrings {
    /// Lets worker and driver share their rings.
    pub(crate) fn shared<M: GuestMemory>(memory: &M, queues: Vec<ActiveQueue>) -> io::Result<Self> {
        let share = |active: ActiveQueue| {
            let ActiveQueue { index, queue, doorbell: kick, interrupt } = active;
            let size = queue.size();
            let place = |at, bytes| memory::host_address(memory, GuestAddress(at), bytes);
            Ok(Vring {
                index,
                size,
                base: queue.next_avail(),
                descriptors: place(queue.desc_table(), 16 * u64::from(size))?,
                available: place(queue.avail_ring(), available_bytes(size) as u64)?,
                used: place(queue.used_ring(), used_bytes(size) as u64)?,
                kick,
                call: interrupt.file()?,
            })
        };
        let vrings = queues.into_iter().map(share).collect::<io::Result<_>>()?;
        Ok(Self { vrings, relays: Vec::new(), rings: None })
    }

    /// Gives the worker rings of its own, and requests as it takes them.
    pub(crate) fn relayed<M: GuestMemory>(
        memory: &M,
        queues: Vec<ActiveQueue>,
        requests: Option<Requests>,
    ) -> io::Result<Self> {
        let mut places = Vec::with_capacity(queues.len());
        let mut end = 0_usize;
        for active in &queues {
            let size = active.queue.size();
            let available = end;
            let used = (available + available_bytes(size)).next_multiple_of(64);
            end = (used + used_bytes(size)).next_multiple_of(64);
            places.push((available, used));
        }
        // Whole pages of any host.
        let rings = memory::shared(end.next_multiple_of(64 << 10).max(64 << 10))?;
        let start = rings.as_ptr().addr() as u64;
        let (mut vrings, mut relays) = (Vec::new(), Vec::new());
        for (active, (available, used)) in queues.into_iter().zip(places) {
            let size = active.queue.size();
            let table = GuestAddress(active.queue.desc_table());
            let new = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
            let (kick, call) = (new()?, new()?);
            vrings.push(Vring {
                index: active.index,
                size,
                base: 0,
                descriptors: memory::host_address(memory, table, 16 * u64::from(size))?,
                available: start + available as u64,
                used: start + used as u64,
                kick: kick.try_clone()?,
                call: call.try_clone()?,
            });
            let own = Rings::new(rings.clone(), available, used, size);
            relays.push(Relay::new(active, own, kick, call).with_requests(requests));
        }
        Ok(Self { vrings, relays, rings: Some(rings) })
    }
}

/// Of an available ring of so many entries (Virtio 1.2 §2.7.6).
fn available_bytes(size: u16) -> usize {
    6 + 2 * usize::from(size)
}

/// Of a used ring (§2.7.8).
fn used_bytes(size: u16) -> usize {
    6 + 8 * usize::from(size)
}
