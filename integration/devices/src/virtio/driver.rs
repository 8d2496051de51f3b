//! The driver's side of a queue, for tests and fuzzers.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use virtio_bindings::bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Interrupt, QueueInterrupt};

/// A buffer of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Buffer {
    /// Where it is in guest memory, or is said to be.
    pub at: u64,
    /// Its length.
    pub bytes: u32,
    /// Whether it is for the device to write.
    pub is_writable: bool,
}

impl Buffer {
    /// One for the device to read.
    pub const fn readable(at: u64, bytes: u32) -> Self {
        Self { at, bytes, is_writable: false }
    }

    /// One for the device to write.
    pub const fn writable(at: u64, bytes: u32) -> Self {
        Self { at, bytes, is_writable: true }
    }
}

/// A queue in guest memory as its driver has it (Virtio 1.2 §2.7). Descriptors are taken in turn,
/// so that no more than there are may be in flight.
///
/// Methods panic where there is no guest memory for the queue itself.
#[derive(Debug)]
pub struct DriverQueue<M> {
    memory: M,
    size: u16,
    descriptors: GuestAddress,
    available: GuestAddress,
    used: GuestAddress,
    next_descriptor: u16,
    available_index: u16,
    used_index: u16,
}

impl<M: GuestAddressSpace> DriverQueue<M> {
    /// A queue of so many descriptors, a power of two, from `at` on, a multiple of 16. What is there
    /// is overwritten.
    pub fn new(memory: M, at: GuestAddress, size: u16) -> Self {
        let [descriptors, available, used, _] = places(at, size);
        let queue = Self {
            memory,
            size,
            descriptors,
            available,
            used,
            next_descriptor: 0,
            available_index: 0,
            used_index: 0,
        };
        for ring in [available, used] {
            queue.write(ring, 0, 0u32);
        }
        queue.set_used_event(0);
        queue
    }

    /// Where its descriptor table, its available ring and its used ring are.
    pub fn parts(&self) -> [GuestAddress; 3] {
        [self.descriptors, self.available, self.used]
    }

    /// The first address behind it.
    pub fn end(&self) -> GuestAddress {
        places(self.descriptors, self.size)[3]
    }

    /// The same queue as a device gets it.
    pub fn queue(&self) -> Queue {
        let mut queue = Queue::new(self.size).expect("a power of two");
        queue.set_size(self.size);
        let halves = |at: GuestAddress| (Some(at.0 as u32), Some((at.0 >> 32) as u32));
        let (low, high) = halves(self.descriptors);
        queue.set_desc_table_address(low, high);
        let (low, high) = halves(self.available);
        queue.set_avail_ring_address(low, high);
        let (low, high) = halves(self.used);
        queue.set_used_ring_address(low, high);
        queue.set_ready(true);
        queue
    }

    /// Makes a chain of these buffers available; gives its first descriptor.
    pub fn add(&mut self, buffers: &[Buffer]) -> u16 {
        let head = self.next_descriptor;
        for (number, buffer) in buffers.iter().enumerate() {
            let index = self.take_descriptor();
            let has_next = number + 1 < buffers.len();
            self.write_descriptor(index, descriptor(buffer, has_next, self.next_descriptor));
        }
        self.make_available(head);
        head
    }

    /// The same with one descriptor, of a table that is written to `table`.
    pub fn add_indirect(&mut self, table: GuestAddress, buffers: &[Buffer]) -> u16 {
        for (number, buffer) in buffers.iter().enumerate() {
            let next = number + 1;
            let entry = descriptor(buffer, next < buffers.len(), next as u16);
            self.write(table, 16 * number as u64, RawDescriptor::from(entry));
        }
        let bytes = 16 * buffers.len() as u32;
        let index = self.take_descriptor();
        let entry = Descriptor::new(table.0, bytes, VRING_DESC_F_INDIRECT as u16, 0);
        self.write_descriptor(index, entry);
        self.make_available(index);
        index
    }

    /// Writes a descriptor of its table, right or wrong.
    pub fn write_descriptor(&self, index: u16, descriptor: Descriptor) {
        let offset = 16 * u64::from(index);
        self.write(self.descriptors, offset, RawDescriptor::from(descriptor));
    }

    /// Makes the chain available that begins with this descriptor.
    pub fn make_available(&mut self, head: u16) {
        let slot = u64::from(self.available_index % self.size);
        self.write(self.available, 4 + 2 * slot, head.to_le());
        self.set_available_index(self.available_index.wrapping_add(1));
    }

    /// Says how many chains were made available so far, truly or not.
    pub fn set_available_index(&mut self, index: u16) {
        self.available_index = index;
        let at = GuestAddress(self.available.0 + 2);
        self.memory.memory().store(index.to_le(), at, Ordering::SeqCst).expect("guest memory");
    }

    /// Wants an interrupt when this chain is used, counted from 0 (`used_event`, §2.7.7.1).
    pub fn set_used_event(&self, index: u16) {
        self.write(self.available, 4 + 2 * u64::from(self.size), index.to_le());
    }

    /// The next chain that the device has used: its first descriptor, and how many bytes were
    /// written.
    pub fn next_used(&mut self) -> Option<(u32, u32)> {
        let memory = self.memory.memory();
        let at = GuestAddress(self.used.0 + 2);
        let index: u16 = memory.load(at, Ordering::SeqCst).expect("guest memory");
        if u16::from_le(index) == self.used_index {
            return None;
        }
        let slot = u64::from(self.used_index % self.size);
        self.used_index = self.used_index.wrapping_add(1);
        let element: [u32; 2] =
            memory.read_obj(GuestAddress(self.used.0 + 4 + 8 * slot)).expect("guest memory");
        Some((u32::from_le(element[0]), u32::from_le(element[1])))
    }

    /// How many used chains were [taken](Self::next_used) so far.
    pub fn used_index(&self) -> u16 {
        self.used_index
    }

    fn take_descriptor(&mut self) -> u16 {
        let index = self.next_descriptor;
        self.next_descriptor = (index + 1) % self.size;
        index
    }

    fn write(&self, at: GuestAddress, offset: u64, value: impl vm_memory::ByteValued) {
        let at = GuestAddress(at.0 + offset);
        self.memory.memory().write_obj(value, at).expect("guest memory");
    }
}

/// Descriptors, available ring, used ring, and the end.
fn places(at: GuestAddress, size: u16) -> [GuestAddress; 4] {
    let size = u64::from(size);
    let available = at.0 + 16 * size;
    let used = (available + 6 + 2 * size).next_multiple_of(4);
    let end = (used + 6 + 8 * size).next_multiple_of(16);
    [at.0, available, used, end].map(GuestAddress)
}

fn descriptor(buffer: &Buffer, has_next: bool, next: u16) -> Descriptor {
    let mut flags = 0;
    if buffer.is_writable {
        flags |= VRING_DESC_F_WRITE;
    }
    if has_next {
        flags |= VRING_DESC_F_NEXT;
    }
    Descriptor::new(buffer.at, buffer.bytes, flags as u16, next)
}

/// Counts what a device tells its driver.
#[derive(Debug, Default)]
pub struct CountedInterrupts {
    used: AtomicU32,
    changes: AtomicU32,
    resets: AtomicU32,
}

impl CountedInterrupts {
    /// How often buffers were said to be used.
    pub fn used_count(&self) -> u32 {
        self.used.load(Ordering::SeqCst)
    }

    /// How often the configuration was said to have changed.
    pub fn change_count(&self) -> u32 {
        self.changes.load(Ordering::SeqCst)
    }

    /// How often the device was said to need a reset.
    pub fn reset_count(&self) -> u32 {
        self.resets.load(Ordering::SeqCst)
    }
}

impl Interrupt for CountedInterrupts {
    fn configuration_changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn needs_reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }
}

impl QueueInterrupt for CountedInterrupts {
    fn used(&self) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }

    fn file(&self) -> io::Result<EventFd> {
        EventFd::new(EFD_NONBLOCK)
    }
}
