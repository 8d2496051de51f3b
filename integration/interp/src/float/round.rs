//! From an exact result to the format it is wanted in.
//!
//! Operations are made in quadruple precision, toward zero; a result that is not exact has its
//! last bit set. That is "rounding to odd", after which rounding to a format of at most half the
//! precision gives what rounding the exact result would have given, in every mode (S. Boldo,
//! G. Melquiond: "When double rounding is odd", 2005). So there is one place that rounds, and it
//! sees whether the magnitude grew (FR) and whether the result was tiny *before* rounding, as the
//! architecture wants it.

use rustc_apfloat::ieee::{Double, Quad, Single};
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

use super::{Control, Outcome, Rounding, fpscr};

impl Rounding {
    pub(super) fn of_apfloat(self) -> Round {
        match self {
            Self::NearestEven => Round::NearestTiesToEven,
            Self::Zero => Round::TowardZero,
            Self::Up => Round::TowardPositive,
            Self::Down => Round::TowardNegative,
            Self::NearestAway => Round::NearestTiesToAway,
        }
    }
}

pub(super) fn wide(value: u64) -> Quad {
    let mut lost = false;
    Double::from_bits(u128::from(value)).convert(&mut lost).value
}

/// The result of a quadruple operation toward zero, rounded to odd.
pub(super) fn odd(result: StatusAnd<Quad>) -> Quad {
    if result.status.contains(Status::INEXACT) {
        Quad::from_bits(result.value.to_bits() | 1)
    } else {
        result.value
    }
}

/// A format of results.
struct Format {
    is_single: bool,
    /// Exponent of the smallest normal number.
    min_exponent: i32,
    max_exponent: i32,
    /// What enabled overflow and underflow scale by (§4.4.3.2.1).
    scale: i32,
}

const SINGLE: Format =
    Format { is_single: true, min_exponent: -126, max_exponent: 127, scale: 192 };
const DOUBLE: Format =
    Format { is_single: false, min_exponent: -1022, max_exponent: 1023, scale: 1536 };

/// Rounds a finite number, with all exceptions that come of it.
pub(super) fn round(exact: Quad, is_single: bool, control: &Control) -> Outcome {
    let format = if is_single { SINGLE } else { DOUBLE };
    if exact.is_zero() {
        return Outcome::exact(if exact.is_negative() { 1 << 63 } else { 0 });
    }
    let rounding = control.rounding;
    let tiny = exact.ilogb() < format.min_exponent;
    if tiny && control.enables(fpscr::UE) {
        let scaled = exact.scalbn(format.scale);
        return narrowed(scaled, &format, rounding).with(fpscr::UX);
    }
    let mut outcome = narrowed(exact, &format, rounding);
    if outcome.flags & fpscr::OX != 0 {
        if control.enables(fpscr::OE) {
            let scaled = exact.scalbn(-format.scale);
            return narrowed(scaled, &format, rounding).with(fpscr::OX);
        }
        // FR is undefined.
        return outcome;
    }
    if tiny && outcome.flags & fpscr::FI != 0 {
        outcome.flags |= fpscr::UX;
    }
    outcome
}

impl Outcome {
    fn with(mut self, flags: u64) -> Self {
        self.flags |= flags;
        self
    }
}

/// Rounds without a thought of what is enabled: XX, FI, FR and OX.
fn narrowed(exact: Quad, format: &Format, rounding: Rounding) -> Outcome {
    let (value, status) = to_format(exact, format.is_single, rounding);
    let mut flags = 0;
    if status.contains(Status::INEXACT) {
        flags |= fpscr::XX | fpscr::FI;
        let (truncated, _) = to_format(exact, format.is_single, Rounding::Zero);
        if value & !super::SIGN > truncated & !super::SIGN {
            flags |= fpscr::FR;
        }
    }
    // The library says nothing of what becomes the greatest number.
    if status.contains(Status::OVERFLOW) || exact.ilogb() > format.max_exponent {
        flags |= fpscr::OX;
    }
    Outcome { value, flags, suppressed: false }
}

fn to_format(exact: Quad, is_single: bool, rounding: Rounding) -> (u64, Status) {
    let mut lost = false;
    let rounding = rounding.of_apfloat();
    if is_single {
        let StatusAnd { status, value } = exact.convert_r(rounding, &mut lost);
        let value: Single = value;
        let double: Double = value.convert(&mut lost).value;
        (double.to_bits() as u64, status)
    } else {
        let StatusAnd { status, value } = exact.convert_r(rounding, &mut lost);
        let value: Double = value;
        (value.to_bits() as u64, status)
    }
}
