//! Numbers in quad format and decimal numbers, for registers.

use super::machine::Random;

/// Zeros, ones, halves, denormals, extremes, infinities, NaNs; integers at the edges of words and
/// doublewords; what doubles and double extended round up, down and at the middle, and where they
/// overflow and are denormal.
const QUADS: [u128; 36] = [
    0,
    1 << 127,
    0x3fff << 112,
    0xbfff << 112,
    0x3fff_8 << 108,
    0x4000_4 << 108,
    0xc000_4 << 108,
    0x3ffe << 112,
    0xbffd_8 << 108,
    1,
    1 << 127 | 1,
    (1 << 112) - 1,
    1 << 112,
    1 << 127 | 1 << 112,
    (0x7fff << 112) - 1,
    (0xffff << 112) - 1,
    0x7fff << 112,
    0xffff << 112,
    0x7fff_8 << 108,
    0xffff_8123_4567_89ab_cdef_0123_4567_89ab,
    0x7fff << 112 | 1,
    0xffff_4000_0000_0000_2000_0000_0000_0001,
    0x4070 << 112,
    0x401e << 112,
    0xc01e_0000_0000_1 << 76,
    0x403e << 112,
    0x403f << 112,
    0x403e_ffff_ffff_ffff_fff8 << 48,
    0x401e_ffff_ffff_ffff_ffff << 48,
    0x43fe_ffff_ffff_ffff_f000_0000_0000_0000,
    0x43fe_ffff_ffff_ffff_f800_0000_0000_0000,
    0x3fff_0000_0000_0000_0800_0000_0000_0000,
    0x3fff_0000_0000_0000_0001_0000_0000_0000,
    0x3fff_ffff_ffff_ffff_ffff_0000_0000_0001,
    0x3c01_5555_5555_5555_5555_5555_5555_5555,
    0x3bcc << 112,
];

pub(super) fn quad(random: &mut Random) -> u128 {
    let fraction = u128::from(random.next()) << 64 | u128::from(random.next());
    let fraction = fraction >> 16;
    let sign = u128::from(random.below(2)) << 127;
    let (exponent, fraction) = match random.below(8) {
        0..3 => return random.of(&QUADS),
        // Where results overflow or are denormal.
        3 => (random.of(&[0, 1, 60, 113, 8100, 8250, 24500, 32700, 32765, 32766]), fraction),
        // Near one another.
        4 => (16383 - 3 + random.below(6), fraction),
        // Few bits at both ends, so that much is at the middle.
        5 => (16383 - 60 + random.below(120), fraction & 0xf | fraction & 0xf << 108),
        6 => (16383 - 1100 + random.below(2200), fraction & !0 << random.below(112)),
        _ => (random.below(0x7fff), fraction),
    };
    sign | u128::from(exponent) << 112 | fraction
}

/// Digits, the last ones more often than the first.
fn digits(random: &mut Random) -> u128 {
    let count = random.of(&[0, 1, 7, 8, 16, 17, 30, 31, 32]);
    let nines = random.below(4) == 0;
    (0..count).fold(0, |digits, _| digits << 4 | if nines { 9 } else { random.below(10).into() })
}

/// Packed, national or zoned as `name` wants it, sometimes wrong.
pub(super) fn decimal(random: &mut Random, name: &str) -> u128 {
    let digits = digits(random);
    let digit = |number: u32| (digits >> (4 * number)) as u8 & 0xf;
    let halves = |half: fn(u8) -> u128, last: u128, count: u32, bits: u32| {
        let all = (0..count).rev().fold(0, |all, number| all << bits | half(digit(number)));
        if count == 7 { all << bits | last } else { all & !0xf0 | last }
    };
    let number = match name {
        "bcdcfn." => {
            let sign = random.of(&[0x2b, 0x2d, 0x2b, 0x2d, 0x20]);
            halves(|digit| u128::from(digit) | 0x30, sign, 7, 16)
        }
        "bcdcfz." if random.below(2) == 0 => {
            halves(|digit| u128::from(digit) | 0x30, u128::from(random.next() & 0xf0), 16, 8)
        }
        "bcdcfz." => {
            halves(|digit| u128::from(digit) | 0xf0, u128::from(random.next() & 0xf0), 16, 8)
        }
        "bcdcfsq." => {
            let limit = 10i128.pow(31);
            let value = random.of(&[0, 1, limit - 1, limit, limit + 1, i128::MAX]);
            let other = i128::from(random.next() as i64) << random.below(40);
            let value = if random.below(2) == 0 { value } else { other };
            if random.below(2) == 0 { value as u128 } else { -value as u128 }
        }
        "bcdus." | "bcdutrunc." => digits,
        _ => digits << 4 | u128::from(10 + random.below(6)),
    };
    match random.below(8) {
        0 => number ^ u128::from(random.below(16)) << (4 * random.below(32)),
        _ => number,
    }
}

/// A number of digits to shift by or to keep, where instructions look for it.
pub(super) fn amount(random: &mut Random) -> u128 {
    let amount = random.below(80).wrapping_sub(40);
    let amount = if random.below(4) == 0 { amount & 0xff } else { amount & 0xffff };
    u128::from(random.next() & !0xffff | amount) << 64 | u128::from(random.next())
}
