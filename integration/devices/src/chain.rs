//! The buffers of a descriptor chain, as pieces of guest memory.
//!
//! A device takes a chain from its queue, and has what the driver wrote for it (`readable`) and
//! where it may write (`writable`) as two [`Pieces`]. Small things, such as headers, are split off
//! and copied; the rest goes to a file, and comes from one, without a copy in between:
//!
//! ```
//! # use std::fs::File;
//! # use pseries_devices::chain::Chain;
//! # use virtio_queue::{Queue, QueueT};
//! # use vm_memory::{GuestAddressSpace, GuestMemory};
//! fn send<M: GuestAddressSpace>(queue: &mut Queue, memory: &M, tap: &File) -> std::io::Result<()> {
//!     let memory = memory.memory();
//!     while let Some(descriptors) = queue.pop_descriptor_chain(&*memory) {
//!         let head = descriptors.head_index();
//!         // An error is a driver that makes no sense: the device needs a reset.
//!         let Ok(mut chain) = Chain::new(&*memory, descriptors) else { break };
//!         let Some(header) = chain.readable.split_front(12) else { break };
//!         let flags: Option<u8> = header.read_obj();
//!         // What is left goes out in one `writev`, whatever pieces it comes in …
//!         chain.readable.gather().write(tap)?;
//!         // … and what comes in by `readv` is marked as dirty where it was written.
//!         let received = chain.writable.fill(|to| to.read(tap))?;
//!         let _ = queue.add_used(&*memory, head, received as u32);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Whatever writes to guest memory through [`Pieces`] marks it in the bitmap of its region
//! (`vm_memory::bitmap::Bitmap`), so that dirty tracking and decoded code notice. Memory is not
//! allocated for chains of up to eight pieces a direction.

use std::io;

use smallvec::SmallVec;
use virtio_queue::desc::split::Descriptor;
use vm_memory::bitmap::{BitmapSlice, WithBitmapSlice};
use vm_memory::{ByteValued, GuestAddress, GuestMemory, Permissions, VolatileSlice};

use crate::iovec::{Gather, MAX_PIECES, Scatter};

/// The buffers of one descriptor chain.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Chain<'m, B = ()> {
    /// What the driver passes to the device.
    pub readable: Pieces<'m, B>,
    /// Where the device may answer.
    pub writable: Pieces<'m, B>,
}

/// A driver that does not keep to the rules for chains.
///
/// A device that meets one does not know what the driver waits for. It sets DEVICE_NEEDS_RESET and
/// leaves the queue alone (Virtio 1.2 §2.1.2): were the chain returned as used with no bytes
/// written, a driver could take what was in its buffers before for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// It does not end, ends in a descriptor that is not there, has more than 2³² bytes, or a table
    /// of indirect descriptors that is none (§2.7.5, §2.7.5.3).
    #[error("the chain is endless, too long, or leads out of its table")]
    Broken,
    /// A buffer is not in guest memory.
    #[error("there is no guest memory for the {bytes:#x} bytes at {:#x}", .at.0)]
    OutsideMemory {
        /// Where it begins.
        at: GuestAddress,
        /// Its length.
        bytes: u32,
    },
    /// A buffer for the device to read comes behind one to write (§2.7.4.2).
    #[error("a buffer to be read comes behind one to be written")]
    ReadableAfterWritable,
    /// There are more than [`MAX_PIECES`] pieces.
    #[error("the chain has more than {MAX_PIECES} buffers")]
    TooManyPieces,
}

impl<'m, B: BitmapSlice> Chain<'m, B> {
    /// Looks up the buffers that `descriptors` name in `memory`, as a `DescriptorChain` does. Those
    /// without a length are left out.
    ///
    /// # Errors
    /// [`ChainError`] where the driver does not keep to the rules.
    pub fn new<M>(
        memory: &'m M,
        descriptors: impl Iterator<Item = Descriptor>,
    ) -> Result<Self, ChainError>
    where
        M: GuestMemory<Bitmap: WithBitmapSlice<'m, S = B>>,
    {
        let mut chain = Self { readable: Pieces::new(), writable: Pieces::new() };
        let (mut has_next, mut has_writable) = (true, false);
        for descriptor in descriptors {
            has_next = descriptor.has_next();
            let (to, access) = if descriptor.is_write_only() {
                has_writable = true;
                (&mut chain.writable, Permissions::Write)
            } else if has_writable {
                return Err(ChainError::ReadableAfterWritable);
            } else {
                (&mut chain.readable, Permissions::Read)
            };
            let (at, bytes) = (descriptor.addr(), descriptor.len());
            let outside = |_| ChainError::OutsideMemory { at, bytes };
            for piece in memory.get_slices(at, bytes as usize, access).map_err(outside)? {
                to.push(piece.map_err(outside)?)?;
            }
        }
        // The iterator just ends where something is wrong; only the last descriptor has no next.
        if has_next { Err(ChainError::Broken) } else { Ok(chain) }
    }
}

/// Pieces of guest memory, in order.
#[derive(Debug, Clone)]
pub struct Pieces<'m, B = ()> {
    list: SmallVec<[VolatileSlice<'m, B>; 8]>,
    bytes: usize,
}

impl<'m, B: BitmapSlice> Pieces<'m, B> {
    fn new() -> Self {
        Self { list: SmallVec::new(), bytes: 0 }
    }

    fn push(&mut self, piece: VolatileSlice<'m, B>) -> Result<(), ChainError> {
        if self.list.len() == MAX_PIECES {
            return Err(ChainError::TooManyPieces);
        }
        self.bytes += piece.len();
        self.list.push(piece);
        Ok(())
    }

    /// How many bytes they have; below 2³² for those of a chain.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The pieces one by one, in order.
    pub fn iter(&self) -> impl Iterator<Item = &VolatileSlice<'m, B>> {
        self.list.iter()
    }

    /// Takes away the first `bytes`; `None`, and nothing is taken, where there are fewer.
    #[must_use]
    pub fn split_front(&mut self, bytes: usize) -> Option<Self> {
        let rest = self.bytes.checked_sub(bytes)?;
        let back = self.split_off(bytes)?;
        self.bytes = bytes;
        Some(std::mem::replace(self, Self { list: back, bytes: rest }))
    }

    /// Takes away the last `bytes`; `None`, and nothing is taken, where there are fewer.
    #[must_use]
    pub fn split_back(&mut self, bytes: usize) -> Option<Self> {
        let rest = self.bytes.checked_sub(bytes)?;
        let list = self.split_off(rest)?;
        self.bytes = rest;
        Some(Self { list, bytes })
    }

    /// Copies the first bytes to `buf`, as many as both have room for, and tells how many.
    pub fn copy_to(&self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        for piece in &self.list {
            done += piece.copy_to(&mut buf[done..]);
        }
        done
    }

    /// Copies `data` to the first bytes, as many as both have room for, and tells how many.
    pub fn copy_from(&self, data: &[u8]) -> usize {
        let mut done = 0;
        for piece in &self.list {
            let bytes = piece.len().min(data.len() - done);
            piece.copy_from(&data[done..done + bytes]);
            done += bytes;
        }
        done
    }

    /// The value that the first bytes are; `None` where there are too few.
    pub fn read_obj<T: ByteValued>(&self) -> Option<T> {
        let mut value = T::zeroed();
        (self.copy_to(value.as_mut_slice()) == size_of::<T>()).then_some(value)
    }

    /// Makes the first bytes this value; `None`, and nothing is written, where there are too few.
    pub fn write_obj<T: ByteValued>(&self, value: T) -> Option<()> {
        let has_room = self.bytes >= size_of::<T>();
        has_room.then(|| {
            self.copy_from(value.as_slice());
        })
    }

    /// All of it, to be written elsewhere.
    pub fn gather(&self) -> Gather<'m> {
        Gather::new(&self.list)
    }

    /// Lets `read` fill it from the front, and marks as dirty what it has used up; all of it when it
    /// fails, as nobody knows how far it came.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill<R>(&self, read: impl FnOnce(&mut Scatter<'_>) -> io::Result<R>) -> io::Result<R> {
        let mut scatter = Scatter::new(&self.list);
        let result = read(&mut scatter);
        self.mark_dirty(if result.is_ok() { self.bytes - scatter.len() } else { self.bytes });
        result
    }

    /// All of it, to be written to; what was, is to be [marked](Self::mark_dirty).
    pub(crate) fn scatter(&self) -> Scatter<'m> {
        Scatter::new(&self.list)
    }

    /// Marks the first `bytes` as dirty.
    pub(crate) fn mark_dirty(&self, bytes: usize) {
        let mut left = bytes;
        for piece in &self.list {
            if left == 0 {
                break;
            }
            let marked = left.min(piece.len());
            piece.bitmap().mark_dirty(0, marked);
            left -= marked;
        }
    }

    /// Cuts the list behind so many bytes; those that count the bytes are the caller's.
    fn split_off(&mut self, bytes: usize) -> Option<SmallVec<[VolatileSlice<'m, B>; 8]>> {
        let mut before = bytes;
        let mut index = 0;
        while let Some(piece) = self.list.get(index).filter(|piece| piece.len() <= before) {
            before -= piece.len();
            index += 1;
        }
        let mut back = SmallVec::new();
        if before != 0 {
            let (front, rest) = self.list.get(index)?.split_at(before).ok()?;
            self.list[index] = front;
            back.push(rest);
            index += 1;
        }
        back.extend(self.list.drain(index..));
        Some(back)
    }
}

#[cfg(test)]
mod tests;
