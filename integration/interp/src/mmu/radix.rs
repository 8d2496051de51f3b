//! Radix tree translation, process-scoped (Power ISA 3.0B, Book III §5.7.10).
//!
//! A partition sees no other scope: what its trees give is a guest real address, and that is
//! where RAM is.

use super::translate::{CHANGED, Fault, REFERENCED, Translation};
use crate::bits::{dsisr, msr, srr1};
use crate::mmu::Access;
use crate::ram::{PAGE_BYTES, PAGE_SHIFT, Ram};
use crate::state::State;

// Page directory and page table entries (§5.7.10.2).
const VALID: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
const NEXT_MASK: u64 = 0x0fff_ffff_ffff_ff00;
const PAGE_NUMBER_MASK: u64 = 0x01ff_ffff_ffff_f000;
const PRIVILEGED: u64 = 0x8;
const READ: u64 = 0x4;
const READ_WRITE: u64 = 0x2;
const EXECUTE: u64 = 0x1;

/// Bytes of a process table entry.
const PROCESS_ENTRY_BYTES: u64 = 16;

/// More levels than a tree of the smallest nodes can have.
const LEVELS_MAX: usize = 8;

impl State {
    pub(super) fn walk(
        &self,
        ram: &Ram<'_>,
        ea: u64,
        access: Access,
    ) -> Result<Translation, Fault> {
        // Quadrants 1 and 2 are the hypervisor's (§5.7.5.1).
        let pid = match ea >> 62 {
            0 => self.spr.pidr,
            3 => 0,
            _ => return Err(Fault::Segment),
        };
        let Some(table) = self.spr.process_table else {
            return Err(Fault::Storage(dsisr::BAD_RADIX));
        };
        let offset = pid * PROCESS_ENTRY_BYTES;
        if offset >= table.size_bytes {
            return Err(Fault::Storage(dsisr::NOT_FOUND));
        }
        let root = ram.load_be(table.base.wrapping_add(offset))?;
        // RTS is in two parts; the tree translates 31 bits more than it says.
        let mut bits = ((root >> 61 & 3) << 3 | root >> 5 & 7) as u32 + 31;
        let offset = ea & (u64::MAX >> 2);
        if bits > 62 || offset >> bits != 0 {
            return Err(Fault::Segment);
        }
        let mut node = root & NEXT_MASK;
        let mut node_bits = (root & 0x1f) as u32;
        for _ in 0..LEVELS_MAX {
            if node_bits == 0 || bits < node_bits + PAGE_SHIFT {
                return Err(Fault::Storage(dsisr::BAD_RADIX));
            }
            bits -= node_bits;
            let index = offset >> bits & ((1 << node_bits) - 1);
            let at = node.wrapping_add(index * 8);
            let entry = ram.load_be(at)?;
            if entry & VALID == 0 {
                return Err(Fault::Storage(dsisr::NOT_FOUND));
            }
            if entry & LEAF != 0 {
                return self.leaf(ram, at, entry, bits, ea, access);
            }
            node = entry & NEXT_MASK;
            node_bits = (entry & 0x1f) as u32;
        }
        Err(Fault::Storage(dsisr::BAD_RADIX))
    }

    /// Protection (§5.7.12.2), reference and change recording (§5.7.13).
    fn leaf(
        &self,
        ram: &Ram<'_>,
        at: u64,
        mut entry: u64,
        bits: u32,
        ea: u64,
        access: Access,
    ) -> Result<Translation, Fault> {
        let is_user = self.msr() & msr::PR != 0;
        let is_priv_page = entry & PRIVILEGED != 0;
        let mut may_read = entry & (READ | READ_WRITE) != 0;
        let mut may_write = entry & READ_WRITE != 0;
        let mut may_execute = entry & EXECUTE != 0;
        let mut denied = dsisr::PROTECTION;
        if is_user && is_priv_page {
            (may_read, may_write, may_execute) = (false, false, false);
        }
        if !is_user && !is_priv_page {
            // Key 0 of AMR and IAMR is what keeps the kernel off the user's pages.
            let allowed = (may_read, may_write, may_execute);
            may_write &= self.spr.amr >> 63 == 0;
            may_read &= self.spr.amr >> 62 & 1 == 0;
            may_execute &= self.spr.iamr >> 62 & 1 == 0;
            if allowed != (may_read, may_write, may_execute) {
                denied = dsisr::KEY;
            }
        }
        let fits = match access {
            Access::Load => may_read,
            Access::Store => may_write,
            Access::Fetch => may_execute,
        };
        if !fits {
            return Err(Fault::Storage(match access {
                Access::Fetch if is_user && is_priv_page => srr1::PROTECTION as u32,
                Access::Fetch if denied == dsisr::KEY => srr1::KEY as u32,
                Access::Fetch => srr1::NO_EXECUTE as u32,
                _ => denied,
            }));
        }
        let wanted = REFERENCED | if access == Access::Store { CHANGED } else { 0 };
        while entry & wanted != wanted {
            if ram.update_be(at, entry, wanted)? {
                entry |= wanted;
                break;
            }
            let now = ram.load_be(at)?;
            if now & !(REFERENCED | CHANGED) != entry & !(REFERENCED | CHANGED) {
                // Somebody changes it right now: as it was, it is not there.
                return Err(Fault::Storage(dsisr::NOT_FOUND));
            }
            entry = now;
        }
        let offset_mask = (1 << bits) - 1;
        let page = entry & PAGE_NUMBER_MASK & !offset_mask;
        let real = (page | ea & offset_mask) & !(PAGE_BYTES - 1);
        Ok(Translation { real, may_read, may_write: may_write && entry & CHANGED != 0 })
    }
}
