//! Arithmetic and comparison in quadruple precision (Power ISA 3.0B, Book I §7.6).
//! Numbers fill the upper half of the VSX registers, which are the VMX ones; VSX has to be there.

use super::fields::*;
use super::vmx::Done;
use super::vsx::*;
use super::vsx_arith::{compare_exponents, compare_to_cr};
use super::{Insn, call};
use crate::float::{
    Class, Control, Operation, Outcome, Precision, Rounding, arithmetic, fused, root,
};
use crate::state::State;

/// Ends an operation whose target is VRT.
pub(super) fn finish_quad(s: &mut State, w: u32, outcome: &Outcome<u128>) -> Done {
    if let Some(value) = s.commit(outcome, Class::Quad) {
        s.set_vr(rt(w), value);
    }
    s.float_trap(outcome.flags)
}

/// RO, the last bit, rounds to odd.
pub(super) fn control(s: &State, w: u32) -> Control {
    let control = s.float_control();
    if last(w) != 0 { control.with(Rounding::Odd) } else { control }
}

/// VRT = VRA ∘ VRB.
fn binary(s: &mut State, w: u32, operation: Operation) -> Done {
    need_vsx(s)?;
    let operands = [s.vr(ra(w)), s.vr(rb(w))];
    let outcome = arithmetic(operation, operands, Precision::Quad, &control(s, w));
    finish_quad(s, w, &outcome)
}

/// VRT = ±(VRA * VRB ± VRT).
fn ternary(s: &mut State, w: u32, negate: [bool; 2]) -> Done {
    need_vsx(s)?;
    let operands = [s.vr(ra(w)), s.vr(rb(w)), s.vr(rt(w))];
    let outcome = fused(operands, negate, Precision::Quad, &control(s, w));
    finish_quad(s, w, &outcome)
}

fn compare(s: &mut State, w: u32, ordered: bool) -> Done {
    need_vsx(s)?;
    let (a, b) = (s.vr(ra(w)), s.vr(rb(w)));
    compare_to_cr(s, w, a, b, ordered)
}

pub(super) const TABLE: &[Insn] = &[
    call("xsaddqp", x(63, 4), "O vrt,vra,vrb", |s, _, w| binary(s, w, Operation::Add)),
    call("xssubqp", x(63, 516), "O vrt,vra,vrb", |s, _, w| binary(s, w, Operation::Subtract)),
    call("xsmulqp", x(63, 36), "O vrt,vra,vrb", |s, _, w| binary(s, w, Operation::Multiply)),
    call("xsdivqp", x(63, 548), "O vrt,vra,vrb", |s, _, w| binary(s, w, Operation::Divide)),
    call("xssqrtqp", x_by_a(63, 804, 27), "O vrt,vrb", |s, _, w| {
        need_vsx(s)?;
        let outcome = root(s.vr(rb(w)), Precision::Quad, &control(s, w));
        finish_quad(s, w, &outcome)
    }),
    call("xsmaddqp", x(63, 388), "O vrt,vra,vrb", |s, _, w| ternary(s, w, [false, false])),
    call("xsmsubqp", x(63, 420), "O vrt,vra,vrb", |s, _, w| ternary(s, w, [true, false])),
    call("xsnmaddqp", x(63, 452), "O vrt,vra,vrb", |s, _, w| ternary(s, w, [false, true])),
    call("xsnmsubqp", x(63, 484), "O vrt,vra,vrb", |s, _, w| ternary(s, w, [true, true])),
    call("xscmpoqp", x(63, 132), "bf,vra,vrb", |s, _, w| compare(s, w, true)),
    call("xscmpuqp", x(63, 644), "bf,vra,vrb", |s, _, w| compare(s, w, false)),
    call("xscmpexpqp", x(63, 164), "bf,vra,vrb", |s, _, w| {
        need_vsx(s)?;
        let (a, b) = (s.vr(ra(w)), s.vr(rb(w)));
        compare_exponents(s, w, a, b)
    }),
];
