//! Which sizes of pages there are, and how an entry says which it has.

/// The pages that a segment of one base page size may have: an entry of
/// `ibm,segment-page-sizes` (LoPAPR §B.6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentPageSizes {
    /// Log2 of the base page size: that of the hash.
    pub base_shift: u32,
    /// What an entry of the SLB has of it: L and LP, as `slbmte` takes them.
    pub slb_code: u32,
    /// Log2 of the size of a page, and what an entry of the table has in LP of it. Pages of 4 KiB in
    /// segments of such have no LP, and L = 0.
    pub pages: &'static [(u32, u32)],
}

/// A page of a hashed page table, by its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashPage {
    /// Log2 of the base page size of its segment.
    pub base_shift: u32,
    /// Log2 of its own.
    pub shift: u32,
}

/// How many entries the segment lookaside buffer of a processor has.
pub const SLB_ENTRIES: u32 = 32;

/// Those of a POWER9 (POWER9 user's manual) up to 16 MiB.
pub const SEGMENT_PAGE_SIZES: [SegmentPageSizes; 3] = [
    SegmentPageSizes { base_shift: 12, slb_code: 0, pages: &[(12, 0), (16, 7), (24, 0x38)] },
    SegmentPageSizes { base_shift: 16, slb_code: 0x110, pages: &[(16, 1), (24, 8)] },
    SegmentPageSizes { base_shift: 24, slb_code: 0x100, pages: &[(24, 0)] },
];

/// LP has as many bits as the real page number leaves free, and eight at most.
const LP_BITS_MAX: u32 = 8;

/// Log2 of the sizes (base, actual) of the page that an entry with L = 1 has. No code is that of two
/// base page sizes.
pub(super) fn large(lp: u64) -> Option<(u32, u32)> {
    let has = |&(shift, code): &(u32, u32)| {
        let bits = (shift - 12).min(LP_BITS_MAX);
        shift > 12 && lp & ((1 << bits) - 1) == u64::from(code)
    };
    SEGMENT_PAGE_SIZES.iter().find_map(|sizes| {
        let &(shift, _) = sizes.pages.iter().find(|page| has(page))?;
        Some((sizes.base_shift, shift))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_names_one_size() {
        for sizes in SEGMENT_PAGE_SIZES {
            for &(shift, code) in sizes.pages.iter().filter(|(shift, _)| *shift > 12) {
                let bits = (shift - 12).min(LP_BITS_MAX);
                // What is above LP is a part of the page number.
                for above in 0..4 {
                    let lp = u64::from(code) | above << bits;
                    assert_eq!(large(lp), Some((sizes.base_shift, shift)), "{lp:#x}");
                }
            }
        }
        for unknown in [2, 3, 4, 0x18, 0xf, 0x10, 0x80] {
            assert_eq!(large(unknown), None, "{unknown:#x}");
        }
    }
}
