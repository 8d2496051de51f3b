//! The descriptors of a chain that somebody else took from its queue.

use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemory};

/// Goes through a chain from its first descriptor on, into a table of indirect ones too.
///
/// Where a chain makes no sense it just ends, and what is behind is not found.
pub(crate) struct Descriptors<'m, M> {
    memory: &'m M,
    table: GuestAddress,
    size: u32,
    next: u32,
    /// So many may still come.
    left: u32,
    /// The bytes that they may still have: there is an end to what others do with them.
    room: u32,
    is_indirect: bool,
}

impl<'m, M: GuestMemory> Descriptors<'m, M> {
    /// The chain that begins with descriptor `head` of a table.
    pub(crate) fn new(memory: &'m M, table: GuestAddress, size: u16, head: u16) -> Self {
        let size = u32::from(size);
        // The most that a chain may have (Virtio 1.2 §2.7.5.2).
        let room = u32::MAX;
        Self { memory, table, size, next: head.into(), left: size, room, is_indirect: false }
    }

    fn read(&self) -> Option<Descriptor> {
        let offset = 16 * u64::from(self.next);
        let at = self.table.0.checked_add(offset).filter(|_| self.next < self.size)?;
        self.memory.read_obj(GuestAddress(at)).ok()
    }

    fn find(&mut self) -> Option<Descriptor> {
        self.left = self.left.checked_sub(1)?;
        let mut descriptor = self.read()?;
        if descriptor.refers_to_indirect_table() {
            if std::mem::replace(&mut self.is_indirect, true) {
                return None;
            }
            // No driver makes longer ones, and no worker takes them (§2.7.5.3.1).
            self.size = (descriptor.len() / 16).min(1 << 15);
            (self.table, self.next) = (descriptor.addr(), 0);
            self.left = self.size.checked_sub(1)?;
            descriptor = self.read().filter(|first| !first.refers_to_indirect_table())?;
        }
        self.room = self.room.checked_sub(descriptor.len())?;
        if descriptor.has_next() {
            self.next = descriptor.next().into();
        } else {
            self.left = 0;
        }
        Some(descriptor)
    }
}

impl<M: GuestMemory> Iterator for Descriptors<'_, M> {
    type Item = Descriptor;

    fn next(&mut self) -> Option<Descriptor> {
        let found = self.find();
        if found.is_none() {
            self.left = 0;
        }
        found
    }
}
