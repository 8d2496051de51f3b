//! Decimal integers: what the oracle gets wrong.

use super::execute;

const LT: u32 = 8;
const GT: u32 = 4;
const EQ: u32 = 2;
const SO: u32 = 1;
const NINES: u128 = 0x999_9999_9999_9999_9999_9999_9999_9999;

/// VX-form with v1 as target, v2 and v3 as sources.
fn word(extended: u32) -> u32 {
    4 << 26 | 1 << 21 | 2 << 16 | 3 << 11 | extended
}

/// As [`word`], with an opcode in the place of v2.
fn unary_word(by_a: u32) -> u32 {
    4 << 26 | 1 << 21 | by_a << 16 | 3 << 11 | 0x581
}

const PS: u32 = 1 << 9;
const BCDADD: u32 = 0x401;
const BCDSUB: u32 = 0x441;
const BCDUS: u32 = 0x481;
const BCDS: u32 = 0x4c1;
const BCDTRUNC: u32 = 0x501;
const BCDUTRUNC: u32 = 0x541;
const BCDSR: u32 = 0x5c1;

/// The target and CR field 6 after a word; all of CR is ones before it.
fn run(word: u32, a: u128, b: u128) -> (u128, u32) {
    let (after, _) = execute(word, |r| {
        r.cr = u32::MAX;
        (r.vsr[33], r.vsr[34], r.vsr[35]) = (0x777, a, b);
    });
    assert_eq!(after.cr | 0xf0, u32::MAX);
    (after.vsr[33], after.cr >> 4 & 0xf)
}

/// Where VRA has how many digits to shift by.
fn by(count: i8) -> u128 {
    u128::from(count as u8) << 64
}

fn length(digits: u16) -> u128 {
    u128::from(digits) << 64
}

/// Whatever the signs of the sources are (Power ISA 3.0B, Book I, bcdadd. and bcdsub.).
#[test]
fn sums_of_zero_are_positive() {
    for (word, a, b) in [
        (word(BCDADD), 0x5c, 0x5d),
        (word(BCDADD), 0xd, 0xb),
        (word(BCDSUB), 0x123d, 0x123b),
        (word(BCDSUB), 0xd, 0xc),
    ] {
        assert_eq!(run(word, a, b), (0xc, EQ));
        assert_eq!(run(word | PS, a, b), (0xf, EQ));
    }
}

#[test]
fn sums_have_31_digits() {
    let most = NINES << 4 | 0xc;
    assert_eq!(run(word(BCDADD), most, 0x1a), (0xc, GT | SO));
    assert_eq!(run(word(BCDSUB), 0x1d, most), (0xd, LT | SO));
    assert_eq!(run(word(BCDADD), most, 0xa), (most, GT));
    assert_eq!(run(word(BCDSUB) | PS, 0x3f, 0x5e), (0x2d, LT));
}

/// A digit that is none, a sign that is none, in either operand.
#[test]
fn what_is_no_number() {
    for word in [word(BCDADD), word(BCDSUB)] {
        for (a, b) in [(0xa0c, 0x1c), (0xa0c, 0x1d), (0x1c, 0xb0d), (0x19, 0x1c), (0x1c, 0x19)] {
            assert_eq!(run(word, a, b), (0x777, SO));
        }
    }
    // bcdctn. and bcdctz. look at all digits, those too that they lose.
    for by_a in [5, 4] {
        assert_eq!(run(unary_word(by_a), 0, 0xa << 124 | 0x1c), (0x777, SO));
    }
}

/// The target may be a source: v3 is both.
#[test]
fn target_and_source_are_one() {
    let run = |word: u32, a, b| {
        let (after, _) = execute(word, |r| (r.vsr[34], r.vsr[35]) = (a, b));
        (after.vsr[35], after.cr >> 4 & 0xf)
    };
    let into_b = |word: u32| word & !(31 << 21) | 3 << 21;
    assert_eq!(run(into_b(word(0x341)), 0x98c, 0x12b), (0x98b, LT));
    assert_eq!(run(into_b(unary_word(0)), 0, 0x12d), (-12i128 as u128, LT));
}

/// Digits that do not fit national (7) and zoned (16).
#[test]
fn digits_that_are_lost() {
    let national = 0x0031_0032_0033_0034_0035_0036_0037_002d;
    assert_eq!(run(unary_word(5), 0, 0x1234567d), (national, LT));
    assert_eq!(run(unary_word(5), 0, 0x71234567b), (national, LT | SO));
    let ascii = 0x3132_3334_3536_3738_3930_3132_3334_3536;
    assert_eq!(run(unary_word(4), 0, 0x1_2345_6789_0123_456c), (ascii, GT));
    assert_eq!(run(unary_word(4), 0, 0x91_2345_6789_0123_456c), (ascii, GT | SO));
    let ebcdic = 0xf1f2_f3f4_f5f6_f7f8_f9f0_f1f2_f3f4_f5d6;
    assert_eq!(run(unary_word(4) | PS, 0, 0x1_2345_6789_0123_456b), (ebcdic, LT));
}

/// CR field 6 compares the digits of the source, not of the result, with zero.
#[test]
fn shifts_and_cuts_compare_the_source() {
    for (word, a, b, expected) in [
        (word(BCDS), by(-1), 0x5c, (0xc, GT)),
        (word(BCDS) | PS, by(-128), 0x5e, (0xf, GT)),
        (word(BCDS), by(31), 0x1b, (0xd, LT | SO)),
        (word(BCDS), by(127), 0xc, (0xc, EQ)),
        (word(BCDS), by(3), 0x12c, (0x12000c, GT)),
        (word(BCDUS), by(-1), 0x5, (0, GT)),
        (word(BCDUS), by(32), 0x1, (0, GT | SO)),
        (word(BCDUS), by(32), 0, (0, EQ)),
        (word(BCDUS), by(31), 0x1, (1 << 124, GT)),
        (word(BCDUS), by(1), 1 << 124 | 2, (0x20, GT | SO)),
        (word(BCDTRUNC), length(0), 0x12d, (0xd, LT | SO)),
        (word(BCDTRUNC), length(1), 0x12d, (0x2d, LT | SO)),
        (word(BCDTRUNC), length(0xffff), NINES << 4 | 0xa, (NINES << 4 | 0xc, GT)),
        (word(BCDUTRUNC), length(0), 0x12, (0, GT | SO)),
        (word(BCDUTRUNC), length(0xffff), NINES, (NINES, GT)),
        (word(BCDUTRUNC), length(31), 1 << 124, (0, GT | SO)),
    ] {
        assert_eq!(run(word, a, b), expected, "{word:x} {a:x} {b:x}");
    }
}

/// bcdsr.: the magnitude grows if the last digit that went out is 5 or more.
#[test]
fn shift_and_round() {
    for (count, b, expected) in [
        (-1, 0x14c, (0x1c, GT)),
        (-1, 0x15c, (0x2c, GT)),
        (-1, 0x5d, (0x1d, LT)),
        (-1, 0x95d, (0x10d, LT)),
        (-1, NINES << 4 | 0xc, (1 << 124 | 0xc, GT)),
        (-31, 5 << 124 | 0xc, (0x1c, GT)),
        (1, 0x5c, (0x50c, GT)),
    ] {
        assert_eq!(run(word(BCDSR), by(count), b), expected, "{count} {b:x}");
    }
}

/// bcdcfsq.: what has more than 31 digits does not fit.
#[test]
fn integers_that_do_not_fit() {
    let limit = 10i128.pow(31);
    let bcdcfsq = unary_word(2);
    assert_eq!(run(bcdcfsq, 0, (limit - 1) as u128), (NINES << 4 | 0xc, GT));
    assert_eq!(run(bcdcfsq, 0, (1 - limit) as u128), (NINES << 4 | 0xd, LT));
    assert_eq!(run(bcdcfsq, 0, limit as u128).1, GT | SO);
    assert_eq!(run(bcdcfsq, 0, i128::MIN as u128).1, LT | SO);
    assert_eq!(run(bcdcfsq | PS, 0, 0), (0xf, EQ));
}
