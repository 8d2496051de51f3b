//! The formats in which registers hold numbers, and the wider ones in which results are exact
//! enough to be rounded once.

use std::cmp::Ordering;
use std::ops::{BitAnd, BitOr, BitXor, Not};

use rustc_apfloat::ieee::{Double, IeeeFloat, Quad, Semantics, Single, X87DoubleExtended};
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

use super::{Class, Control, Operation, Outcome, Precision, Rounding, fast};

/// A number as a register holds it: `u64` in double format, `u128` in quad format.
pub(crate) trait Number:
    Copy
    + PartialOrd
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
{
    const ZERO: Self;
    const SIGN: Self;
    const INFINITY: Self;
    /// The last bit of the fraction.
    const LAST: Self;
    /// Set in quiet NaNs.
    const QUIET: Self;
    /// The quiet NaN that invalid operations give.
    const DEFAULT_NAN: Self;

    /// The format itself.
    type Format: Float;
    /// A format of at least two bits more, in which nothing overflows or is denormal.
    type Exact: Float;

    fn unpack(self) -> Self::Format;
    fn pack(number: Self::Format) -> Self;
    fn compare(self, other: Self) -> Option<Ordering>;
    fn exact(self) -> Self::Exact;
    /// The result of an operation toward zero, rounded to odd.
    fn odd(result: StatusAnd<Self::Exact>) -> Self::Exact;
    /// Rounds to a precision, in a mode of the library.
    fn narrow(exact: Self::Exact, precision: Precision, round: Round) -> (Self, Status);
    /// The root of a positive finite number, rounded to odd.
    fn exact_root(self) -> Self::Exact;
    /// The quotient of finite numbers that are not zero, rounded to odd.
    fn exact_quotient(self, divisor: Self) -> Self::Exact;
    /// What the host can compute itself.
    #[inline(always)]
    fn fast(_: Operation, _: [Self; 2], _: Precision, _: &Control) -> Option<Outcome<Self>> {
        None
    }
    fn smallest_normal(class: Class) -> Self;
}

impl Number for u64 {
    const ZERO: Self = 0;
    const LAST: Self = 1;
    const SIGN: Self = 1 << 63;
    const INFINITY: Self = 0x7ff << 52;
    const QUIET: Self = 1 << 51;
    const DEFAULT_NAN: Self = 0xfff << 51;

    type Format = Double;
    type Exact = Quad;

    fn unpack(self) -> Double {
        Double::from_bits(self.into())
    }

    fn pack(number: Double) -> Self {
        number.to_bits() as u64
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        f64::from_bits(self).partial_cmp(&f64::from_bits(other))
    }

    fn exact(self) -> Quad {
        let mut lost = false;
        self.unpack().convert(&mut lost).value
    }

    fn odd(result: StatusAnd<Quad>) -> Quad {
        if result.status.contains(Status::INEXACT) {
            Quad::from_bits(result.value.to_bits() | 1)
        } else {
            result.value
        }
    }

    fn narrow(exact: Quad, precision: Precision, round: Round) -> (Self, Status) {
        let mut lost = false;
        if precision == Precision::Single {
            let StatusAnd { status, value } = exact.convert_r(round, &mut lost);
            let value: Single = value;
            let double: Double = value.convert(&mut lost).value;
            (Self::pack(double), status)
        } else {
            let StatusAnd { status, value } = exact.convert_r(round, &mut lost);
            (Self::pack(value), status)
        }
    }

    #[inline(always)]
    fn exact_quotient(self, divisor: Self) -> Quad {
        Self::odd(self.exact().div_r(divisor.exact(), Round::TowardZero))
    }

    /// Of the significand as an integer of 120 bits, the exponent being even.
    fn exact_root(self) -> Quad {
        let number = self.exact();
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

    #[inline(always)]
    fn fast(
        operation: Operation,
        operands: [Self; 2],
        precision: Precision,
        control: &Control,
    ) -> Option<Outcome> {
        fast::fast(operation, operands, precision, control)
    }

    fn smallest_normal(class: Class) -> Self {
        if class == Class::Single { 0x381 << 52 } else { 1 << 52 }
    }
}

/// More than quadruple precision, which exists only between an operation and its rounding.
pub(crate) struct WideS;

/// A number with 120 bits and an exponent that nothing leaves: the product of two of the smallest
/// numbers in quad format is 2^-32988, the scaling of an enabled underflow 2^24576.
type Wide = IeeeFloat<WideS>;

const WIDE_BITS: i32 = 120;

impl Semantics for WideS {
    const EXP_BITS: usize = 18;
    const PRECISION: usize = WIDE_BITS as usize;
    const BITS: usize = 1 + Self::EXP_BITS + Self::PRECISION - 1;
}

/// The bits of a positive number down to `fraction_bits` behind the first.
fn integer(number: Wide, fraction_bits: i32) -> u128 {
    let mut exact = false;
    let scaled = number.scalbn(fraction_bits - number.ilogb());
    scaled.to_u128_r(128, Round::TowardZero, &mut exact).value
}

impl Number for u128 {
    const ZERO: Self = 0;
    const LAST: Self = 1;
    const SIGN: Self = 1 << 127;
    const INFINITY: Self = 0x7fff << 112;
    const QUIET: Self = 1 << 111;
    const DEFAULT_NAN: Self = 0xffff << 111;

    type Format = Quad;
    type Exact = Wide;

    fn unpack(self) -> Quad {
        Quad::from_bits(self)
    }

    fn pack(number: Quad) -> Self {
        number.to_bits()
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        self.unpack().partial_cmp(&other.unpack())
    }

    fn exact(self) -> Wide {
        let mut lost = false;
        self.unpack().convert(&mut lost).value
    }

    fn odd(StatusAnd { status, value }: StatusAnd<Wide>) -> Wide {
        if !status.contains(Status::INEXACT) {
            return value;
        }
        let last = value.ilogb() - (WIDE_BITS - 1);
        let digits = integer(value.abs(), WIDE_BITS - 1);
        Wide::from_u128(digits | 1).value.scalbn(last).copy_sign(value)
    }

    fn narrow(exact: Wide, precision: Precision, round: Round) -> (Self, Status) {
        let mut lost = false;
        if precision == Precision::Extended {
            let StatusAnd { status, value } = exact.convert_r(round, &mut lost);
            let value: X87DoubleExtended = value;
            (Self::pack(value.convert(&mut lost).value), status)
        } else {
            let StatusAnd { status, value } = exact.convert_r(round, &mut lost);
            (Self::pack(value), status)
        }
    }

    /// Digit by digit, as by hand. If the library divided here too, its division would not be part
    /// of that of doubles any more, which is then a fifth slower.
    fn exact_quotient(self, divisor: Self) -> Wide {
        const QUOTIENT_BITS: i32 = WIDE_BITS - 2;
        let (a, b) = (self.exact(), divisor.exact());
        let (mut rest, b_digits) = (integer(a.abs(), 112), integer(b.abs(), 112));
        let mut quotient = 0u128;
        for _ in 0..QUOTIENT_BITS {
            quotient <<= 1;
            if rest >= b_digits {
                rest -= b_digits;
                quotient |= 1;
            }
            rest <<= 1;
        }
        let sticky = u128::from(rest != 0);
        let magnitude = Wide::from_u128(quotient << 1 | sticky).value;
        let result = magnitude.scalbn(a.ilogb() - b.ilogb() - QUOTIENT_BITS);
        if a.is_negative() == b.is_negative() { result } else { -result }
    }

    /// Digit by digit, as by hand: two bits of the number for one of the root.
    fn exact_root(self) -> Wide {
        const ROOT_BITS: i32 = WIDE_BITS - 2;
        let number = self.exact();
        let even = number.ilogb() & !1;
        // 1 <= scaled < 4, so with 112 fraction bits it is an integer of 57 pairs of bits.
        let integer = integer(number, 112 + number.ilogb() - even);
        let (mut root, mut rest) = (0u128, 0u128);
        for digit in 0..ROOT_BITS {
            let pair = if digit < 57 { integer >> (112 - 2 * digit) & 3 } else { 0 };
            rest = rest << 2 | pair;
            let subtrahend = root << 2 | 1;
            root <<= 1;
            if rest >= subtrahend {
                rest -= subtrahend;
                root |= 1;
            }
        }
        let sticky = u128::from(rest != 0);
        Wide::from_u128(root << 1 | sticky).value.scalbn(even / 2 - ROOT_BITS)
    }

    fn smallest_normal(_: Class) -> Self {
        1 << 112
    }
}

impl Rounding {
    /// To odd is toward zero, and then the last bit.
    pub(super) fn of_apfloat(self) -> Round {
        match self {
            Self::NearestEven => Round::NearestTiesToEven,
            Self::Zero | Self::Odd => Round::TowardZero,
            Self::Up => Round::TowardPositive,
            Self::Down => Round::TowardNegative,
            Self::NearestAway => Round::NearestTiesToAway,
        }
    }
}
