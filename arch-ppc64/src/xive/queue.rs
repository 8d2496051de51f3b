//! Event queues: where in its memory a guest finds what has interrupted it.

use vm_memory::GuestAddress;

use super::controller::{DATA_MASK, ENTRIES, ENTRY_BYTES, EventQueue};
use super::esb::Pq;
use crate::ram::{GuestRam, MemoryFault};

/// A queue of a server and a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queue {
    /// That there is RAM was so when it was set, and is looked at with each entry: RAM may go.
    pub(super) entries: EventQueue,
    /// Where notifications are coalesced: their state.
    pub(super) notification: Pq,
}

impl Queue {
    pub(super) const fn new(entries: EventQueue) -> Self {
        Self { entries, notification: Pq::Reset }
    }

    /// Writes an entry behind the last one; the guest reads as fast as it is interrupted, or loses
    /// the oldest. Whether to notify of it.
    ///
    /// # Errors
    /// [`MemoryFault`] where there is no RAM any more; then there is no entry.
    pub(super) fn push(&mut self, data: u32, ram: &dyn GuestRam) -> Result<bool, MemoryFault> {
        let queue = &mut self.entries;
        let entry = u32::from(queue.generation) << 31 | data & DATA_MASK;
        let at = GuestAddress(queue.at.0 + u64::from(queue.index) * ENTRY_BYTES);
        ram.write_be_u32(at, entry)?;
        queue.index += 1;
        if queue.index >= ENTRIES {
            queue.index = 0;
            queue.generation = !queue.generation;
        }
        Ok(queue.always_notifies || self.notification.trigger())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestMemoryMmap;

    #[test]
    fn entries_wrap_and_their_generation_changes() {
        let ram: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x2_0000)]).unwrap();
        let ram: &dyn GuestRam = &ram;
        let at = GuestAddress(0x1_0000);
        let mut queue = Queue::new(EventQueue::new(at, true));
        let entry = |index: u64| ram.read_be_u32(GuestAddress(at.0 + 4 * index)).unwrap();
        for index in 0..ENTRIES {
            assert_eq!(queue.push(0x8000_0000 | index, ram), Ok(true));
            assert_eq!(entry(index.into()), 0x8000_0000 | index);
        }
        assert_eq!((queue.entries.index, queue.entries.generation), (0, false));
        assert_eq!(queue.push(7, ram), Ok(true));
        assert_eq!((entry(0), entry(1)), (7, 0x8000_0001));
        // Nothing was written before it or behind it.
        assert_eq!(ram.read_be_u32(GuestAddress(0xfffc)), Ok(0));
    }

    #[test]
    fn queue_without_ram_takes_nothing() {
        let ram: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap();
        let mut queue = Queue::new(EventQueue::new(GuestAddress(0x1_0000), true));
        let before = queue;
        assert!(queue.push(1, &ram).is_err());
        assert_eq!(queue, before);
    }
}
