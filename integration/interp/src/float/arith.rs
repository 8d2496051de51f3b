//! Sums, products, quotients, roots (Power ISA 3.0B, Book I §4.6.6).

use rustc_apfloat::ieee::Quad;
use rustc_apfloat::{Float, Round};

use super::round::{odd, round, wide};
use super::{
    Control, DEFAULT_NAN, INFINITY, Outcome, Rounding, SIGN, fpscr, is_infinite, is_nan,
    is_negative, is_zero, nan_of,
};

/// An operation of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// a ∘ b.
pub(crate) fn arithmetic(
    operation: Operation,
    a: u64,
    b: u64,
    is_single: bool,
    control: &Control,
) -> Outcome {
    if let Some(outcome) = fast(operation, a, b, is_single, control) {
        return outcome;
    }
    if let Some(outcome) = nan_of(&[a, b], control) {
        return outcome;
    }
    let invalid = |flag| Outcome::invalid(DEFAULT_NAN, flag, control);
    let sign = (a ^ b) & SIGN;
    match operation {
        Operation::Add => add(a, b, is_single, control),
        Operation::Subtract => add(a, b ^ SIGN, is_single, control),
        Operation::Multiply => match (is_infinite(a) || is_infinite(b), is_zero(a) || is_zero(b)) {
            (true, true) => invalid(fpscr::VXIMZ),
            (true, false) => Outcome::exact(sign | INFINITY),
            (false, true) => Outcome::exact(sign),
            (false, false) => {
                let product = odd(wide(a).mul_r(wide(b), Round::TowardZero));
                round(product, is_single, control)
            }
        },
        Operation::Divide => match (is_infinite(a), is_infinite(b), is_zero(a), is_zero(b)) {
            (true, true, ..) => invalid(fpscr::VXIDI),
            (_, _, true, true) => invalid(fpscr::VXZDZ),
            (true, ..) => Outcome::exact(sign | INFINITY),
            (_, true, ..) | (_, _, true, _) => Outcome::exact(sign),
            (.., true) => by_zero(sign, control),
            _ => {
                let quotient = odd(wide(a).div_r(wide(b), Round::TowardZero));
                round(quotient, is_single, control)
            }
        },
    }
}

fn by_zero(sign: u64, control: &Control) -> Outcome {
    Outcome { value: sign | INFINITY, flags: fpscr::ZX, suppressed: control.enables(fpscr::ZE) }
}

fn add(a: u64, b: u64, is_single: bool, control: &Control) -> Outcome {
    match (is_infinite(a), is_infinite(b)) {
        (true, true) if a != b => {
            return Outcome::invalid(DEFAULT_NAN, fpscr::VXISI, control);
        }
        (true, _) => return Outcome::exact(a),
        (_, true) => return Outcome::exact(b),
        _ => {}
    }
    let sum = odd(wide(a).add_r(wide(b), Round::TowardZero));
    if sum.is_zero() {
        return zero_sum(a & SIGN, b & SIGN, control);
    }
    round(sum, is_single, control)
}

/// The sum of numbers with these signs that is zero: with different signs it is positive, but
/// negative when rounding downward.
fn zero_sum(a: u64, b: u64, control: &Control) -> Outcome {
    Outcome::exact(match (a == b, control.rounding) {
        (true, _) => a,
        (false, Rounding::Down) => SIGN,
        (false, _) => 0,
    })
}

/// ±(a * c ± b), rounded once: `negate_b` subtracts, `negate` changes the sign of a result that
/// is no NaN.
pub(crate) fn fused(
    [a, c, b]: [u64; 3],
    [negate_b, negate]: [bool; 2],
    is_single: bool,
    control: &Control,
) -> Outcome {
    let invalid_product = is_infinite(a) && is_zero(c) || is_zero(a) && is_infinite(c);
    if let Some(mut outcome) = nan_of(&[a, b, c], control) {
        // Both are found, if b is the NaN.
        if invalid_product {
            outcome.flags |= fpscr::VXIMZ;
            outcome.suppressed |= control.enables(fpscr::VE);
        }
        return outcome;
    }
    let b = if negate_b { b ^ SIGN } else { b };
    let product_sign = (a ^ c) & SIGN;
    // The sign is changed after rounding.
    let control_of_sum = control;
    let outcome = if invalid_product {
        return Outcome::invalid(DEFAULT_NAN, fpscr::VXIMZ, control);
    } else if is_infinite(a) || is_infinite(c) {
        if is_infinite(b) && b & SIGN != product_sign {
            return Outcome::invalid(DEFAULT_NAN, fpscr::VXISI, control);
        }
        Outcome::exact(product_sign | INFINITY)
    } else if is_infinite(b) {
        Outcome::exact(b)
    } else {
        let sum = odd(wide(a).mul_add_r(wide(c), wide(b), Round::TowardZero));
        if sum.is_zero() {
            zero_sum(product_sign, b & SIGN, control_of_sum)
        } else {
            round(sum, is_single, control_of_sum)
        }
    };
    Outcome { value: if negate { outcome.value ^ SIGN } else { outcome.value }, ..outcome }
}

/// The square root.
pub(crate) fn root(value: u64, is_single: bool, control: &Control) -> Outcome {
    if let Some(outcome) = nan_of(&[value], control) {
        return outcome;
    }
    if is_zero(value) || value == INFINITY {
        return Outcome::exact(value);
    }
    if is_negative(value) {
        return Outcome::invalid(DEFAULT_NAN, fpscr::VXSQRT, control);
    }
    round(exact_root(value), is_single, control)
}

/// The root of a positive finite number, rounded to odd: of its significand as an integer of 120
/// bits, the exponent being even.
fn exact_root(value: u64) -> Quad {
    let number = wide(value);
    let exponent = number.ilogb();
    let even = exponent & !1;
    // 1 <= scaled < 4, so as an integer of 118 fraction bits it fits and keeps all bits.
    let scaled = number.scalbn(118 - even);
    let mut exact = false;
    let integer = scaled.to_u128_r(128, Round::TowardZero, &mut exact).value;
    let root = integer.isqrt();
    let sticky = u128::from(root * root != integer);
    // 60 bits of root: more than twice what single needs, and with the sticky bit enough for
    // double.
    Quad::from_u128(root << 1 | sticky).value.scalbn(even / 2 - 60)
}

/// An estimate of 1 / value; here it is the rounded quotient.
pub(crate) fn reciprocal(value: u64, is_single: bool, control: &Control) -> Outcome {
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    arithmetic(Operation::Divide, ONE, value, is_single, control)
}

/// An estimate of 1 / √value; here it is the rounded quotient by the exact root.
pub(crate) fn root_estimate(value: u64, is_single: bool, control: &Control) -> Outcome {
    if let Some(outcome) = nan_of(&[value], control) {
        return outcome;
    }
    if is_zero(value) {
        return by_zero(value & SIGN, control);
    }
    if is_negative(value) {
        return Outcome::invalid(DEFAULT_NAN, fpscr::VXSQRT, control);
    }
    if is_infinite(value) {
        return Outcome::exact(0);
    }
    let one = Quad::from_u128(1).value;
    round(odd(one.div_r(exact_root(value), Round::TowardZero)), is_single, control)
}

/// What the host's own arithmetic gives, where it surely is the same: double precision, rounding
/// to nearest, finite operands, a result in the middle of the range, and an error that can be
/// computed exactly.
fn fast(
    operation: Operation,
    a: u64,
    b: u64,
    is_single: bool,
    control: &Control,
) -> Option<Outcome> {
    if is_single || control.rounding != Rounding::NearestEven || is_nan(a) || is_nan(b) {
        return None;
    }
    // Exponents from -500 to 500: no operation of such numbers, nor the error of it, leaves the
    // range of normal numbers.
    let moderate = |value: u64| (523..=1523).contains(&(value >> 52 & 0x7ff));
    if !moderate(a) || !moderate(b) {
        return None;
    }
    let (x, y) = (f64::from_bits(a), f64::from_bits(b));
    // `error` has the sign of (exact - rounded), or is zero if there is none.
    let (value, error) = match operation {
        Operation::Add => sum_and_error(x, y),
        Operation::Subtract => sum_and_error(x, -y),
        Operation::Multiply => {
            let product = x * y;
            (product, product_error(x, y, product))
        }
        Operation::Divide => return None,
    };
    if value == 0.0 {
        return None;
    }
    let mut flags = 0;
    if error != 0.0 {
        flags = fpscr::XX | fpscr::FI;
        // The magnitude grew if what is missing points toward zero.
        if (error < 0.0) == (value > 0.0) {
            flags |= fpscr::FR;
        }
    }
    Some(Outcome { value: value.to_bits(), flags, suppressed: false })
}

/// The sum and its error (D. E. Knuth, "The Art of Computer Programming", volume 2, §4.2.2,
/// theorem B).
fn sum_and_error(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let a_part = sum - b_part;
    (sum, (a - a_part) + (b - b_part))
}

/// The error of a product (T. J. Dekker, "A floating-point technique for extending the available
/// precision", 1971).
fn product_error(a: f64, b: f64, product: f64) -> f64 {
    let split = |value: f64| {
        let scaled = value * 134_217_729.0;
        let high = scaled - (scaled - value);
        (high, value - high)
    };
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
}
