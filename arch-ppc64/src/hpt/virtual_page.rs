//! A page, before it is translated.

use super::bits;

/// A page that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualPage {
    /// The virtual segment.
    pub vsid: u64,
    /// Log2 of its size: 28 or 40.
    pub segment_shift: u32,
    /// An address within it.
    pub offset: u64,
    /// Log2 of its base page size.
    pub base_shift: u32,
}

impl VirtualPage {
    /// The primary hash (§5.7.7.3), before it is cut to the size of a table. It has 39 bits; what is
    /// above is never looked at.
    pub(super) fn hash(&self) -> u64 {
        let index = self.offset >> self.base_shift;
        match self.segment_shift {
            40 => self.vsid ^ self.vsid << 25 ^ index,
            _ => self.vsid ^ index,
        }
    }

    /// What the first doubleword of its entry has, and in which bits.
    pub(super) fn pattern(&self) -> (u64, u64) {
        const AVPN_SHIFT: u32 = 23;
        let avpn = self.vsid << (self.segment_shift - AVPN_SHIFT) | self.offset >> AVPN_SHIFT;
        // Bits of the offset in a base page are not compared.
        let below = 1_u64 << self.base_shift.saturating_sub(AVPN_SHIFT);
        let segment = u64::from(self.segment_shift == 40) << bits::SEGMENT_SHIFT;
        let mask = bits::AVPN & !((below - 1) << 7);
        let kind = 3 << bits::SEGMENT_SHIFT | bits::SECONDARY | bits::VALID;
        (segment | avpn << 7 & mask | bits::VALID, mask | kind)
    }
}
