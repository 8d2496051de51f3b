//! The segment lookaside buffer (Power ISA 3.0B, Book III §5.9.3).
//!
//! Where translation is radix, nothing is ever looked up in it. Its entries can be written, searched,
//! read and dropped all the same, by whoever is privileged.

use super::fields::*;
use super::system::need_privilege;
use super::{Insn, call};
use crate::bits::segment;
use crate::ram::Ram;
use crate::state::{SegmentEntry, State};
use crate::trap::Trap;

type Done = Result<(), Trap>;

impl State {
    /// Forgets what was translated by the segments at an address, if there is anything.
    ///
    /// Those of programs change with each switch between them; what is translated by others is
    /// kept then.
    fn forget_segment(&mut self, ea: u64) {
        if !self.spr.hash {
            return;
        }
        if ea >> 62 == 0 {
            self.check_at_isync |= self.tlb.flush_user();
        } else {
            self.tlb.flush();
            self.check_at_isync = true;
        }
    }
}

/// What is known of a segment that goes to make room may still be used: who wants it forgotten uses
/// `slbie` or `slbia`. Here it is forgotten where those would not find it any more: what was at the
/// same address, and what `slbia` drops by its class although it is no program's.
fn slbmte(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    let (vsid, esid) = (s.gpr[rt(w) as usize], s.gpr[rb(w) as usize]);
    let Some(entry) = s.spr.segments.get_mut((esid & 0xfff) as usize) else { return Ok(()) };
    let new =
        SegmentEntry { esid: esid & (segment::ESID | segment::VALID), vsid: vsid & segment::KEPT };
    let old = std::mem::replace(entry, new);
    let is_same_place = old.esid == new.esid && old.vsid != new.vsid;
    let is_high_class = old.vsid & segment::CLASS != 0 && old.esid >> 62 != 0;
    if old.is_valid() && (is_same_place || is_high_class) {
        s.forget_segment(old.esid);
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

/// `slbie`, and `slbieg`, which drops no more than that where there are no tables of segments.
fn drop_one(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    let ea = s.gpr[rb(w) as usize];
    s.spr.segments.iter_mut().filter(|entry| entry.has(ea)).for_each(SegmentEntry::clear);
    // What a segment translated that has made room for another one is forgotten as well.
    s.forget_segment(ea);
    Ok(())
}

/// `slbia`: IH tells what stays.
fn slbia(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    need_privilege(s)?;
    const CLASS_1: u32 = 3;
    let hint = w >> 21 & 7;
    let mut all_of_programs = hint == CLASS_1;
    for (number, entry) in s.spr.segments.iter_mut().enumerate() {
        let goes = match hint {
            // All, those of class 1, only what was looked up. The others differ in what they do to
            // that.
            4 => true,
            CLASS_1 => entry.vsid & segment::CLASS != 0,
            7 => false,
            _ => number != 0,
        };
        if goes {
            all_of_programs &= !entry.is_valid() || entry.esid >> 62 == 0;
            entry.clear();
        }
    }
    s.forget_segment(if all_of_programs { 0 } else { u64::MAX });
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
