//! Floating-point arithmetic, conversion and comparison (Power ISA 3.0B, Book I §4.6.6 to
//! §4.6.8).

use super::fields::*;
use super::vmx::Done;
use super::vsx_arith::compare_to_cr;
use super::{Insn, call};
use crate::float::{
    Class, Control, Integer, Operation, Outcome, Precision, Rounding, arithmetic, from_integer,
    fused, is_infinite, is_nan, is_negative, is_zero, reciprocal, root, root_estimate,
    round_to_integral, round_to_single, to_integer,
};
use crate::state::State;

const DOUBLE: Precision = Precision::Double;
const SINGLE: Precision = Precision::Single;

/// Ends an operation whose target is FRT: the record form copies FPSCR's summary to CR field 1.
fn finish(s: &mut State, w: u32, outcome: &Outcome, class: Class) -> Done {
    if let Some(value) = s.commit(outcome, class) {
        s.set_fpr(rt(w), value);
    }
    record(s, w);
    s.float_trap(outcome.flags)
}

/// CR field 1 = FX, FEX, VX, OX.
pub(super) fn record(s: &mut State, w: u32) {
    if last(w) != 0 {
        s.cr[1] = (s.fpscr >> 28) as u8 & 0xf;
    }
}

fn class(precision: Precision) -> Class {
    if precision == SINGLE { Class::Single } else { Class::Double }
}

/// FRT = FRA ∘ FRB. Products have their second operand in FRC.
fn binary(s: &mut State, w: u32, operation: Operation, precision: Precision) -> Done {
    s.need_fp()?;
    let second = if operation == Operation::Multiply { rc(w) } else { rb(w) };
    let control = s.float_control();
    let outcome = arithmetic(operation, [s.fpr(ra(w)), s.fpr(second)], precision, &control);
    finish(s, w, &outcome, class(precision))
}

/// FRT = ±(FRA * FRC ± FRB).
fn ternary(s: &mut State, w: u32, negate: [bool; 2], precision: Precision) -> Done {
    s.need_fp()?;
    let operands = [s.fpr(ra(w)), s.fpr(rc(w)), s.fpr(rb(w))];
    let outcome = fused(operands, negate, precision, &s.float_control());
    finish(s, w, &outcome, class(precision))
}

fn unary(
    s: &mut State,
    w: u32,
    f: fn(u64, Precision, &Control) -> Outcome,
    precision: Precision,
) -> Done {
    s.need_fp()?;
    let outcome = f(s.fpr(rb(w)), precision, &s.float_control());
    finish(s, w, &outcome, class(precision))
}

fn to_fixed(s: &mut State, w: u32, integer: Integer, rounding: Option<Rounding>) -> Done {
    s.need_fp()?;
    let control = s.float_control();
    let mode = rounding.unwrap_or(control.rounding);
    let outcome = to_integer(s.fpr(rb(w)), integer, mode, &control);
    finish(s, w, &outcome, Class::Unchanged)
}

fn from_fixed(s: &mut State, w: u32, signed: bool, precision: Precision) -> Done {
    s.need_fp()?;
    let bits = s.fpr(rb(w));
    let value = if signed { i128::from(bits as i64) } else { i128::from(bits) };
    let outcome = from_integer(value, precision, &s.float_control());
    finish(s, w, &outcome, class(precision))
}

fn to_integral(s: &mut State, w: u32, rounding: Rounding) -> Done {
    s.need_fp()?;
    let outcome = round_to_integral(s.fpr(rb(w)), rounding, false, &s.float_control());
    finish(s, w, &outcome, Class::Double)
}

fn compare(s: &mut State, w: u32, ordered: bool) -> Done {
    s.need_fp()?;
    let (a, b) = (s.fpr(ra(w)), s.fpr(rb(w)));
    compare_to_cr(s, w, a, b, ordered)
}

fn exponent(value: u64) -> i32 {
    (value >> 52 & 0x7ff) as i32 - 1023
}

/// What division by software has to know: FG (special operands), FE (exponents at the edge).
pub(super) fn test_divide(a: u64, b: u64, [least, most, digits]: [i32; 3]) -> u8 {
    let b_denormal = exponent(b) < least && !is_zero(b);
    let (ea, eb) = (exponent(a), exponent(b));
    let special = is_infinite(a) || is_zero(b) || is_infinite(b);
    let edge = is_nan(a)
        || is_nan(b)
        || eb <= least
        || eb >= most - 2
        || !is_zero(a) && (ea - eb >= most || ea - eb <= least + 1 || ea <= least + digits);
    let fg = special || b_denormal;
    8 | u8::from(fg) << 2 | u8::from(edge || special) << 1
}

/// The same for square roots.
pub(super) fn test_root(b: u64, least: i32, digits: i32) -> u8 {
    let denormal = exponent(b) < least && !is_zero(b);
    let special = is_zero(b) || is_infinite(b);
    let edge = is_nan(b) || special || is_negative(b) || exponent(b) <= least + digits;
    8 | u8::from(special || denormal) << 2 | u8::from(edge) << 1
}

/// Exponents and digits of double precision for the tests above.
pub(super) const DOUBLE_EDGES: [i32; 3] = [-1022, 1023, 52];

macro_rules! pair {
    ($execute:expr, $extended:literal, $operands:literal, $double:literal, $single:literal) => {
        [
            call($double, a(63, $extended), $operands, |s, _, w| $execute(s, w, DOUBLE)),
            call($single, a(59, $extended), $operands, |s, _, w| $execute(s, w, SINGLE)),
        ]
    };
}

pub(super) const SUMS: &[Insn] = &pair!(
    |s, w, single| binary(s, w, Operation::Add, single),
    21,
    ". frt,fra,frb",
    "fadd",
    "fadds"
);
pub(super) const DIFFERENCES: &[Insn] = &pair!(
    |s, w, single| binary(s, w, Operation::Subtract, single),
    20,
    ". frt,fra,frb",
    "fsub",
    "fsubs"
);
pub(super) const PRODUCTS: &[Insn] = &pair!(
    |s, w, single| binary(s, w, Operation::Multiply, single),
    25,
    ". frt,fra,frc",
    "fmul",
    "fmuls"
);
pub(super) const QUOTIENTS: &[Insn] = &pair!(
    |s, w, single| binary(s, w, Operation::Divide, single),
    18,
    ". frt,fra,frb",
    "fdiv",
    "fdivs"
);
pub(super) const ROOTS: &[Insn] =
    &pair!(|s, w, single| unary(s, w, root, single), 22, ". frt,frb", "fsqrt", "fsqrts");
pub(super) const RECIPROCALS: &[Insn] =
    &pair!(|s, w, single| unary(s, w, reciprocal, single), 24, ". frt,frb", "fre", "fres");
pub(super) const ROOT_ESTIMATES: &[Insn] = &pair!(
    |s, w, single| unary(s, w, root_estimate, single),
    26,
    ". frt,frb",
    "frsqrte",
    "frsqrtes"
);
pub(super) const FUSED_ADD: &[Insn] = &pair!(
    |s, w, single| ternary(s, w, [false, false], single),
    29,
    ". frt,fra,frc,frb",
    "fmadd",
    "fmadds"
);
pub(super) const FUSED_SUBTRACT: &[Insn] = &pair!(
    |s, w, single| ternary(s, w, [true, false], single),
    28,
    ". frt,fra,frc,frb",
    "fmsub",
    "fmsubs"
);
pub(super) const FUSED_NEGATIVE_ADD: &[Insn] = &pair!(
    |s, w, single| ternary(s, w, [false, true], single),
    31,
    ". frt,fra,frc,frb",
    "fnmadd",
    "fnmadds"
);
pub(super) const FUSED_NEGATIVE_SUBTRACT: &[Insn] = &pair!(
    |s, w, single| ternary(s, w, [true, true], single),
    30,
    ". frt,fra,frc,frb",
    "fnmsub",
    "fnmsubs"
);

pub(super) const TABLE: &[Insn] = &[
    call("fsel", a(63, 23), ". frt,fra,frc,frb", |s, _, w| {
        s.need_fp()?;
        let test = f64::from_bits(s.fpr(ra(w)));
        let value = if test >= 0.0 { s.fpr(rc(w)) } else { s.fpr(rb(w)) };
        s.set_fpr(rt(w), value);
        record(s, w);
        Ok(())
    }),
    call("fcmpu", x(63, 0), "bf,fra,frb", |s, _, w| compare(s, w, false)),
    call("fcmpo", x(63, 32), "bf,fra,frb", |s, _, w| compare(s, w, true)),
    call("ftdiv", x(63, 128), "bf,fra,frb", |s, _, w| {
        s.need_fp()?;
        s.cr[bf(w) as usize] = test_divide(s.fpr(ra(w)), s.fpr(rb(w)), DOUBLE_EDGES);
        Ok(())
    }),
    call("ftsqrt", x(63, 160), "bf,frb", |s, _, w| {
        s.need_fp()?;
        s.cr[bf(w) as usize] = test_root(s.fpr(rb(w)), -1022, 52);
        Ok(())
    }),
    call("frsp", x(63, 12), ". frt,frb", |s, _, w| {
        s.need_fp()?;
        let outcome = round_to_single(s.fpr(rb(w)), &s.float_control());
        finish(s, w, &outcome, Class::Single)
    }),
    call("fctiw", x(63, 14), ". frt,frb", |s, _, w| to_fixed(s, w, Integer::Signed32, None)),
    call("fctiwz", x(63, 15), ". frt,frb", |s, _, w| {
        to_fixed(s, w, Integer::Signed32, Some(Rounding::Zero))
    }),
    call("fctiwu", x(63, 142), ". frt,frb", |s, _, w| to_fixed(s, w, Integer::Unsigned32, None)),
    call("fctiwuz", x(63, 143), ". frt,frb", |s, _, w| {
        to_fixed(s, w, Integer::Unsigned32, Some(Rounding::Zero))
    }),
    call("fctid", x(63, 814), ". frt,frb", |s, _, w| to_fixed(s, w, Integer::Signed64, None)),
    call("fctidz", x(63, 815), ". frt,frb", |s, _, w| {
        to_fixed(s, w, Integer::Signed64, Some(Rounding::Zero))
    }),
    call("fctidu", x(63, 942), ". frt,frb", |s, _, w| to_fixed(s, w, Integer::Unsigned64, None)),
    call("fctiduz", x(63, 943), ". frt,frb", |s, _, w| {
        to_fixed(s, w, Integer::Unsigned64, Some(Rounding::Zero))
    }),
    call("fcfid", x(63, 846), ". frt,frb", |s, _, w| from_fixed(s, w, true, DOUBLE)),
    call("fcfidu", x(63, 974), ". frt,frb", |s, _, w| from_fixed(s, w, false, DOUBLE)),
    call("fcfids", x(59, 846), ". frt,frb", |s, _, w| from_fixed(s, w, true, SINGLE)),
    call("fcfidus", x(59, 974), ". frt,frb", |s, _, w| from_fixed(s, w, false, SINGLE)),
    call("frin", x(63, 392), ". frt,frb", |s, _, w| to_integral(s, w, Rounding::NearestAway)),
    call("friz", x(63, 424), ". frt,frb", |s, _, w| to_integral(s, w, Rounding::Zero)),
    call("frip", x(63, 456), ". frt,frb", |s, _, w| to_integral(s, w, Rounding::Up)),
    call("frim", x(63, 488), ". frt,frb", |s, _, w| to_integral(s, w, Rounding::Down)),
];
