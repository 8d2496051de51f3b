//! Operands of storage accesses: addresses, and pairs of registers.

use super::fields::*;
use crate::state::State;

/// (RA|0) + RB.
pub(super) fn ea_x(s: &State, w: u32) -> u64 {
    s.gpr[ra_or_zero(w) as usize].wrapping_add(s.gpr[rb(w) as usize])
}

/// (RA|0) + displacement.
pub(super) fn ea_d(s: &State, w: u32, displacement: u32) -> u64 {
    s.gpr[ra_or_zero(w) as usize].wrapping_add(displacement as i32 as u64)
}

/// A quadword into an even register and the next.
pub(super) fn set_pair(s: &mut State, w: u32, value: u128) {
    s.gpr[(rt(w) & !1) as usize] = (value >> 64) as u64;
    s.gpr[(rt(w) | 1) as usize] = value as u64;
}

pub(super) fn pair(s: &State, w: u32) -> u128 {
    u128::from(s.gpr[(rt(w) & !1) as usize]) << 64 | u128::from(s.gpr[(rt(w) | 1) as usize])
}
