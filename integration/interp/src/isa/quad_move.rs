//! Signs, exponents, significands and classes in quadruple precision (Power ISA 3.0B, Book I
//! §7.6).

use super::fields::*;
use super::vmx::Done;
use super::vsx::*;
use super::vsx_move::is_of_class;
use super::{Insn, call};
use crate::float::{Number, is_negative, is_zero};
use crate::state::State;

const SIGN: u128 = <u128 as Number>::SIGN;
const EXPONENT: u128 = <u128 as Number>::INFINITY;
const EXPONENT_SHIFT: u32 = 112;

/// VRT = f(VRB).
fn unary(s: &mut State, w: u32, f: impl Fn(u128) -> u128) -> Done {
    need_vsx(s)?;
    let value = f(s.vr(rb(w)));
    s.set_vr(rt(w), value);
    Ok(())
}

/// VRT = f(VRA, VRB).
fn binary(s: &mut State, w: u32, f: impl Fn(u128, u128) -> u128) -> Done {
    let a = s.vr(ra(w));
    unary(s, w, |b| f(a, b))
}

/// The fraction, with the bit that is implied for normal numbers.
fn significand(value: u128) -> u128 {
    let fraction = value & !(SIGN | EXPONENT);
    let is_normal = !matches!(value & EXPONENT, 0 | EXPONENT);
    fraction | u128::from(is_normal) << EXPONENT_SHIFT
}

pub(super) const TABLE: &[Insn] = &[
    call("xsabsqp", x_by_a(63, 804, 0), "vrt,vrb", |s, _, w| unary(s, w, |b| b & !SIGN)),
    call("xsnabsqp", x_by_a(63, 804, 8), "vrt,vrb", |s, _, w| unary(s, w, |b| b | SIGN)),
    call("xsnegqp", x_by_a(63, 804, 16), "vrt,vrb", |s, _, w| unary(s, w, |b| b ^ SIGN)),
    call("xscpsgnqp", x(63, 100), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |a, b| a & SIGN | b & !SIGN)
    }),
    call("xsxexpqp", x_by_a(63, 804, 2), "vrt,vrb", |s, _, w| {
        unary(s, w, |b| (b & EXPONENT) >> EXPONENT_SHIFT << 64)
    }),
    call("xsxsigqp", x_by_a(63, 804, 18), "vrt,vrb", |s, _, w| unary(s, w, significand)),
    // The exponent is the last bits of doubleword 0.
    call("xsiexpqp", x(63, 868), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |a, b| a & !EXPONENT | (b >> 64) << EXPONENT_SHIFT & EXPONENT)
    }),
    call("xststdcqp", x(63, 708), "bf,vrb,dcmx", |s, _, w| {
        need_vsx(s)?;
        let value = s.vr(rb(w));
        let is_denormal = value & EXPONENT == 0 && !is_zero(value);
        let is_match = is_of_class(value, is_denormal, w >> 16 & 0x7f);
        set_condition(s, w, u8::from(is_negative(value)) << 3 | u8::from(is_match) << 1);
        Ok(())
    }),
];
