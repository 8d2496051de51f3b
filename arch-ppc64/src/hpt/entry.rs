//! An entry of the table.

use super::virtual_page::VirtualPage;
use super::{bits, pages};

/// An entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// The first doubleword: which page.
    pub first: u64,
    /// The second doubleword: where it is, and who may access it.
    pub second: u64,
}

impl Entry {
    /// Whether there is one.
    pub fn is_valid(self) -> bool {
        self.first & bits::VALID != 0
    }

    pub(super) fn is_bolted(self) -> bool {
        self.first & bits::BOLTED != 0
    }

    /// Log2 of the base page size and of the size of the page; `None` if there is no such size.
    pub fn page_shifts(self) -> Option<(u32, u32)> {
        match self.first & bits::LARGE {
            0 => Some((12, 12)),
            _ => pages::large((self.second & bits::REAL_PAGE) >> 12),
        }
    }

    /// Where the page is, if it is of this size.
    pub fn real_address(self, shift: u32) -> u64 {
        self.second & bits::REAL_PAGE & !((1 << shift) - 1)
    }

    /// What its page is hashed by, if it is in this group. The lower bits of the page's address are
    /// not in the entry, but in the number of the group, which has eleven bits of the hash at least.
    pub(super) fn page(self, group: u64) -> Option<VirtualPage> {
        const KNOWN_HASH_BITS: u64 = 0x7ff;
        const AVPN_SHIFT: u32 = 23;
        let (base_shift, _) = self.page_shifts()?;
        let avpn = (self.first & bits::AVPN) >> 7;
        let segment_shift = match self.first >> bits::SEGMENT_SHIFT {
            0 => 28,
            1 => 40,
            _ => return None,
        };
        let vsid = avpn >> (segment_shift - AVPN_SHIFT);
        let mut page = VirtualPage { vsid, segment_shift, offset: 0, base_shift };
        let mut offset = avpn << AVPN_SHIFT & ((1 << segment_shift) - 1) & !((1 << base_shift) - 1);
        if base_shift < AVPN_SHIFT {
            let hash = if self.first & bits::SECONDARY == 0 { group } else { !group };
            // The hash of the segment is all that there is at offset 0.
            let index = (hash ^ page.hash()) & KNOWN_HASH_BITS;
            offset |= index << base_shift & ((1 << AVPN_SHIFT) - 1);
        }
        page.offset = offset;
        Some(page)
    }
}
