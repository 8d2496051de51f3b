//! What the device tree says of hashed page tables in the node of each core (LoPAPR §B.6.2.1).

use super::order::Order;
use super::pages::{SEGMENT_PAGE_SIZES, SegmentPageSizes};

/// The size of the table: `ibm,pft-size`.
pub(crate) const PFT_SIZE: &str = "ibm,pft-size";

/// The value of [`PFT_SIZE`]: log2 of the number of NUMA nodes that tables are in, which is one, and
/// that of its size in bytes; 0 where there is none.
pub(crate) fn pft_size(order: Option<Order>) -> [u32; 2] {
    [0, order.map_or(0, Order::get)]
}

/// The value of `ibm,segment-page-sizes` with these pages, each by log2 of its segment's base page size
/// and of its own: log2 of each base page size, the code of the segment lookaside buffer, how many
/// sizes of pages, and log2 and the entry's code of each.
pub(crate) fn segment_page_sizes(has: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    let cells = |segment: &SegmentPageSizes| {
        let pages = segment.pages.iter().filter(|(shift, _)| has(segment.base_shift, *shift));
        let pages: Vec<u32> = pages.flat_map(|&(shift, code)| [shift, code]).collect();
        match pages.len() as u32 / 2 {
            0 => vec![],
            count => [&[segment.base_shift, segment.slb_code, count][..], &pages].concat(),
        }
    };
    SEGMENT_PAGE_SIZES.iter().flat_map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_the_pages_that_the_host_has() {
        assert_eq!(segment_page_sizes(|_, page| page == 12), [12, 0, 1, 12, 0]);
        let of_one_size = [12, 0, 1, 12, 0, 16, 0x110, 1, 16, 1];
        assert_eq!(segment_page_sizes(|base, page| base == page && page < 24), of_one_size);
        let all =
            [12, 0, 3, 12, 0, 16, 7, 24, 0x38, 16, 0x110, 2, 16, 1, 24, 8, 24, 0x100, 1, 24, 0];
        assert_eq!(segment_page_sizes(|_, _| true), all);
    }
}
