//! I/O past the host's page cache, of memory and sectors that it does not take.

use std::fs::File;
use std::io;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::SECTOR_BYTES;
use crate::iovec::{Gather, Scatter};

/// How much is copied at once where memory is not aligned.
const BOUNCE_BYTES: usize = 1 << 20;

/// Which memory and which parts of the file direct I/O takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alignment {
    /// Of addresses in memory.
    pub(super) memory: usize,
    /// Of offsets and lengths.
    pub(super) block: usize,
}

/// Reads and writes a file that was opened with `O_DIRECT`.
///
/// What is aligned goes straight to guest memory. Where memory is not, it is copied once; where a
/// write ends within a block, the block is read first, and nobody else writes meanwhile.
#[derive(Debug)]
pub(super) struct Direct {
    alignment: Alignment,
    /// Where blocks are larger than sectors: held alone by who writes parts of blocks, and together
    /// by who writes whole ones.
    parts: Option<RwLock<()>>,
}

/// Held while blocks are written.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not looked at")]
pub(super) enum Guard<'a> {
    Nothing,
    Whole(RwLockReadGuard<'a, ()>),
    Parts(RwLockWriteGuard<'a, ()>),
}

impl Direct {
    pub(super) fn new(alignment: Alignment) -> Self {
        let has_parts = alignment.block as u64 > SECTOR_BYTES;
        Self { alignment, parts: has_parts.then(RwLock::default) }
    }

    /// What is held while these bytes are written.
    pub(super) fn guard(&self, offset: u64, bytes: u64) -> Guard<'_> {
        let Some(lock) = &self.parts else { return Guard::Nothing };
        if (offset | bytes) & self.mask() == 0 {
            Guard::Whole(lock.read().unwrap_or_else(PoisonError::into_inner))
        } else {
            Guard::Parts(lock.write().unwrap_or_else(PoisonError::into_inner))
        }
    }

    pub(super) fn read_at(&self, file: &File, to: &mut Scatter<'_>, offset: u64) -> io::Result<()> {
        let Alignment { memory, block } = self.alignment;
        if offset & self.mask() == 0 && to.is_aligned(memory, block) {
            return to.read_exact_at(file, offset);
        }
        let mut buffer = self.buffer(to.len());
        let mut at = offset;
        while !to.is_empty() {
            let window = self.window(at, to.len(), &buffer);
            let bytes = &mut buffer.as_mut()[..window.bytes];
            Scatter::from(&mut *bytes).read_exact_at(file, window.start)?;
            at += to.copy_from(&bytes[window.before..][..window.part]) as u64;
        }
        Ok(())
    }

    /// The caller holds the [`guard`](Self::guard).
    pub(super) fn write_at(
        &self,
        file: &File,
        from: &mut Gather<'_>,
        offset: u64,
    ) -> io::Result<()> {
        let Alignment { memory, block } = self.alignment;
        if offset & self.mask() == 0 && from.is_aligned(memory, block) {
            return from.write_all_at(file, offset);
        }
        let mut buffer = self.buffer(from.len());
        let mut at = offset;
        while !from.is_empty() {
            let window = self.window(at, from.len(), &buffer);
            let bytes = &mut buffer.as_mut()[..window.bytes];
            let last = window.bytes - block;
            let begins_within = window.before != 0;
            let ends_within = window.before + window.part != window.bytes;
            if begins_within || (ends_within && last == 0) {
                Scatter::from(&mut bytes[..block]).read_exact_at(file, window.start)?;
            }
            if ends_within && last != 0 {
                let start = window.start + last as u64;
                Scatter::from(&mut bytes[last..]).read_exact_at(file, start)?;
            }
            at += from.copy_to(&mut bytes[window.before..][..window.part]) as u64;
            Gather::from(&*bytes).write_all_at(file, window.start)?;
        }
        Ok(())
    }

    fn mask(&self) -> u64 {
        self.alignment.block as u64 - 1
    }

    fn buffer(&self, bytes: usize) -> AlignedBuffer {
        let Alignment { memory, block } = self.alignment;
        let bytes = bytes.saturating_add(2 * block).min(BOUNCE_BYTES).next_multiple_of(block);
        AlignedBuffer::new(bytes, memory.max(block))
    }

    /// The blocks around the next bytes, as many as the buffer has room for.
    fn window(&self, at: u64, left: usize, buffer: &AlignedBuffer) -> Window {
        let before = (at & self.mask()) as usize;
        let part = left.min(buffer.bytes - before);
        let bytes = (before + part).next_multiple_of(self.alignment.block);
        Window { start: at - before as u64, bytes, before, part }
    }
}

/// Whole blocks of a file, and what of them is meant.
struct Window {
    start: u64,
    bytes: usize,
    before: usize,
    part: usize,
}

/// Memory, all zeros at first, at an address that is a multiple of a power of two.
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl AlignedBuffer {
    pub(super) fn new(bytes: usize, alignment: usize) -> Self {
        let memory = vec![0; bytes + alignment];
        let start = memory.as_ptr().addr().wrapping_neg() & (alignment - 1);
        Self { memory, start, bytes }
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..][..self.bytes]
    }
}

impl AsMut<[u8]> for AlignedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.bytes]
    }
}
