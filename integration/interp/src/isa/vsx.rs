//! What the VSX instructions have in common (Power ISA 3.0B, Book I chapter 7).

use super::fields::*;
use super::vmx::Done;
use crate::bits::msr;
use crate::float::{Class, Control, Outcome, Precision, double_to_single, fpscr, single_to_double};
use crate::lanes::{from_fn, get};
use crate::state::State;
use crate::trap::Trap;

pub(super) fn need_vsx(s: &State) -> Done {
    if s.msr() & msr::VSX != 0 { Ok(()) } else { Err(Trap::VsxUnavailable) }
}

/// Instructions of ISA 3.0 on whole registers need VSX for the first half of them and VMX for
/// the second.
pub(super) fn need_vsx_or_vmx(s: &State, register: usize) -> Done {
    if register >= 32 && s.msr() & msr::VEC == 0 {
        return Err(Trap::VmxUnavailable);
    }
    if register < 32 { need_vsx(s) } else { Ok(()) }
}

/// Doubleword 0 of a register.
pub(super) fn scalar(s: &State, register: usize) -> u64 {
    (s.vsr[register] >> 64) as u64
}

/// Sets doubleword 0; the other becomes zero.
pub(super) fn set_scalar(s: &mut State, register: usize, value: u64) {
    s.vsr[register] = u128::from(value) << 64;
}

/// Sets a CR field and with it FPCC.
pub(super) fn set_condition(s: &mut State, w: u32, field: u8) {
    s.fpscr = s.fpscr & !fpscr::FPCC | u64::from(field) << fpscr::FPRF_SHIFT;
    s.cr[bf(w) as usize] = field;
}

/// Ends a scalar operation whose target is XT.
pub(super) fn finish(s: &mut State, w: u32, outcome: &Outcome, class: Class) -> Done {
    if let Some(value) = s.commit(outcome, class) {
        set_scalar(s, xt(w), value);
    }
    s.float_trap(outcome.flags)
}

/// Elements of vectors of numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Elements {
    Single,
    Double,
}

impl Elements {
    pub(super) fn is_single(self) -> bool {
        self == Self::Single
    }

    pub(super) fn precision(self) -> Precision {
        if self.is_single() { Precision::Single } else { Precision::Double }
    }

    pub(super) fn count(self) -> u32 {
        if self.is_single() { 4 } else { 2 }
    }

    /// Element `number` in double format.
    pub(super) fn get(self, vector: u128, number: u32) -> u64 {
        if self.is_single() { single_to_double(get(vector, number)) } else { get(vector, number) }
    }

    /// The vector of these elements in double format.
    pub(super) fn collect(self, values: &[u64; 4]) -> u128 {
        if self.is_single() {
            from_fn::<u32>(|number| double_to_single(values[number as usize]))
        } else {
            from_fn::<u64>(|number| values[number as usize])
        }
    }
}

/// XT = f(element number), unless an enabled exception came of one element.
pub(super) fn vector(
    s: &mut State,
    w: u32,
    elements: Elements,
    f: impl Fn(&State, u32, &Control) -> Outcome,
) -> Done {
    need_vsx(s)?;
    let Some(values) = outcomes(s, elements.count(), f) else { return trap(s) };
    s.vsr[xt(w)] = elements.collect(&values);
    Ok(())
}

/// The values of f(element number), with the exceptions of all of them in FPSCR; `None` if one
/// of the exceptions is enabled, so that the target stays as it is.
pub(super) fn outcomes(
    s: &mut State,
    count: u32,
    f: impl Fn(&State, u32, &Control) -> Outcome,
) -> Option<[u64; 4]> {
    let control = s.float_control();
    let (mut values, mut flags) = ([0; 4], 0);
    for number in 0..count {
        let outcome = f(s, number, &control);
        values[number as usize] = outcome.value;
        flags |= outcome.flags;
    }
    // FR, FI and FPRF are those of scalars.
    let is_enabled = s.add_exceptions(flags & fpscr::STICKY);
    (!is_enabled).then_some(values)
}

/// The interrupt for an enabled exception, if MSR wants it.
pub(super) fn trap(s: &State) -> Done {
    if s.msr() & (msr::FE0 | msr::FE1) != 0 { Err(Trap::Float) } else { Ok(()) }
}
