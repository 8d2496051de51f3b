//! Memory of the VMM's process that is the guest's, in slots: the same words for KVM and for a
//! processor in software.

/// How a slot is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MemoryFlags {
    /// Writes of the guest are noted, page by page.
    pub log_dirty: bool,
}

impl MemoryFlags {
    /// Ordinary memory, of which nothing is noted.
    pub const PLAIN: Self = Self { log_dirty: false };

    /// The same with the dirty log on or off.
    #[must_use]
    pub const fn with_dirty_log(self, on: bool) -> Self {
        Self { log_dirty: on }
    }
}

/// Which pages of a slot were written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirtyPages {
    /// How long a page is, in bytes.
    pub page_bytes: u64,
    /// A bit for each page, the lowest of the first word for the first page.
    pub bitmap: Vec<u64>,
}

impl DirtyPages {
    /// Pages of so many bytes, a bit for each.
    pub const fn new(page_bytes: u64, bitmap: Vec<u64>) -> Self {
        Self { page_bytes, bitmap }
    }

    /// The offsets in the slot at which the pages begin, in bytes.
    pub fn offsets(&self) -> impl Iterator<Item = u64> + '_ {
        (0..).zip(&self.bitmap).flat_map(move |(nth, &word)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 != 0)
                .map(move |bit| (nth * 64 + bit) * self.page_bytes)
        })
    }

    /// How many pages there are.
    pub fn count(&self) -> u64 {
        self.bitmap.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dirty_pages_are_counted_from_the_lowest_bit() {
        let pages = DirtyPages { page_bytes: 0x1000, bitmap: vec![1 << 63 | 1, 2] };
        assert_eq!(pages.offsets().collect::<Vec<_>>(), [0, 63 * 0x1000, 65 * 0x1000]);
        assert_eq!(pages.count(), 3);
    }
}
