//! What a worker is told of a queue.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use arch_ppc64::platform::StateError;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemory, MmapRegion};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::memory;
use super::relay::{LOOK_EVERY, Relay, Rings, SharedRelay, not_returned};
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
    /// Where the driver gets its buffers back.
    driver: Driver,
}

/// Where the driver of a queue gets its buffers back.
#[derive(Debug, Clone)]
enum Driver {
    /// In the used ring, which the worker has as well.
    Shared(GuestAddress),
    /// From who relays the queue.
    Relayed(SharedRelay),
}

impl Vring {
    /// Who passes its buffers on, where somebody does.
    pub(crate) fn relay(&self) -> Option<&SharedRelay> {
        match &self.driver {
            Driver::Shared(_) => None,
            Driver::Relayed(relay) => Some(relay),
        }
    }

    /// The worker has stopped before its buffer number [`base`](Self::base), and may still be at some
    /// of those before, as some workers are: waits until the driver has them back.
    pub(crate) fn await_rest<M: GuestMemory>(
        &self,
        memory: &M,
        until: Instant,
    ) -> Result<(), StateError> {
        let used = match &self.driver {
            Driver::Relayed(relay) => return relay.await_rest(memory, self.base, until),
            Driver::Shared(used) => GuestAddress(used.0.wrapping_add(2)),
        };
        loop {
            // What is no memory any more is left alone.
            let index = memory.load::<u16>(used, Ordering::Acquire).map(u16::from_le);
            if index.is_err() || index.is_ok_and(|index| index == self.base) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(not_returned());
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Queues for a worker, and what this process has to do for them.
#[derive(Debug)]
pub(crate) struct Vrings {
    pub(crate) vrings: Vec<Vring>,
    /// One for each, if they are relayed.
    pub(crate) relays: Vec<SharedRelay>,
    /// The memory of the worker's rings, then.
    pub(crate) rings: Option<Arc<MmapRegion>>,
}

impl Vrings {
    /// Lets worker and driver share their rings.
    pub(crate) fn shared<M: GuestMemory>(memory: &M, queues: Vec<ActiveQueue>) -> io::Result<Self> {
        let share = |active: ActiveQueue| {
            let ActiveQueue { index, queue, doorbell: kick, interrupt } = active;
            let (size, used) = (queue.size(), queue.used_ring());
            let place = |at, bytes| memory::host_address(memory, GuestAddress(at), bytes);
            Ok(Vring {
                index,
                size,
                base: queue.next_avail(),
                descriptors: place(queue.desc_table(), 16 * u64::from(size))?,
                available: place(queue.avail_ring(), available_bytes(size) as u64)?,
                used: place(used, used_bytes(size) as u64)?,
                kick,
                call: interrupt.file()?,
                driver: Driver::Shared(GuestAddress(used)),
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
            let (index, own) = (active.index, Rings::new(rings.clone(), available, used, size));
            let (own_kick, own_call) = (kick.try_clone()?, call.try_clone()?);
            let relay = Relay::new(active, own, own_kick, own_call).with_requests(requests);
            let relay = SharedRelay::new(relay);
            vrings.push(Vring {
                index,
                size,
                base: 0,
                descriptors: memory::host_address(memory, table, 16 * u64::from(size))?,
                available: start + available as u64,
                used: start + used as u64,
                kick,
                call,
                driver: Driver::Relayed(relay.clone()),
            });
            relays.push(relay);
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
