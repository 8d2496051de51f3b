//! Decimal numbers, for registers; and what the oracle makes of them that is not right.

use super::machine::{Random, Snapshot};
use crate::isa::{fields::*, lookup};

const CR6: u64 = 0xf << 4;
/// How a number compares with zero.
pub(super) const ORDER: u64 = 0xe << 4;
const CR6_EQ: u64 = 2 << 4;
const CR6_SO: u64 = 1 << 4;

/// The instructions with a number of digits in VRA.
const WITH_AMOUNT: &[&str] = &["bcds.", "bcdsr.", "bcdus.", "bcdtrunc.", "bcdutrunc."];

/// Digits, the last ones more often than the first.
fn digits(random: &mut Random) -> u128 {
    let count = random.of(&[0, 1, 7, 8, 16, 17, 30, 31, 32]);
    let nines = random.below(4) == 0;
    (0..count).fold(0, |digits, _| digits << 4 | if nines { 9 } else { random.below(10).into() })
}

/// Packed, national or zoned as `name` wants it, sometimes wrong.
pub(super) fn number(random: &mut Random, name: &str) -> u128 {
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

pub(super) fn has_amount(name: &str) -> bool {
    WITH_AMOUNT.contains(&name)
}

fn is_target(word: u32, index: usize) -> bool {
    index.wrapping_sub(32) / 2 == 32 + rt(word) as usize
}

/// Whether a doubleword is undefined after a word; then it is to stay as it was.
pub(super) fn is_undefined(word: u32, after: &Snapshot, index: usize) -> bool {
    let is_decimal = lookup(word).is_some_and(|insn| insn.name.starts_with("bcd"));
    // Operands that are no numbers.
    is_decimal && after.cr & CR6 == CR6_SO && is_target(word, index)
}

/// Whether all digits from number `first` on, counted from the last, are some.
fn has_digits(vector: u128, first: u32) -> bool {
    (first..32).all(|digit| vector >> (4 * digit) & 0xf <= 9)
}

fn is_packed(vector: u128) -> bool {
    has_digits(vector, 1) && vector & 0xf > 9
}

/// Whether the oracle is right.
pub(super) fn is_comparable(name: &str, word: u32, before: &Snapshot, after: &Snapshot) -> bool {
    let register = |snapshot: &Snapshot, number: u32| snapshot.vsr[32 + number as usize];
    let (a, b) = (register(before, ra(word)), register(before, rb(word)));
    match name {
        // It looks at operands after the target is written.
        "bcdcpsgn." | "bcdctsq." if rt(word) == rb(word) => false,
        // It finds digits that are none in sums of the same signs only, and the sum of two zeros
        // to be positive or negative as well.
        "bcdadd." | "bcdsub." => {
            after.cr & CR6_EQ == 0 || after.cr & ORDER == CR6_EQ && is_packed(a) && is_packed(b)
        }
        // It does not look at digits that are lost.
        "bcdctn." => has_digits(b, 8),
        "bcdctz." => has_digits(b, 17),
        // It takes this length for -1.
        "bcdtrunc." | "bcdutrunc." if (a >> 64) as u16 == u16::MAX => false,
        // It finds digits lost that are zeros.
        "bcdus." if b == 0 => after.cr & CR6_SO == 0,
        // It compares the result with zero, not the source.
        _ if has_amount(name) => after.cr & CR6_EQ == 0 || matches!(b, 0..16),
        _ => true,
    }
}
