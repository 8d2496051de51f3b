//! What the host's own arithmetic can do.

use super::{Control, Outcome, Precision, Rounding, fpscr, is_nan};

/// An operation of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// What the host's own arithmetic gives, where it surely is the same: double precision, rounding
/// to nearest, finite operands, a result in the middle of the range, and an error that can be
/// computed exactly.
#[inline(always)]
pub(super) fn fast(
    operation: Operation,
    [a, b]: [u64; 2],
    precision: Precision,
    control: &Control,
) -> Option<Outcome> {
    if precision == Precision::Single
        || control.rounding != Rounding::NearestEven
        || is_nan(a)
        || is_nan(b)
    {
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
