//! Passes buffers on to a worker that writes to guest memory without being seen, and back.
//!
//! The worker has an available and a used ring of its own, and is as their driver has set them up
//! as any worker of a queue is; the table of descriptors is the guest's. So the guest's driver can
//! find no buffer in its used ring that was not marked as written before, even if it looks there
//! without having been interrupted.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arch_ppc64::platform::StateError;

use virtio_bindings::virtio_ring::VRING_USED_F_NO_NOTIFY;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemory, MmapRegion, Permissions, VolatileMemory};
use vmm_sys_util::eventfd::EventFd;

use super::descriptors::Descriptors;
use super::requests::Requests;
use crate::chain::Chain;
use crate::virtio::ActiveQueue;
use crate::virtio::ring::{Ring, RingError, Taken};

/// Why a queue is left alone from here on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// The driver makes no sense.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// It makes buffers available that it has not got back, or that there are not.
    #[error("the driver makes a buffer available that it does not have")]
    Driver,
    /// The worker returns what it was not given.
    #[error("a buffer is returned that was not passed on")]
    Worker,
}

/// How often it is looked whether a worker has returned a buffer.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Somebody does not come to rest.
pub(super) fn not_returned() -> StateError {
    StateError::Busy("a buffer is not returned by who has it".to_owned())
}

/// A relay that its thread and its device have.
#[derive(Debug, Clone)]
pub(crate) struct SharedRelay(Arc<Mutex<Relay>>);

impl SharedRelay {
    pub(crate) fn new(relay: Relay) -> Self {
        Self(Arc::new(Mutex::new(relay)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Relay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker has stopped before its buffer number `base`, and the relay's thread rests: waits
    /// until the driver has all others back.
    pub(crate) fn await_rest<M: GuestMemory>(
        &self,
        memory: &M,
        base: u16,
        until: Instant,
    ) -> Result<(), StateError> {
        loop {
            let mut relay = self.lock();
            // What makes no sense is left alone, and told when the thread goes on.
            if relay.give_back(memory).is_err() || relay.rings.next_used == base {
                return Ok(());
            }
            drop(relay);
            if Instant::now() >= until {
                return Err(not_returned());
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// A queue between its driver and such a worker.
pub(crate) struct Relay {
    ring: Ring,
    rings: Rings,
    kick: EventFd,
    call: EventFd,
    /// What requests are adapted as.
    adapted: Option<Requests>,
}

impl Relay {
    /// For the queue, with rings that the worker knows, and files that it is told by and tells by.
    pub(crate) fn new(active: ActiveQueue, rings: Rings, kick: EventFd, call: EventFd) -> Self {
        Self { ring: Ring::new(active), rings, kick, call, adapted: None }
    }

    /// Passes such requests on as workers of this host take them.
    pub(crate) fn with_requests(mut self, requests: Option<Requests>) -> Self {
        self.adapted = requests.filter(|requests| requests.have_to_be_adapted());
        self
    }

    /// Readable when the driver has notified the queue.
    pub(crate) fn doorbell(&self) -> &EventFd {
        self.ring.doorbell()
    }

    /// Readable when the worker has used buffers.
    pub(crate) fn call(&self) -> &EventFd {
        &self.call
    }

    /// Passes buffers of the driver on.
    pub(crate) fn forward<M: GuestMemory>(&mut self, memory: &M) -> Result<(), RelayError> {
        let _ = self.ring.doorbell().read();
        let before = self.rings.next_available;
        // No more than there are come, as none is returned meanwhile.
        loop {
            while let Some(head) = self.take(memory)? {
                self.rings.add(head)?;
            }
            if !self.ring.listen(memory)? {
                break;
            }
        }
        if self.rings.next_available != before && self.rings.publish() {
            // At worst it was notified already.
            let _ = self.kick.write(1);
        }
        Ok(())
    }

    fn take<M: GuestMemory>(&mut self, memory: &M) -> Result<Option<u16>, RingError> {
        let Some(requests) = self.adapted else { return self.ring.take_head(memory) };
        let Some(Taken { head, chain }) = self.ring.take(memory)? else { return Ok(None) };
        requests.adapt(&chain);
        Ok(Some(head))
    }

    /// Gives the buffers that the worker has used to the driver, marked as written.
    pub(crate) fn give_back<M: GuestMemory>(&mut self, memory: &M) -> Result<(), RelayError> {
        let _ = self.call.read();
        while let Some((head, bytes)) = self.rings.next_used()? {
            mark(memory, self.ring.descriptors(), self.ring.size(), head);
            self.ring.give(memory, head, bytes)?;
        }
        self.ring.tell(memory)?;
        Ok(())
    }

    /// Refuses what the worker was given, as it is gone, and what is available.
    pub(crate) fn refuse<M: GuestMemory>(
        &mut self,
        memory: &M,
        refusal: Requests,
    ) -> Result<(), RelayError> {
        // What it has done before it went.
        self.give_back(memory)?;
        for head in 0..self.ring.size() {
            if self.rings.set_in_flight(head, false) {
                let (table, size) = (self.ring.descriptors(), self.ring.size());
                let chain = Chain::new(memory, Descriptors::new(memory, table, size, head));
                let bytes = chain.map_or(0, |chain| refusal.answer(&chain));
                self.ring.give(memory, head, bytes)?;
            }
        }
        Ok(refusal.answer_all(&mut self.ring, memory)?)
    }

    /// Marks as written what the worker was given and has not been returned: it has stopped, the
    /// driver has lost interest, and nobody knows how far it came.
    pub(crate) fn settle<M: GuestMemory>(&self, memory: &M) {
        for head in self.rings.in_flight() {
            mark(memory, self.ring.descriptors(), self.ring.size(), head);
        }
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("rings", &self.rings).finish_non_exhaustive()
    }
}

/// The worker's rings, from their driver's side.
#[derive(Debug)]
pub(crate) struct Rings {
    memory: Arc<MmapRegion>,
    available: usize,
    used: usize,
    size: u16,
    next_available: u16,
    next_used: u16,
    /// A bit for each descriptor that begins a buffer which the worker has.
    in_flight: Vec<u64>,
}

impl Rings {
    /// In `memory`, which is all zero: the available ring at one offset, the used ring at another.
    pub(crate) fn new(memory: Arc<MmapRegion>, available: usize, used: usize, size: u16) -> Self {
        let in_flight = vec![0; usize::from(size).div_ceil(64)];
        Self { memory, available, used, size, next_available: 0, next_used: 0, in_flight }
    }

    /// The buffers that the worker has.
    fn in_flight(&self) -> impl Iterator<Item = u16> {
        (0..self.size)
            .filter(|&head| self.in_flight[usize::from(head / 64)] >> (head % 64) & 1 != 0)
    }

    /// Says of a buffer whether the worker has it. False if that was so before.
    fn set_in_flight(&mut self, head: u16, now: bool) -> bool {
        let Some(word) = self.in_flight.get_mut(usize::from(head / 64)) else { return false };
        let bit = 1 << (head % 64);
        let before = *word & bit != 0;
        *word = if now { *word | bit } else { *word & !bit };
        head < self.size && before != now
    }

    fn add(&mut self, head: u16) -> Result<(), RelayError> {
        if !self.set_in_flight(head, true) {
            return Err(RelayError::Driver);
        }
        let slot = usize::from(self.next_available % self.size);
        self.store(self.available + 4 + 2 * slot, head, Ordering::Relaxed);
        self.next_available = self.next_available.wrapping_add(1);
        Ok(())
    }

    /// Shows the worker what was added. True if it wants to be told.
    fn publish(&self) -> bool {
        self.store(self.available + 2, self.next_available, Ordering::Release);
        // It looks at the ring after it has said that it wants to be told (§2.7.10.1).
        fence(Ordering::SeqCst);
        let flags = self.load(self.used, Ordering::Relaxed);
        u32::from(flags) & VRING_USED_F_NO_NOTIFY == 0
    }

    /// The next buffer that the worker has used, and how many bytes it says to have written.
    fn next_used(&mut self) -> Result<Option<(u16, u32)>, RelayError> {
        let index = self.load(self.used + 2, Ordering::Acquire);
        if index == self.next_used {
            return Ok(None);
        }
        let at = self.used + 4 + 8 * usize::from(self.next_used % self.size);
        let head: u32 = self.read(at);
        let bytes: u32 = self.read(at + 4);
        let head = u16::try_from(head).map_err(|_| RelayError::Worker)?;
        if !self.set_in_flight(head, false) {
            return Err(RelayError::Worker);
        }
        self.next_used = self.next_used.wrapping_add(1);
        Ok(Some((head, bytes)))
    }

    // All offsets are in the memory, and aligned: it was made for them.

    fn store(&self, at: usize, value: u16, order: Ordering) {
        let _ = self.memory.as_volatile_slice().store(value.to_le(), at, order);
    }

    fn load(&self, at: usize, order: Ordering) -> u16 {
        self.memory.as_volatile_slice().load(at, order).map_or(0, u16::from_le)
    }

    fn read(&self, at: usize) -> u32 {
        self.memory.as_volatile_slice().load(at, Ordering::Relaxed).map_or(0, u32::from_le)
    }
}

/// Marks all that could be written to of the chain that begins with descriptor `head`. How much the
/// worker says to have written is not relied on.
fn mark<M: GuestMemory>(memory: &M, table: GuestAddress, size: u16, head: u16) {
    for descriptor in Descriptors::new(memory, table, size, head) {
        if descriptor.is_write_only() {
            let bytes = descriptor.len() as usize;
            let slices = memory.get_slices(descriptor.addr(), bytes, Permissions::Write);
            for slice in slices.into_iter().flatten().map_while(Result::ok) {
                slice.bitmap().mark_dirty(0, slice.len());
            }
        }
    }
}

#[cfg(test)]
mod tests;
