//! What XIVE's hypercalls are about: what a controller has to do for them, in software or in a
//! kernel.

use vm_memory::GuestAddress;

use super::esb::Load;
use crate::hypercall::Status;
use crate::layout::{XIVE_LAST_PRIORITY, XIVE_QUEUE_SHIFT};
use crate::topology::CpuTopology;
use crate::vcpu::CpuIndex;

/// An entry of a queue has 31 bits of data: the other one tells it from those of the round before.
pub(super) const DATA_MASK: u32 = 0x7fff_ffff;

/// No priority at all; as that of a CPU: any interrupt is more favoured.
pub(super) const NO_PRIORITY: u8 = 0xff;

pub(super) const ENTRY_BYTES: u64 = 4;

/// How long a queue is.
const QUEUE_BYTES: u64 = 1 << XIVE_QUEUE_SHIFT;

/// How many entries a queue has.
pub(super) const ENTRIES: u32 = (QUEUE_BYTES / ENTRY_BYTES) as u32;

/// Where the events of a source go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The CPU and the priority whose queue it is.
    pub target: CpuIndex,
    /// At most [`XIVE_LAST_PRIORITY`].
    pub priority: u8,
    /// Events are dropped.
    pub is_masked: bool,
    /// What the entries of the queue say (EISN), of 31 bits.
    pub data: u32,
}

impl Assignment {
    /// Of a source that has not been assigned: the data "will be equivalent to the LISN if not
    /// changed".
    pub const fn none(source: u32) -> Self {
        Self { target: CpuIndex(0), priority: 0, is_masked: true, data: source }
    }

    /// The priority as guests are told of it.
    pub(super) const fn shown_priority(&self) -> u8 {
        if self.is_masked { NO_PRIORITY } else { self.priority }
    }

    /// Whether priority and data are such as guests can have, for who has it from elsewhere.
    pub const fn is_possible(&self) -> bool {
        self.priority <= XIVE_LAST_PRIORITY && self.data & !DATA_MASK == 0
    }
}

/// A source, as guests are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceInfo {
    /// It is told of by levels: the platform ends its events for guests (H_INT_ESB).
    pub is_level: bool,
    /// Where its events go.
    pub assignment: Assignment,
}

/// The pages of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePages {
    /// Loads of it end events and set P and Q.
    pub management: GuestAddress,
    /// Stores to it are events.
    pub trigger: GuestAddress,
}

/// A queue as a guest has set it, and how far it is: of as many bytes as
/// [`XIVE_QUEUE_SHIFT`](crate::layout::XIVE_QUEUE_SHIFT) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventQueue {
    /// Its place, a multiple of its size.
    pub at: GuestAddress,
    /// Whether each entry is notified of, whatever the state of notifications.
    pub always_notifies: bool,
    /// The next entry.
    pub index: u32,
    /// The high-order bit of the entries of this round.
    pub generation: bool,
}

impl EventQueue {
    /// An empty queue. "The generation bit starts at 1": memory that is all zeros has no entry.
    pub const fn new(at: GuestAddress, always_notifies: bool) -> Self {
        Self { at, always_notifies, index: 0, generation: true }
    }

    /// Whether a queue can be so, as far as its numbers go, for who has it from elsewhere. Where RAM
    /// is, this does not know.
    pub const fn is_possible(&self) -> bool {
        self.at.0 % QUEUE_BYTES == 0 && self.index < ENTRIES
    }
}

/// A controller whose sources and queues guests set by hypercalls.
///
/// [`answer`](super::answer) makes sense of their arguments, so that what comes here is about CPUs
/// of the [topology](Self::topology), and within what is said of the types; the numbers of sources
/// may be any.
pub trait XiveController: Send + Sync {
    /// Its CPUs.
    fn topology(&self) -> &CpuTopology;

    /// A source; `None` where there is none of this number.
    fn source(&self, source: u32) -> Option<SourceInfo>;

    /// The pages of a source that there is.
    fn pages(&self, source: u32) -> SourcePages;

    /// Assigns a source. What comes from now on goes there.
    ///
    /// # Errors
    /// The status of H_INT_SET_SOURCE_CONFIG.
    fn assign(&self, source: u32, to: &Assignment) -> Result<(), Status>;

    /// The page of the notifications of a queue, where there are such.
    fn notification_page(&self, target: CpuIndex, priority: u8) -> Option<GuestAddress>;

    /// The queue of a CPU and a priority, if one is set.
    ///
    /// # Errors
    /// The status of H_INT_GET_QUEUE_CONFIG.
    fn queue(&self, target: CpuIndex, priority: u8) -> Result<Option<EventQueue>, Status>;

    /// Sets it, or takes it away. Its place is RAM.
    ///
    /// # Errors
    /// The status of H_INT_SET_QUEUE_CONFIG.
    fn set_queue(
        &self,
        target: CpuIndex,
        priority: u8,
        queue: Option<EventQueue>,
    ) -> Result<(), Status>;

    /// A load of a source's management page: its value.
    ///
    /// # Errors
    /// The status of H_INT_ESB.
    fn load(&self, source: u32, load: Load) -> Result<u64, Status>;

    /// Returns when "any in flight events for the input lisn are in the event queue".
    ///
    /// # Errors
    /// The status of H_INT_SYNC.
    fn sync(&self, source: u32) -> Result<(), Status>;

    /// Forgets what was [assigned](Self::assign) and which queues were [set](Self::set_queue), and
    /// the events that were on their way. Which priority CPUs take stays as it is.
    ///
    /// # Errors
    /// The status of H_INT_RESET.
    fn forget(&self) -> Result<(), Status>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_known() {
        let good = Assignment { priority: 6, data: DATA_MASK, ..Assignment::none(1) };
        assert!(good.is_possible());
        assert!(!Assignment { priority: 7, ..good }.is_possible());
        assert!(!Assignment { data: 1 << 31, ..good }.is_possible());
        let good = EventQueue { index: 0x3fff, ..EventQueue::new(GuestAddress(0x1_0000), true) };
        assert!(good.is_possible());
        assert!(!EventQueue { index: 0x4000, ..good }.is_possible());
        assert!(!EventQueue { at: GuestAddress(0x1_8000), ..good }.is_possible());
    }
}
