//! The segment lookaside buffer (Power ISA 3.0B, Book III §5.9.3).
//!
//! Translation is radix: nothing is ever looked up in it. Its entries can be written, searched,
//! read and dropped all the same, by whoever is privileged.

use super::fields::*;
use super::system::need_privilege;
use super::{Insn, call};
use crate::ram::Ram;
use crate::state::{SegmentEntry, State};
use crate::trap::Trap;

type Done = Result<(), Trap>;

// RB of slbmte, RT of slbmfee: the effective segment, whether it is valid.
const ESID_MASK: u64 = 0xffff_ffff_f000_0000;
const VALID: u64 = 0x0800_0000;

// RS of slbmte, RT of slbmfev: the size of the segment, its class.
const SIZE_SHIFT: u32 = 62;
const VSID_MASK: u64 = 0xffff_ffff_ffff_ffb0;
const CLASS: u64 = 0x80;

/// The bits of an effective address that name a segment of 1 TiB.
const ESID_1T_MASK: u64 = 0xffff_ff00_0000_0000;

impl SegmentEntry {
    fn is_valid(self) -> bool {
        self.esid & VALID != 0
    }

    /// Whether an address is in the segment.
    fn has(self, ea: u64) -> bool {
        let mask = if self.vsid >> SIZE_SHIFT == 0 { ESID_MASK } else { ESID_1T_MASK };
        self.is_valid() && (self.esid ^ ea) & mask == 0
    }
}

fn slbmte(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    let (vsid, esid) = (s.gpr[rt(w) as usize], s.gpr[rb(w) as usize]);
    if let Some(entry) = s.spr.segments.get_mut((esid & 0xfff) as usize) {
        *entry = SegmentEntry { esid: esid & (ESID_MASK | VALID), vsid: vsid & VSID_MASK };
    }
    Ok(())
}

/// Reads a half of an entry; of one that is not valid, nothing.
fn read(s: &mut State, w: u32, half: fn(SegmentEntry) -> u64) -> Done {
    need_privilege(s)?;
    let number = (s.gpr[rb(w) as usize] & 0xfff) as usize;
    let entry = s.spr.segments.get(number).copied().unwrap_or_default();
    s.gpr[rt(w) as usize] = if entry.is_valid() { half(entry) } else { 0 };
    Ok(())
}

fn slbfee(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    let ea = s.gpr[rb(w) as usize];
    let found = s.spr.segments.iter().find(|entry| entry.has(ea)).copied();
    s.gpr[rt(w) as usize] = found.map_or(0, |entry| entry.vsid);
    s.cr[0] = u8::from(found.is_some()) << 1 | u8::from(s.xer.so);
    Ok(())
}

/// `slbie` and `slbieg`. No other CPU looks anything up either.
fn drop_one(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    let ea = s.gpr[rb(w) as usize];
    s.spr.segments.iter_mut().filter(|entry| entry.has(ea)).for_each(SegmentEntry::clear);
    Ok(())
}

/// `slbia`: IH tells what stays.
fn slbia(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    let hint = w >> 21 & 7;
    for (number, entry) in s.spr.segments.iter_mut().enumerate() {
        let goes = match hint {
            // All, those of class 1, only what was looked up, of which there is nothing. The others
            // differ in what they do to that.
            4 => true,
            3 => entry.vsid & CLASS != 0,
            7 => false,
            _ => number != 0,
        };
        if goes {
            entry.clear();
        }
    }
    Ok(())
}

impl SegmentEntry {
    fn clear(&mut self) {
        *self = Self::default();
    }
}

pub(super) const TABLE: &[Insn] = &[
    call("slbmte", x(31, 402), "rs,rb", slbmte),
    call("slbmfee", x(31, 915), "rt,rb", |s, _, w| read(s, w, |entry| entry.esid)),
    call("slbmfev", x(31, 851), "rt,rb", |s, _, w| read(s, w, |entry| entry.vsid)),
    call("slbie", x(31, 434), "rb", drop_one),
    call("slbieg", x(31, 466), "rs,rb", drop_one),
    call("slbsync", x(31, 338), "", |s, _, _| need_privilege(s)),
    call("slbfee.", x1(31, 979), "rt,rb", slbfee),
    call("slbia", x(31, 498), "ih", slbia),
];
