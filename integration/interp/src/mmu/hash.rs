//! Translation by segments and a hashed page table (Power ISA 3.0B, Book III §5.7.8 and §5.7.9).
//!
//! The entries of the table have the form of Power ISA 2.07 (Book III §5.7.7.1), in which guests pass
//! them to their hypervisor on every processor.

use super::translate::{CHANGED, Fault, REFERENCED, Translation};
use crate::bits::{dsisr, msr, segment, srr1};
use crate::hash_table::{PageEntry, VirtualPage};
use crate::mmu::Access;
use crate::ram::PAGE_BYTES;
use crate::state::{SegmentEntry, State};

// The second doubleword of an entry.
const PP0: u64 = 1 << 63;
const PP: u64 = 0x3;
const KEY_HIGH: u64 = 0x3000_0000_0000_0000;
const KEY_LOW: u64 = 0xe00;
const REAL_PAGE_MASK: u64 = 0x0fff_ffff_ffff_f000;
const GUARDED: u64 = 0x8;
const NO_EXECUTE: u64 = 0x4;

/// How often an entry is looked for that changes all the time.
const TRIES: usize = 64;

impl State {
    pub(super) fn search(&self, ea: u64, access: Access) -> Result<Translation, Fault> {
        let segment = self.spr.segments.iter().find(|segment| segment.has(ea));
        let segment = segment.ok_or(Fault::Segment)?;
        let not_found = Fault::Storage(dsisr::NOT_FOUND);
        // A page size that there is not: nothing can be found by it.
        let Some(page) = segment.page(ea) else { return Err(not_found) };
        if access == Access::Fetch && segment.vsid & segment::NO_EXECUTE != 0 {
            return Err(Fault::Storage(srr1::NO_EXECUTE as u32));
        }
        let Some(table) = &self.table else { return Err(not_found) };
        let wanted = REFERENCED | if access == Access::Store { CHANGED } else { 0 };
        for _ in 0..TRIES {
            let Some(found) = table.find(&page) else { break };
            let (may_read, may_write) = self.check(segment, &found, access)?;
            if found.second & wanted == wanted || table.record(&found, wanted) {
                let offset_mask = (1 << found.shift) - 1;
                let start = found.second & REAL_PAGE_MASK & !offset_mask;
                let real = (start | ea & offset_mask) & !(PAGE_BYTES - 1);
                let is_changed = (found.second | wanted) & CHANGED != 0;
                return Ok(Translation { real, may_read, may_write: may_write && is_changed });
            }
        }
        // Somebody changes it right now: as it was, it is not there.
        Err(not_found)
    }

    /// Protection by page, key and segment (§5.7.12): whether the page may be read and written.
    fn check(
        &self,
        segment: &SegmentEntry,
        found: &PageEntry,
        access: Access,
    ) -> Result<(bool, bool), Fault> {
        let is_user = self.msr() & msr::PR != 0;
        let key_bit = if is_user { segment::KEY_OF_USER } else { segment::KEY_OF_KERNEL };
        let has_key = segment.vsid & key_bit != 0;
        let (may_read, may_write) = match (found.second & PP0 != 0, found.second & PP, has_key) {
            (false, 0, false) | (false, 1, false) | (false, 2, _) => (true, true),
            (false, 1, true) | (false, 3, _) | (true, 2, false) => (true, false),
            _ => (false, false),
        };
        let key = (found.second & KEY_HIGH) >> 57 | (found.second & KEY_LOW) >> 9;
        let [no_write, no_read] = key_bits(self.spr.amr, key);
        let [_, no_execute] = key_bits(self.spr.iamr, key);
        let storage = |bits: u64| Err(Fault::Storage(bits as u32));
        match access {
            Access::Fetch if found.second & (NO_EXECUTE | GUARDED) != 0 => {
                storage(srr1::NO_EXECUTE)
            }
            Access::Fetch if !may_read => storage(srr1::PROTECTION),
            Access::Fetch if no_execute => storage(srr1::KEY),
            Access::Load if !may_read => storage(dsisr::PROTECTION.into()),
            Access::Store if !may_write => storage(dsisr::PROTECTION.into()),
            Access::Load if no_read => storage(dsisr::KEY.into()),
            Access::Store if no_write => storage(dsisr::KEY.into()),
            _ => Ok((may_read && !no_read, may_write && !no_write)),
        }
    }
}

/// The two bits that AMR or IAMR has of a key.
fn key_bits(register: u64, key: u64) -> [bool; 2] {
    let bits = register >> (62 - 2 * (key & 31));
    [bits & 2 != 0, bits & 1 != 0]
}

impl SegmentEntry {
    pub(crate) fn is_valid(self) -> bool {
        self.esid & segment::VALID != 0
    }

    /// Whether an address is in the segment.
    pub(crate) fn has(self, ea: u64) -> bool {
        self.is_valid() && (self.esid ^ ea) >> self.shift() == 0
    }

    /// Log2 of its size. Of the sizes that there are not, that of 1 TiB is taken.
    fn shift(self) -> u32 {
        if self.vsid >> segment::SIZE_SHIFT == 0 { 28 } else { 40 }
    }

    /// The page of an address of the segment.
    fn page(self, ea: u64) -> Option<VirtualPage> {
        let base_shift = match self.vsid & segment::PAGE_SIZE {
            0 => 12,
            segment::PAGES_64K => 16,
            segment::PAGES_16M => 24,
            _ => return None,
        };
        let segment_shift = self.shift();
        // The number of a segment of 1 TiB begins twelve bits higher, as its addresses do.
        let vsid = (self.vsid & (u64::MAX >> 2)) >> (segment_shift - 16);
        let offset = ea & ((1 << segment_shift) - 1);
        Some(VirtualPage { vsid, segment_shift, offset, base_shift })
    }
}
