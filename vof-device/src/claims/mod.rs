//! Which memory is in use: the client's claims, what the VMM put there, and what is left
//! (IEEE 1275 §6.3.2.4 and the PowerPC binding §8.2).

mod free_ranges;
#[cfg(feature = "serde")]
mod saved;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use arch_ppc64::topology::MemoryMap;
use vm_memory::GuestAddress;

use crate::limits::MAX_FREE_RANGES;
use free_ranges::FreeRanges;

/// Where the addresses end that a 32-bit cell can name.
pub(crate) const CLAIMABLE_END: u64 = 1 << 32;

/// Why memory cannot be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    /// A claim of nothing.
    #[error("the size is 0")]
    Empty,
    /// Not all of it is free RAM below 4 GiB.
    #[error("there is no such free memory")]
    NotFree,
    /// Free memory is in as many pieces as it can be.
    #[error("free memory is in {MAX_FREE_RANGES} pieces, which is the most")]
    TooManyPieces,
}

/// Why memory cannot be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// A release of nothing.
    #[error("the size is 0")]
    Empty,
    /// Not all of it is RAM below 4 GiB that is in use.
    #[error("not all of it is claimed")]
    NotClaimed,
    /// Some of it is the firmware's, which is in use as long as there is a client.
    #[error("the firmware is there")]
    Firmware,
    /// Free memory is in as many pieces as it can be.
    #[error("free memory is in {MAX_FREE_RANGES} pieces, which is the most")]
    TooManyPieces,
}

/// The memory of a machine: RAM, wherever it is.
///
/// Only what is free is kept; what is RAM and not free is claimed. A hole is neither. A claim or
/// release costs about the square root of the number of free ranges, see [`FreeRanges`].
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    free: FreeRanges,
    /// Kept by those who share the state that a reset goes back to.
    memory: Arc<MemoryMap>,
    firmware: Vec<Range<u64>>,
}

impl Claims {
    /// All of RAM is free.
    pub(crate) fn new(memory: &MemoryMap) -> Self {
        let mut free = FreeRanges::none();
        for (start, bytes) in memory.spans() {
            free.give(start.0..start.0 + bytes);
        }
        Self { free, memory: Arc::new(memory.clone()), firmware: Vec::new() }
    }

    /// Whether all of `range` is RAM.
    pub(crate) fn is_ram(&self, range: &Range<u64>) -> bool {
        let bytes = range.end.checked_sub(range.start);
        bytes.is_some_and(|bytes| self.memory.is_ram(GuestAddress(range.start), bytes))
    }

    /// Puts `range` into use, whatever is there; gives false when it is not all RAM.
    pub(crate) fn reserve(&mut self, range: Range<u64>) -> bool {
        if !self.is_ram(&range) {
            return false;
        }
        let overlaps: Vec<_> = self
            .free
            .iter()
            .map(|free| free.start.max(range.start)..free.end.min(range.end))
            .filter(|overlap| !overlap.is_empty())
            .collect();
        for overlap in overlaps {
            self.free.take(overlap);
        }
        true
    }

    /// As [`reserve`](Self::reserve), and never to be released.
    pub(crate) fn reserve_firmware(&mut self, range: Range<u64>) -> bool {
        let done = self.reserve(range.clone());
        if done && !range.is_empty() {
            self.firmware.push(range);
        }
        done
    }

    /// Claims as clients ask for it: with an alignment of 0 exactly the `size` bytes from `start`
    /// on, else the lowest that are so aligned.
    pub(crate) fn claim(&mut self, start: u32, size: u32, align: u32) -> Result<u32, ClaimError> {
        match align {
            0 => self.claim_at(start, size),
            _ => self.claim_aligned(size, align),
        }
    }

    /// Claims exactly the `size` bytes from `start` on.
    pub(crate) fn claim_at(&mut self, start: u32, size: u32) -> Result<u32, ClaimError> {
        let wanted = nonempty(start, size).ok_or(ClaimError::Empty)?;
        self.take(wanted)
    }

    /// Claims the lowest `size` free bytes that start at a multiple of `alignment`, or of the next
    /// power of two if it is none.
    pub(crate) fn claim_aligned(&mut self, size: u32, alignment: u32) -> Result<u32, ClaimError> {
        if size == 0 {
            return Err(ClaimError::Empty);
        }
        let power = u64::from(alignment).next_power_of_two().trailing_zeros();
        let start = self.free.lowest_fit(size, power as usize).ok_or(ClaimError::NotFree)?;
        self.take(start..start + u64::from(size))
    }

    /// Frees `size` bytes from `start` on, all of them or none: several claims, or a part of one.
    pub(crate) fn release(&mut self, start: u32, size: u32) -> Result<(), ReleaseError> {
        let freed = nonempty(start, size).ok_or(ReleaseError::Empty)?;
        let is_claimable = freed.end <= CLAIMABLE_END && self.is_ram(&freed);
        if !is_claimable || !self.free.is_apart_from(&freed) {
            return Err(ReleaseError::NotClaimed);
        }
        if self.is_firmware(&freed) {
            return Err(ReleaseError::Firmware);
        }
        if self.free.count() >= MAX_FREE_RANGES && !self.free.touches(&freed) {
            return Err(ReleaseError::TooManyPieces);
        }
        self.free.give(freed);
        Ok(())
    }

    /// The free ranges of RAM, above 4 GiB too, in order: none is empty, none touches another.
    pub(crate) fn free(&self) -> impl Iterator<Item = &Range<u64>> {
        self.free.iter()
    }

    /// How many ranges [`free`](Self::free) gives.
    pub(crate) fn free_count(&self) -> usize {
        self.free.count()
    }

    fn is_firmware(&self, range: &Range<u64>) -> bool {
        self.firmware.iter().any(|own| own.start < range.end && range.start < own.end)
    }

    fn take(&mut self, wanted: Range<u64>) -> Result<u32, ClaimError> {
        // The last address is the client's sign for "none" and cannot be an answer.
        let start = u32::try_from(wanted.start).ok().filter(|&start| start != u32::MAX);
        let start = start.filter(|_| wanted.end <= CLAIMABLE_END).ok_or(ClaimError::NotFree)?;
        let free = self.free.containing(&wanted).ok_or(ClaimError::NotFree)?;
        let cuts = free.start < wanted.start && wanted.end < free.end;
        if cuts && self.free.count() >= MAX_FREE_RANGES {
            return Err(ClaimError::TooManyPieces);
        }
        self.free.take(wanted);
        Ok(start)
    }
}

fn nonempty(start: u32, size: u32) -> Option<Range<u64>> {
    (size > 0).then(|| u64::from(start)..u64::from(start) + u64::from(size))
}
