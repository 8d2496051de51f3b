//! Program priority: `or` of a register with itself, which changes nothing but how much of its core
//! a thread wants (Power ISA 3.0B, Book II §3.1, "Program Priority Registers").
//!
//! Threads have a core of the host's each, if it has one left; what PPR says is kept for those who
//! look. Who asks for little again and again waits for another CPU, and gives way where cores are
//! few.

use super::fields::rb;
use super::{Insn, Pattern, call};
use crate::bits::msr;
use crate::ram::Ram;
use crate::spr;
use crate::state::State;
use crate::trap::Trap;

/// Who wants no more than this has nothing to do.
const LOW: u64 = 2;

/// `or rx,rx,rx`.
const fn or_itself(register: u32) -> Pattern {
    (u32::MAX, 31 << 26 | register << 21 | register << 16 | register << 11 | 444 << 1)
}

/// Sets the priority that the register stands for, where the program may have it; else nothing
/// happens.
fn prefer(s: &mut State, _: &Ram<'_>, w: u32) -> Result<(), Trap> {
    let is_user = s.msr() & msr::PR != 0;
    let priority = match rb(w) {
        31 => 1,
        1 => 2,
        6 => 3,
        2 => 4,
        // Medium high is a program's for as long as PSPB, which the kernel sets, has time left.
        5 if !is_user || spr::get(s, spr::PSPB).is_some_and(|left| left != 0) => 5,
        3 if !is_user => 6,
        _ => return Ok(()),
    };
    s.hints = s.hints.wrapping_add(u32::from(priority <= LOW));
    s.spr.ppr = priority << spr::PPR_PRIORITY.trailing_zeros();
    Ok(())
}

pub(super) const TABLE: &[Insn] = &[
    call("or", or_itself(31), "ra,rs,rb", prefer),
    call("or", or_itself(1), "ra,rs,rb", prefer),
    call("or", or_itself(6), "ra,rs,rb", prefer),
    call("or", or_itself(2), "ra,rs,rb", prefer),
    call("or", or_itself(5), "ra,rs,rb", prefer),
    call("or", or_itself(3), "ra,rs,rb", prefer),
    // The hypervisor's.
    call("or", or_itself(7), "ra,rs,rb", prefer),
];
