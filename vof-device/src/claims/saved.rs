//! Claims, as they are taken up.

use std::ops::Range;

use arch_ppc64::topology::MemoryMap;

use super::Claims;
use super::free_ranges::FreeRanges;

impl Claims {
    /// Where RAM is.
    pub(crate) fn memory(&self) -> &MemoryMap {
        &self.memory
    }

    /// The same memory with these ranges free and no other; they are in order, apart, and RAM.
    /// `None` if one of them is the firmware's.
    pub(crate) fn with_free(&self, ranges: impl Iterator<Item = Range<u64>>) -> Option<Self> {
        let mut free = FreeRanges::none();
        for range in ranges {
            if self.is_firmware(&range) {
                return None;
            }
            free.give(range);
        }
        Some(Self { free, memory: self.memory.clone(), firmware: self.firmware.clone() })
    }
}
