//! Conversion and rounding of quadruple precision (Power ISA 3.0B, Book I §7.6).

use super::fields::*;
use super::quad_arith::{control, finish_quad};
use super::vmx::Done;
use super::vsx::*;
use super::{Insn, Pattern, call};
use crate::float::{
    Class, Control, Integer, Outcome, Precision, Rounding, double_to_quad, from_integer,
    quad_to_double, round_to_extended, round_to_integral, to_integer,
};
use crate::state::State;

/// Z23-form: eight bits.
const fn z23(extended: u32) -> Pattern {
    (0xfc00_01fe, 63 << 26 | extended << 1)
}

/// Ends an operation whose result is doubleword 0 of VRT.
fn finish_doubleword(s: &mut State, w: u32, outcome: &Outcome, class: Class) -> Done {
    if let Some(value) = s.commit(outcome, class) {
        s.set_vr(rt(w), u128::from(value) << 64);
    }
    s.float_trap(outcome.flags)
}

fn to_fixed(s: &mut State, w: u32, integer: Integer) -> Done {
    need_vsx(s)?;
    let outcome = to_integer(s.vr(rb(w)), integer, Rounding::Zero, &s.float_control());
    finish_doubleword(s, w, &outcome, Class::Unchanged)
}

fn from_fixed(s: &mut State, w: u32, convert: fn(u64) -> i128) -> Done {
    need_vsx(s)?;
    let value = convert((s.vr(rb(w)) >> 64) as u64);
    let outcome = from_integer(value, Precision::Quad, &s.float_control());
    finish_quad(s, w, &outcome)
}

/// R and RMC: to nearest away, as FPSCR says, or a mode numbered as FPSCR.RN. The two that are
/// reserved are as FPSCR says.
fn rounding(w: u32, control: &Control) -> Rounding {
    match (w >> 16 & 1, w >> 9 & 3) {
        (0, 0) => Rounding::NearestAway,
        (0, _) => control.rounding,
        (_, mode) => Rounding::of_rn(mode.into()),
    }
}

pub(super) const TABLE: &[Insn] = &[
    call("xscvqpdp", x_by_a(63, 836, 20), "O vrt,vrb", |s, _, w| {
        need_vsx(s)?;
        let outcome = quad_to_double(s.vr(rb(w)), &control(s, w));
        finish_doubleword(s, w, &outcome, Class::Double)
    }),
    call("xscvdpqp", x_by_a(63, 836, 22), "vrt,vrb", |s, _, w| {
        need_vsx(s)?;
        let outcome = double_to_quad((s.vr(rb(w)) >> 64) as u64, &s.float_control());
        finish_quad(s, w, &outcome)
    }),
    call("xscvqpuwz", x_by_a(63, 836, 1), "vrt,vrb", |s, _, w| to_fixed(s, w, Integer::Unsigned32)),
    call("xscvqpswz", x_by_a(63, 836, 9), "vrt,vrb", |s, _, w| to_fixed(s, w, Integer::Signed32)),
    call("xscvqpudz", x_by_a(63, 836, 17), "vrt,vrb", |s, _, w| {
        to_fixed(s, w, Integer::Unsigned64)
    }),
    call("xscvqpsdz", x_by_a(63, 836, 25), "vrt,vrb", |s, _, w| to_fixed(s, w, Integer::Signed64)),
    call("xscvudqp", x_by_a(63, 836, 2), "vrt,vrb", |s, _, w| from_fixed(s, w, i128::from)),
    call("xscvsdqp", x_by_a(63, 836, 10), "vrt,vrb", |s, _, w| {
        from_fixed(s, w, |value| i128::from(value as i64))
    }),
    // EX, the last bit, tells of what is not exact.
    call("xsrqpi", z23(5), "x r,vrt,vrb,rmc", |s, _, w| {
        need_vsx(s)?;
        let control = s.float_control();
        let mode = rounding(w, &control);
        let outcome = round_to_integral(s.vr(rb(w)), mode, last(w) != 0, &control);
        finish_quad(s, w, &outcome)
    }),
    call("xsrqpxp", z23(37), "r,vrt,vrb,rmc", |s, _, w| {
        need_vsx(s)?;
        let control = s.float_control();
        let outcome = round_to_extended(s.vr(rb(w)), &control.with(rounding(w, &control)));
        finish_quad(s, w, &outcome)
    }),
];
