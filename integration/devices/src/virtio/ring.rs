//! A queue of an active device, as what works on it uses it.

use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::bitmap::BS;
use vm_memory::{Bytes, GuestAddress, GuestMemory};
use vmm_sys_util::eventfd::EventFd;

use super::device::ActiveQueue;
use super::interrupt::QueueInterrupt;
use crate::chain::{Chain, ChainError};

/// A queue: chains are taken from it and given back, several at once where the driver may see them
/// only together.
///
/// Whoever meets a [`RingError`] has the device say that it needs a reset, and leaves the queue
/// alone from there on.
pub(crate) struct Ring {
    queue: Queue,
    doorbell: EventFd,
    interrupt: Arc<dyn QueueInterrupt>,
    /// What of the used ring the driver was told of, or did not want to be.
    told: Wrapping<u16>,
}

/// A queue that makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    #[error("the queue cannot be used")]
    Queue(#[from] virtio_queue::Error),
    #[error("the rings are not in guest memory")]
    Memory(#[from] vm_memory::GuestMemoryError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("a buffer has {bytes} bytes, and cannot have less than {least}")]
    Small { bytes: usize, least: usize },
}

/// A chain that was taken from a queue, and the number that it is given back by.
pub(crate) struct Taken<'m, B> {
    pub(crate) head: u16,
    pub(crate) chain: Chain<'m, B>,
}

impl Ring {
    pub(crate) fn new(active: ActiveQueue) -> Self {
        let ActiveQueue { queue, doorbell, interrupt, .. } = active;
        let told = Wrapping(queue.next_used());
        Self { queue, doorbell, interrupt, told }
    }

    /// Readable when the driver has notified the queue.
    pub(crate) fn doorbell(&self) -> &EventFd {
        &self.doorbell
    }

    /// How many descriptors it has.
    pub(crate) fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Takes the next chain, where there is one.
    pub(crate) fn take<'m, M: GuestMemory>(
        &mut self,
        memory: &'m M,
    ) -> Result<Option<Taken<'m, BS<'m, M::Bitmap>>>, RingError> {
        let Some(descriptors) = self.next(memory)? else { return Ok(None) };
        let head = descriptors.head_index();
        Ok(Some(Taken { head, chain: Chain::new(memory, descriptors)? }))
    }

    /// Takes the next chain without a look at it, where there is one: gives its first descriptor.
    pub(crate) fn take_head<M: GuestMemory>(
        &mut self,
        memory: &M,
    ) -> Result<Option<u16>, RingError> {
        Ok(self.next(memory)?.map(|descriptors| descriptors.head_index()))
    }

    fn next<'m, M: GuestMemory>(
        &mut self,
        memory: &'m M,
    ) -> Result<Option<DescriptorChain<&'m M>>, RingError> {
        let next = self.queue.iter(memory)?.next();
        if next.is_none() {
            // The iterator just ends, too, where it cannot read what there is. Whoever went by the
            // index then would look for it for ever.
            let slot = u64::from(self.queue.next_avail() % self.queue.size().max(1));
            memory.load::<u16>(self.available(4 + 2 * slot)?, Ordering::Relaxed)?;
        }
        Ok(next)
    }

    /// Where its descriptors are.
    pub(crate) fn descriptors(&self) -> GuestAddress {
        GuestAddress(self.queue.desc_table())
    }

    /// Puts the last `count` chains back, as if they had not been taken.
    pub(crate) fn put_back(&mut self, count: u16) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(count));
    }

    /// Goes on where somebody else worked on it. What he has taken and not given back is lost.
    pub(crate) fn take_over<M: GuestMemory>(&mut self, memory: &M) -> Result<(), RingError> {
        let available: u16 = memory.load(self.available(2)?, Ordering::Acquire)?;
        let used: u16 = memory.load(self.used(2)?, Ordering::Acquire)?;
        self.queue.set_next_avail(u16::from_le(available));
        self.queue.set_next_used(u16::from_le(used));
        self.told = Wrapping(u16::from_le(used));
        Ok(())
    }

    /// Gives a chain back, with so many bytes written to it.
    pub(crate) fn give<M: GuestMemory>(
        &mut self,
        memory: &M,
        head: u16,
        bytes: u32,
    ) -> Result<(), RingError> {
        self.give_all(memory, [(head, bytes)])
    }

    /// Gives chains back all at once: the driver sees all of them or none.
    pub(crate) fn give_all<M: GuestMemory>(
        &mut self,
        memory: &M,
        used: impl IntoIterator<Item = (u16, u32)>,
    ) -> Result<(), RingError> {
        let mut next = Wrapping(self.queue.next_used());
        for (head, bytes) in used {
            let slot = u64::from(next.0 % self.queue.size().max(1));
            let element = (u64::from(head) | u64::from(bytes) << 32).to_le();
            memory.write_obj(element, self.used(4 + 8 * slot)?)?;
            next += 1;
        }
        memory.store(next.0.to_le(), self.used(2)?, Ordering::Release)?;
        self.queue.set_next_used(next.0);
        Ok(())
    }

    /// Tells the driver of the chains that it got back since the last time, if there are some and
    /// it wants to know.
    pub(crate) fn tell<M: GuestMemory>(&mut self, memory: &M) -> Result<(), RingError> {
        let next = Wrapping(self.queue.next_used());
        let told = std::mem::replace(&mut self.told, next);
        if told == next {
            return Ok(());
        }
        // What it wants is read behind what it was given (Virtio 1.2 §2.7.7.2).
        fence(Ordering::SeqCst);
        let wants = if self.queue.event_idx_enabled() {
            let at = 4 + 2 * u64::from(self.queue.size());
            let event: u16 = memory.load(self.available(at)?, Ordering::Relaxed)?;
            next - Wrapping(u16::from_le(event)) - Wrapping(1) < next - told
        } else {
            let flags: u16 = memory.load(self.available(0)?, Ordering::Relaxed)?;
            u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0
        };
        if wants {
            self.interrupt.used();
        }
        Ok(())
    }

    /// Wants to be notified of the next chain. True where there is one already, so that nobody
    /// will.
    pub(crate) fn listen<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, RingError> {
        Ok(self.queue.enable_notification(memory)?)
    }

    /// Does without notifications.
    pub(crate) fn ignore<M: GuestMemory>(&mut self, memory: &M) -> Result<(), RingError> {
        Ok(self.queue.disable_notification(memory)?)
    }

    fn available(&self, offset: u64) -> Result<GuestAddress, RingError> {
        place(self.queue.avail_ring(), offset)
    }

    fn used(&self, offset: u64) -> Result<GuestAddress, RingError> {
        place(self.queue.used_ring(), offset)
    }
}

fn place(ring: u64, offset: u64) -> Result<GuestAddress, RingError> {
    let at = ring.checked_add(offset).ok_or(virtio_queue::Error::AddressOverflow)?;
    Ok(GuestAddress(at))
}
