//! Between formats, and between floating point and integers (Power ISA 3.0B, Book I §4.6.7).

use rustc_apfloat::ieee::{Double, Half};
use rustc_apfloat::{Float, FloatConvert, Round, Status};

use super::round::round;
use super::{
    Control, Number, Outcome, Precision, Rounding, fpscr, is_infinite, is_nan, is_negative,
    is_signalling, is_zero, nan_of,
};

const SIGN: u64 = u64::SIGN;
const INFINITY: u64 = <u64 as Number>::INFINITY;

/// A single-precision number in double format, NaNs as they are (§4.6.2, "DOUBLE").
pub(crate) fn single_to_double(single: u32) -> u64 {
    let sign = u64::from(single >> 31) << 63;
    let fraction = u64::from(single & 0x7f_ffff);
    match single >> 23 & 0xff {
        0xff => sign | INFINITY | fraction << 29,
        0 if fraction == 0 => sign,
        0 => {
            // The leading one goes to where it is implied.
            let shift = fraction.leading_zeros() - 40;
            let exponent = u64::from(897 - shift);
            sign | exponent << 52 | fraction << (29 + shift) & 0xf_ffff_ffff_ffff
        }
        exponent => sign | u64::from(exponent + 896) << 52 | fraction << 29,
    }
}

/// A number in double format as a single (§4.6.3, "SINGLE"): no rounding; what a single cannot
/// hold becomes something undefined.
pub(crate) fn double_to_single(double: u64) -> u32 {
    let sign = (double >> 32) as u32 & 0x8000_0000;
    let exponent = (double >> 52 & 0x7ff) as u32;
    if exponent > 896 || double & !SIGN == 0 {
        return (double >> 32) as u32 & 0xc000_0000 | (double >> 29) as u32 & 0x3fff_ffff;
    }
    if exponent >= 874 {
        let fraction = 1 << 23 | (double >> 29) as u32 & 0x7f_ffff;
        return sign | fraction >> (897 - exponent);
    }
    sign
}

/// `frsp`: rounds to single precision. A NaN keeps what a single can hold of it.
pub(crate) fn round_to_single(value: u64, control: &Control) -> Outcome {
    const SINGLE_BITS: u64 = !0x1fff_ffff;
    if let Some(outcome) = nan_of(&[value], control) {
        return Outcome { value: outcome.value & SINGLE_BITS, ..outcome };
    }
    if is_infinite(value) || is_zero(value) {
        return Outcome::exact(value);
    }
    round(value.exact(), Precision::Single, control)
}

/// The fraction of quad format has so many bits more than that of double format.
const QUAD_MORE_BITS: u32 = 60;

/// To quad format, exactly. A signalling NaN becomes quiet and is invalid.
pub(crate) fn double_to_quad(value: u64, control: &Control) -> Outcome<u128> {
    if is_nan(value) || is_infinite(value) {
        let sign = u128::from(value & SIGN) << 64;
        let fraction = u128::from(value & !(SIGN | INFINITY)) << QUAD_MORE_BITS;
        let quad = sign | <u128 as Number>::INFINITY | fraction;
        return nan_of(&[quad], control).unwrap_or(Outcome::exact(quad));
    }
    Outcome::exact(u128::pack(value.exact()))
}

/// Rounds to double precision. A NaN keeps what a double can hold of it.
pub(crate) fn quad_to_double(value: u128, control: &Control) -> Outcome {
    let special = |quad: u128| {
        let sign = (quad >> 64) as u64 & SIGN;
        sign | INFINITY | (quad >> QUAD_MORE_BITS) as u64 & !(SIGN | INFINITY)
    };
    if let Some(Outcome { value, flags, suppressed }) = nan_of(&[value], control) {
        return Outcome { value: special(value), flags, suppressed };
    }
    if is_infinite(value) {
        return Outcome::exact(special(value));
    }
    round(value.unpack(), Precision::Double, control)
}

/// Rounds a number in quad format to the precision of double extended.
pub(crate) fn round_to_extended(value: u128, control: &Control) -> Outcome<u128> {
    if let Some(outcome) = nan_of(&[value], control) {
        return outcome;
    }
    if is_infinite(value) {
        return Outcome::exact(value);
    }
    round(value.exact(), Precision::Extended, control)
}

/// Half precision to double format. A signalling NaN becomes quiet and is invalid.
pub(crate) fn half_to_double(half: u16, control: &Control) -> Outcome {
    let sign = u64::from(half >> 15) << 63;
    let fraction = u64::from(half & 0x3ff);
    if half >> 10 & 0x1f == 0x1f {
        let value = sign | INFINITY | fraction << 42;
        return nan_of(&[value], control).unwrap_or(Outcome::exact(value));
    }
    let mut lost = false;
    let double: Double = Half::from_bits(half.into()).convert(&mut lost).value;
    Outcome::exact(double.to_bits() as u64)
}

/// Rounds to half precision; the value is the half.
pub(crate) fn round_to_half(value: u64, control: &Control) -> Outcome {
    let half_of_nan = |nan: u64| (nan >> 48 & 0x8000) | 0x7c00 | nan >> 42 & 0x3ff;
    if let Some(outcome) = nan_of(&[value], control) {
        return Outcome { value: half_of_nan(outcome.value), ..outcome };
    }
    let mut lost = false;
    let exact = Double::from_bits(value.into());
    let rounding = control.rounding.of_apfloat();
    let result = FloatConvert::<Half>::convert_r(exact, rounding, &mut lost);
    let truncated = FloatConvert::<Half>::convert_r(exact, Round::TowardZero, &mut lost);
    let bits = result.value.to_bits() as u64;
    let mut flags = 0;
    if result.status.contains(Status::INEXACT) {
        flags |= fpscr::XX | fpscr::FI;
        if bits & 0x7fff > truncated.value.to_bits() as u64 & 0x7fff {
            flags |= fpscr::FR;
        }
        if exact.is_finite_non_zero() && exact.ilogb() < -14 {
            flags |= fpscr::UX;
        }
    }
    if result.status.contains(Status::OVERFLOW) || exact.is_finite_non_zero() && exact.ilogb() > 15
    {
        flags |= fpscr::OX;
    }
    Outcome { value: bits, flags, suppressed: false }
}

/// Integers that numbers are converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integer {
    Signed32,
    Unsigned32,
    Signed64,
    Unsigned64,
}

impl Integer {
    fn limits(self) -> (i128, i128) {
        match self {
            Self::Signed32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Unsigned32 => (0, u32::MAX.into()),
            Self::Signed64 => (i64::MIN.into(), i64::MAX.into()),
            Self::Unsigned64 => (0, u64::MAX.into()),
        }
    }
}

/// Converts to an integer; what does not fit becomes the nearest that does and is invalid. The
/// value is the integer, 32-bit ones sign- or zero-extended as they are.
pub(crate) fn to_integer<N: Number>(
    value: N,
    integer: Integer,
    rounding: Rounding,
    control: &Control,
) -> Outcome {
    let (least, most) = integer.limits();
    if is_nan(value) {
        let snan = if is_signalling(value) { fpscr::VXSNAN } else { 0 };
        return Outcome::invalid(least as u64, fpscr::VXCVI | snan, control);
    }
    let saturated = if is_negative(value) { least } else { most };
    let too_large = Outcome::invalid(saturated as u64, fpscr::VXCVI, control);
    if is_infinite(value) {
        return too_large;
    }
    let mut exact = false;
    let number = value.unpack();
    let result = number.to_i128_r(128, rounding.of_apfloat(), &mut exact);
    if result.status.contains(Status::INVALID_OP) || !(least..=most).contains(&result.value) {
        return too_large;
    }
    let mut flags = 0;
    if !exact && !is_zero(value) {
        flags = fpscr::XX | fpscr::FI;
        let truncated = number.to_i128_r(128, Round::TowardZero, &mut exact).value;
        if result.value.unsigned_abs() > truncated.unsigned_abs() {
            flags |= fpscr::FR;
        }
    }
    Outcome { value: result.value as u64, flags, suppressed: false }
}

/// Converts an integer.
pub(crate) fn from_integer<N: Number>(
    value: i128,
    precision: Precision,
    control: &Control,
) -> Outcome<N> {
    // 64 bits are exact in both formats that are rounded from.
    round(N::Exact::from_i128(value).value, precision, control)
}

/// Rounds to an integral number. `inexact` tells of it in FPSCR; most instructions do not.
pub(crate) fn round_to_integral<N: Number>(
    value: N,
    rounding: Rounding,
    inexact: bool,
    control: &Control,
) -> Outcome<N> {
    if let Some(outcome) = nan_of(&[value], control) {
        return outcome;
    }
    let rounded = N::pack(value.unpack().round_to_integral(rounding.of_apfloat()).value);
    let mut flags = 0;
    if inexact && rounded != value {
        flags = fpscr::XX | fpscr::FI;
        if rounded & !N::SIGN > value & !N::SIGN {
            flags |= fpscr::FR;
        }
    }
    Outcome { value: rounded, flags, suppressed: false }
}
