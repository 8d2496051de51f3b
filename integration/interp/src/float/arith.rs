//! Sums, products, quotients, roots (Power ISA 3.0B, Book I §4.6.6).

use rustc_apfloat::{Float, Round};

use super::round::round;
use super::{
    Control, Number, Operation, Outcome, Precision, Rounding, fpscr, is_infinite, is_negative,
    is_zero, nan_of,
};

/// a ∘ b.
pub(crate) fn arithmetic<N: Number>(
    operation: Operation,
    [a, b]: [N; 2],
    precision: Precision,
    control: &Control,
) -> Outcome<N> {
    if let Some(outcome) = N::fast(operation, [a, b], precision, control) {
        return outcome;
    }
    if let Some(outcome) = nan_of(&[a, b], control) {
        return outcome;
    }
    let invalid = |flag| Outcome::invalid(N::DEFAULT_NAN, flag, control);
    let sign = (a ^ b) & N::SIGN;
    match operation {
        Operation::Add => add(a, b, precision, control),
        Operation::Subtract => add(a, b ^ N::SIGN, precision, control),
        Operation::Multiply => match (is_infinite(a) || is_infinite(b), is_zero(a) || is_zero(b)) {
            (true, true) => invalid(fpscr::VXIMZ),
            (true, false) => Outcome::exact(sign | N::INFINITY),
            (false, true) => Outcome::exact(sign),
            (false, false) => {
                let product = N::odd(a.exact().mul_r(b.exact(), Round::TowardZero));
                round(product, precision, control)
            }
        },
        Operation::Divide => match (is_infinite(a), is_infinite(b), is_zero(a), is_zero(b)) {
            (true, true, ..) => invalid(fpscr::VXIDI),
            (_, _, true, true) => invalid(fpscr::VXZDZ),
            (true, ..) => Outcome::exact(sign | N::INFINITY),
            (_, true, ..) | (_, _, true, _) => Outcome::exact(sign),
            (.., true) => by_zero(sign, control),
            _ => round(a.exact_quotient(b), precision, control),
        },
    }
}

fn by_zero<N: Number>(sign: N, control: &Control) -> Outcome<N> {
    Outcome { value: sign | N::INFINITY, flags: fpscr::ZX, suppressed: control.enables(fpscr::ZE) }
}

fn add<N: Number>(a: N, b: N, precision: Precision, control: &Control) -> Outcome<N> {
    match (is_infinite(a), is_infinite(b)) {
        (true, true) if a != b => {
            return Outcome::invalid(N::DEFAULT_NAN, fpscr::VXISI, control);
        }
        (true, _) => return Outcome::exact(a),
        (_, true) => return Outcome::exact(b),
        _ => {}
    }
    let sum = N::odd(a.exact().add_r(b.exact(), Round::TowardZero));
    if sum.is_zero() {
        return zero_sum(a & N::SIGN, b & N::SIGN, control);
    }
    round(sum, precision, control)
}

/// The sum of numbers with these signs that is zero: with different signs it is positive, but
/// negative when rounding downward.
fn zero_sum<N: Number>(a: N, b: N, control: &Control) -> Outcome<N> {
    Outcome::exact(match (a == b, control.rounding) {
        (true, _) => a,
        (false, Rounding::Down) => N::SIGN,
        (false, _) => N::ZERO,
    })
}

/// ±(a * c ± b), rounded once: `negate_b` subtracts, `negate` changes the sign of a result that
/// is no NaN.
pub(crate) fn fused<N: Number>(
    [a, c, b]: [N; 3],
    [negate_b, negate]: [bool; 2],
    precision: Precision,
    control: &Control,
) -> Outcome<N> {
    let invalid_product = is_infinite(a) && is_zero(c) || is_zero(a) && is_infinite(c);
    if let Some(mut outcome) = nan_of(&[a, b, c], control) {
        // Both are found, if b is the NaN.
        if invalid_product {
            outcome.flags |= fpscr::VXIMZ;
            outcome.suppressed |= control.enables(fpscr::VE);
        }
        return outcome;
    }
    let b = if negate_b { b ^ N::SIGN } else { b };
    let product_sign = (a ^ c) & N::SIGN;
    // The sign is changed after rounding.
    let control_of_sum = control;
    let outcome = if invalid_product {
        return Outcome::invalid(N::DEFAULT_NAN, fpscr::VXIMZ, control);
    } else if is_infinite(a) || is_infinite(c) {
        if is_infinite(b) && b & N::SIGN != product_sign {
            return Outcome::invalid(N::DEFAULT_NAN, fpscr::VXISI, control);
        }
        Outcome::exact(product_sign | N::INFINITY)
    } else if is_infinite(b) {
        Outcome::exact(b)
    } else {
        let sum = N::odd(a.exact().mul_add_r(c.exact(), b.exact(), Round::TowardZero));
        if sum.is_zero() {
            zero_sum(product_sign, b & N::SIGN, control_of_sum)
        } else {
            round(sum, precision, control_of_sum)
        }
    };
    Outcome { value: if negate { outcome.value ^ N::SIGN } else { outcome.value }, ..outcome }
}

/// The square root.
pub(crate) fn root<N: Number>(value: N, precision: Precision, control: &Control) -> Outcome<N> {
    if let Some(outcome) = nan_of(&[value], control) {
        return outcome;
    }
    if is_zero(value) || value == N::INFINITY {
        return Outcome::exact(value);
    }
    if is_negative(value) {
        return Outcome::invalid(N::DEFAULT_NAN, fpscr::VXSQRT, control);
    }
    round(value.exact_root(), precision, control)
}

/// An estimate of 1 / value; here it is the rounded quotient.
pub(crate) fn reciprocal(value: u64, precision: Precision, control: &Control) -> Outcome {
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    arithmetic(Operation::Divide, [ONE, value], precision, control)
}

/// An estimate of 1 / √value; here it is the rounded quotient by the exact root.
pub(crate) fn root_estimate(value: u64, precision: Precision, control: &Control) -> Outcome {
    if let Some(outcome) = nan_of(&[value], control) {
        return outcome;
    }
    if is_zero(value) {
        return by_zero(value & u64::SIGN, control);
    }
    if is_negative(value) {
        return Outcome::invalid(u64::DEFAULT_NAN, fpscr::VXSQRT, control);
    }
    if is_infinite(value) {
        return Outcome::exact(0);
    }
    let one = <u64 as Number>::Exact::from_u128(1).value;
    round(u64::odd(one.div_r(value.exact_root(), Round::TowardZero)), precision, control)
}
