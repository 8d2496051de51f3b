//! Decimal integers in vectors (Power ISA 3.0B, Book I chapter 6).
//!
//! A packed decimal is 31 digits of four bits and a sign: 0xB and 0xD are minus, the other codes
//! that are no digits are plus. National is seven halfwords of UTF-16 and one for the sign, zoned
//! is sixteen bytes of ASCII or EBCDIC, whose last has the sign in its upper half.
//!
//! CR field 6 tells how the number compares with zero: as it was before digits were shifted or
//! cut off. Its last bit tells that digits were lost, or, then alone, that an operand is no
//! number. Where VRT is undefined, it stays as it was.

use super::fields::*;
use super::vmx::{Done, need_vmx};
use super::{Insn, Pattern, call};
use crate::bits::cr;
use crate::lanes::{from_fn, get};
use crate::state::State;

const DIGITS: u32 = 31;
/// The least magnitude that has more digits.
const LIMIT: u128 = 10u128.pow(DIGITS);
const MINUS: u128 = 0xd;

/// A result, and how it compares with zero or what it lost, as a CR field.
type Decimal = Option<(u128, u8)>;

/// VRT = f(VRA, VRB, PS), `None` for operands that are no numbers.
fn decimal(s: &mut State, w: u32, f: impl Fn(u128, u128, bool) -> Decimal) -> Done {
    need_vmx(s)?;
    s.cr[6] = match f(s.vr(ra(w)), s.vr(rb(w)), w >> 9 & 1 != 0) {
        Some((value, field)) => {
            s.set_vr(rt(w), value);
            field
        }
        None => cr::SO,
    };
    Ok(())
}

/// A packed decimal.
#[derive(Clone, Copy)]
struct Packed {
    /// The last digit is in the least significant bits.
    digits: u128,
    negative: bool,
}

impl Packed {
    /// `None` if it is none.
    fn new(vector: u128) -> Option<Self> {
        let sign = vector & 0xf;
        let digits = digits_only(vector >> 4)?;
        (sign > 9).then_some(Self { digits, negative: matches!(sign, 0xb | 0xd) })
    }

    /// The sign is 0xD, or 0xC, or with PS 0xF.
    fn vector(self, ps: bool) -> u128 {
        let plus = if ps { 0xf } else { 0xc };
        self.digits << 4 | if self.negative { MINUS } else { plus }
    }

    /// How it compares with zero.
    fn condition(self) -> u8 {
        match (self.digits, self.negative) {
            (0, _) => cr::EQ,
            (_, true) => cr::LT,
            (_, false) => cr::GT,
        }
    }

    fn integer(self) -> i128 {
        let magnitude = integer_of(self.digits) as i128;
        if self.negative { -magnitude } else { magnitude }
    }
}

/// A number as it is, if all of its digits are digits.
fn digits_only(digits: u128) -> Option<u128> {
    (0..32).all(|digit| digits >> (4 * digit) & 0xf <= 9).then_some(digits)
}

fn integer_of(digits: u128) -> u128 {
    (0..32).rev().fold(0, |integer, digit| integer * 10 + (digits >> (4 * digit) & 0xf))
}

/// The last 32 digits.
fn digits_of(integer: u128) -> u128 {
    let mut rest = integer;
    (0..32).fold(0, |digits, digit| {
        let last = rest % 10;
        rest /= 10;
        digits | last << (4 * digit)
    })
}

fn lost(is_lost: bool) -> u8 {
    if is_lost { cr::SO } else { 0 }
}

/// The last 31 digits of an integer. Zero is positive.
fn packed_integer(integer: i128, ps: bool) -> (u128, u8) {
    let magnitude = integer.unsigned_abs();
    let packed = Packed { digits: digits_of(magnitude % LIMIT), negative: integer < 0 };
    let order = match integer.cmp(&0) {
        std::cmp::Ordering::Less => cr::LT,
        std::cmp::Ordering::Greater => cr::GT,
        std::cmp::Ordering::Equal => cr::EQ,
    };
    (packed.vector(ps), order | lost(magnitude >= LIMIT))
}

/// Digits shifted within a width, to the left if `count` is positive.
struct Shifted {
    digits: u128,
    /// Digits that are not zero went out at the left.
    overflow: bool,
    /// The last digit that went out at the right.
    guard: u128,
}

fn shift(digits: u128, count: i8, width: u32) -> Shifted {
    let amount = u32::from(count.unsigned_abs()).min(width);
    let bits = 4 * amount;
    if count > 0 {
        let all = u128::MAX >> (128 - 4 * width);
        let kept = digits.checked_shl(bits).unwrap_or(0) & all;
        let overflow = digits >> (4 * (width - amount)) != 0;
        return Shifted { digits: kept, overflow, guard: 0 };
    }
    let guard = if amount > 0 { digits >> (bits - 4) & 0xf } else { 0 };
    Shifted { digits: digits.checked_shr(bits).unwrap_or(0), overflow: false, guard }
}

/// The last digits, and whether others that are not zero are lost.
fn truncate(digits: u128, length: u16, width: u32) -> (u128, bool) {
    let length = u32::from(length).min(width);
    let kept = if length == 0 { 0 } else { digits & u128::MAX >> (128 - 4 * length) };
    (kept, kept != digits)
}

/// Shifts by the signed number of digits in byte 7 of VRA, and rounds half up if wanted.
fn shift_packed(s: &mut State, w: u32, round: bool) -> Done {
    decimal(s, w, |a, b, ps| {
        let number = Packed::new(b)?;
        let Shifted { mut digits, overflow, guard } = shift(number.digits, get(a, 7), DIGITS);
        if round && guard >= 5 {
            digits = digits_of(integer_of(digits) + 1);
        }
        let result = Packed { digits, ..number };
        Some((result.vector(ps), number.condition() | lost(overflow)))
    })
}

fn unsigned_condition(digits: u128) -> u8 {
    if digits == 0 { cr::EQ } else { cr::GT }
}

/// A digit by its code, if it is one.
fn digit_of(code: u32, zero: u32) -> Option<u128> {
    (zero..zero + 10).contains(&code).then(|| u128::from(code - zero))
}

const NATIONAL_ZERO: u16 = 0x30;
const NATIONAL_PLUS: u16 = 0x2b;
const NATIONAL_MINUS: u16 = 0x2d;

fn from_national(b: u128, ps: bool) -> Decimal {
    let negative = match get(b, 7) {
        NATIONAL_PLUS => false,
        NATIONAL_MINUS => true,
        _ => return None,
    };
    let digits = (0..7).try_fold(0, |digits, number| {
        let code: u16 = get(b, number);
        Some(digits << 4 | digit_of(code.into(), NATIONAL_ZERO.into())?)
    })?;
    let packed = Packed { digits, negative };
    Some((packed.vector(ps), packed.condition()))
}

fn to_national(b: u128) -> Decimal {
    let packed = Packed::new(b)?;
    let (digits, is_lost) = truncate(packed.digits, 7, DIGITS);
    let sign = if packed.negative { NATIONAL_MINUS } else { NATIONAL_PLUS };
    let vector = from_fn(|number| match number {
        7 => sign,
        _ => NATIONAL_ZERO + (digits >> (4 * (6 - number)) & 0xf) as u16,
    });
    Some((vector, packed.condition() | lost(is_lost)))
}

/// The upper half of the bytes of zoned digits, in ASCII or, with PS, in EBCDIC.
const fn zone(ps: bool) -> u8 {
    if ps { 0xf0 } else { 0x30 }
}

fn from_zoned(b: u128, ps: bool) -> Decimal {
    let sign = get::<u8>(b, 15) >> 4;
    let negative = match (ps, sign) {
        (false, _) => sign & 4 != 0,
        (true, 0xb | 0xd) => true,
        (true, 0xa..) => false,
        (true, _) => return None,
    };
    let digits = (0..16).try_fold(0, |digits, number| {
        let byte: u8 = get(b, number);
        // The sign is in the place of the last zone.
        let code = if number == 15 { byte & 0xf | zone(ps) } else { byte };
        Some(digits << 4 | digit_of(code.into(), zone(ps).into())?)
    })?;
    let packed = Packed { digits, negative };
    // PS is of the source here; plus is 0xC.
    Some((packed.vector(false), packed.condition()))
}

fn to_zoned(b: u128, ps: bool) -> Decimal {
    let packed = Packed::new(b)?;
    let (digits, is_lost) = truncate(packed.digits, 16, DIGITS);
    let sign = match (ps, packed.negative) {
        (false, false) => 0x30,
        (false, true) => 0x70,
        (true, false) => 0xc0,
        (true, true) => 0xd0,
    };
    let vector = from_fn(|number| {
        let digit = (digits >> (4 * (15 - number))) as u8 & 0xf;
        digit | if number == 15 { sign } else { zone(ps) }
    });
    Some((vector, packed.condition() | lost(is_lost)))
}

/// VX-form with PS in it: bits 21 and 23 to 31.
const fn vx_ps(extended: u32) -> Pattern {
    (0xfc00_05ff, 4 << 26 | extended)
}

/// The same with a further opcode in the place of VRA.
const fn vx_ps_by_a(by_a: u32) -> Pattern {
    (0xfc1f_05ff, 4 << 26 | by_a << 16 | 0x581)
}

pub(super) const TABLE: &[Insn] = &[
    call("bcdadd.", vx_ps(0x401), "vrt,vra,vrb,ps", |s, _, w| {
        decimal(s, w, |a, b, ps| {
            Some(packed_integer(Packed::new(a)?.integer() + Packed::new(b)?.integer(), ps))
        })
    }),
    call("bcdsub.", vx_ps(0x441), "vrt,vra,vrb,ps", |s, _, w| {
        decimal(s, w, |a, b, ps| {
            Some(packed_integer(Packed::new(a)?.integer() - Packed::new(b)?.integer(), ps))
        })
    }),
    call("bcdcpsgn.", vx(0x341), "vrt,vra,vrb", |s, _, w| {
        decimal(s, w, |a, b, _| {
            let (number, sign) = (Packed::new(a)?, Packed::new(b)?);
            let result = Packed { negative: sign.negative, ..number };
            Some((a & !0xf | b & 0xf, result.condition()))
        })
    }),
    call("bcdsetsgn.", vx_ps_by_a(31), "vrt,vrb,ps", |s, _, w| {
        decimal(s, w, |_, b, ps| {
            let number = Packed::new(b)?;
            Some((number.vector(ps), number.condition()))
        })
    }),
    call("bcds.", vx_ps(0x4c1), "vrt,vra,vrb,ps", |s, _, w| shift_packed(s, w, false)),
    call("bcdsr.", vx_ps(0x5c1), "vrt,vra,vrb,ps", |s, _, w| shift_packed(s, w, true)),
    call("bcdus.", vx_ps(0x481), "vrt,vra,vrb", |s, _, w| {
        decimal(s, w, |a, b, _| {
            let Shifted { digits, overflow, .. } = shift(digits_only(b)?, get(a, 7), 32);
            Some((digits, unsigned_condition(b) | lost(overflow)))
        })
    }),
    // The length is halfword 3 of VRA.
    call("bcdtrunc.", vx_ps(0x501), "vrt,vra,vrb,ps", |s, _, w| {
        decimal(s, w, |a, b, ps| {
            let number = Packed::new(b)?;
            let (digits, is_lost) = truncate(number.digits, get(a, 3), DIGITS);
            let result = Packed { digits, ..number };
            Some((result.vector(ps), number.condition() | lost(is_lost)))
        })
    }),
    call("bcdutrunc.", vx_ps(0x541), "vrt,vra,vrb", |s, _, w| {
        decimal(s, w, |a, b, _| {
            let (digits, is_lost) = truncate(digits_only(b)?, get(a, 3), 32);
            Some((digits, unsigned_condition(b) | lost(is_lost)))
        })
    }),
    call("bcdctsq.", vx_ps_by_a(0), "vrt,vrb", |s, _, w| {
        decimal(s, w, |_, b, _| {
            let number = Packed::new(b)?;
            Some((number.integer() as u128, number.condition()))
        })
    }),
    call("bcdcfsq.", vx_ps_by_a(2), "vrt,vrb,ps", |s, _, w| {
        let old = s.vr(rt(w));
        decimal(s, w, |_, b, ps| {
            let (value, field) = packed_integer(b as i128, ps);
            Some((if field & cr::SO == 0 { value } else { old }, field))
        })
    }),
    call("bcdctz.", vx_ps_by_a(4), "vrt,vrb,ps", |s, _, w| {
        decimal(s, w, |_, b, ps| to_zoned(b, ps))
    }),
    call("bcdctn.", vx_ps_by_a(5), "vrt,vrb", |s, _, w| decimal(s, w, |_, b, _| to_national(b))),
    call("bcdcfz.", vx_ps_by_a(6), "vrt,vrb,ps", |s, _, w| {
        decimal(s, w, |_, b, ps| from_zoned(b, ps))
    }),
    call("bcdcfn.", vx_ps_by_a(7), "vrt,vrb,ps", |s, _, w| {
        decimal(s, w, |_, b, ps| from_national(b, ps))
    }),
];
