//! From an exact result to the precision it is wanted in.
//!
//! Operations are made in a format of more precision, toward zero; a result that is not exact has
//! its last bit set. That is "rounding to odd", after which rounding to a format of at least two
//! bits less gives what rounding the exact result would have given, in every mode (S. Boldo,
//! G. Melquiond: "When double rounding is odd", 2005). So there is one place that rounds, and it
//! sees whether the magnitude grew (FR) and whether the result was tiny *before* rounding, as the
//! architecture wants it.

use rustc_apfloat::{Float, Round, Status};

use super::{Control, Number, Outcome, Precision, Rounding, fpscr};

impl Precision {
    /// Exponents of the smallest normal and the largest number.
    fn exponents(self) -> (i32, i32) {
        match self {
            Self::Single => (-126, 127),
            Self::Double => (-1022, 1023),
            Self::Extended | Self::Quad => (-16382, 16383),
        }
    }

    /// What enabled overflow and underflow scale by (Book I §4.4.3, §7.4.3).
    fn scale(self) -> i32 {
        match self {
            Self::Single => 192,
            Self::Double => 1536,
            Self::Extended | Self::Quad => 24576,
        }
    }
}

/// Rounds a finite number, with all exceptions that come of it.
pub(super) fn round<N: Number>(
    exact: N::Exact,
    precision: Precision,
    control: &Control,
) -> Outcome<N> {
    if exact.is_zero() {
        return Outcome::exact(if exact.is_negative() { N::SIGN } else { N::ZERO });
    }
    let rounding = control.rounding;
    let tiny = exact.ilogb() < precision.exponents().0;
    if tiny && control.enables(fpscr::UE) {
        let scaled = exact.scalbn(precision.scale());
        return narrowed(scaled, precision, rounding).with(fpscr::UX);
    }
    let mut outcome = narrowed(exact, precision, rounding);
    if outcome.flags & fpscr::OX != 0 {
        if control.enables(fpscr::OE) {
            let scaled = exact.scalbn(-precision.scale());
            return narrowed(scaled, precision, rounding).with(fpscr::OX);
        }
        // FR is undefined.
        return outcome;
    }
    if tiny && outcome.flags & fpscr::FI != 0 {
        outcome.flags |= fpscr::UX;
    }
    outcome
}

impl<N> Outcome<N> {
    fn with(mut self, flags: u64) -> Self {
        self.flags |= flags;
        self
    }
}

/// Rounds without a thought of what is enabled: XX, FI, FR and OX.
fn narrowed<N: Number>(exact: N::Exact, precision: Precision, rounding: Rounding) -> Outcome<N> {
    let (mut value, status) = N::narrow(exact, precision, rounding.of_apfloat());
    let mut flags = 0;
    if status.contains(Status::INEXACT) {
        flags |= fpscr::XX | fpscr::FI;
        let (truncated, _) = N::narrow(exact, precision, Round::TowardZero);
        if rounding == Rounding::Odd {
            value = value | N::LAST;
        }
        if value & !N::SIGN > truncated & !N::SIGN {
            flags |= fpscr::FR;
        }
    }
    // The library says nothing of what becomes the greatest number.
    if status.contains(Status::OVERFLOW) || exact.ilogb() > precision.exponents().1 {
        flags |= fpscr::OX;
    }
    Outcome { value, flags, suppressed: false }
}
