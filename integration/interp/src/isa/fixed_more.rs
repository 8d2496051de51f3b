//! Fixed-point instructions that programs use now and then (Power ISA 3.0B, Book I §3.3).

use super::fields::*;
use super::{Insn, call};
use crate::bits::mask;
use crate::ram::Ram;
use crate::state::State;
use crate::trap::Trap;

type Done = Result<(), Trap>;

/// RT = f(RA, RB), with overflow (no result) and record.
fn divide(s: &mut State, w: u32, f: fn(u64, u64) -> Option<u64>) -> Done {
    let value = f(s.gpr[ra(w) as usize], s.gpr[rb(w) as usize]);
    if oe(w) != 0 {
        s.overflow(value.is_none(), value.is_none());
    }
    set_rt(s, w, value.unwrap_or(0))
}

fn set_rt(s: &mut State, w: u32, value: u64) -> Done {
    s.gpr[rt(w) as usize] = value;
    if last(w) != 0 {
        s.record(value);
    }
    Ok(())
}

/// RA = f(RS), with record.
fn unary(s: &mut State, w: u32, f: fn(u64) -> u64) -> Done {
    s.gpr[ra(w) as usize] = f(s.gpr[rt(w) as usize]);
    Ok(())
}

fn divdeu(a: u64, b: u64) -> Option<u64> {
    let value = (u128::from(a) << 64).checked_div(u128::from(b))?;
    u64::try_from(value).ok()
}

fn divde(a: u64, b: u64) -> Option<u64> {
    let value = (i128::from(a as i64) << 64).checked_div(i128::from(b as i64))?;
    i64::try_from(value).ok().map(|value| value as u64)
}

fn divweu(a: u64, b: u64) -> Option<u64> {
    let value = (u64::from(a as u32) << 32).checked_div(u64::from(b as u32))?;
    u32::try_from(value).ok().map(u64::from)
}

fn divwe(a: u64, b: u64) -> Option<u64> {
    let value = (i64::from(a as i32) << 32).checked_div(i64::from(b as i32))?;
    i32::try_from(value).ok().map(|value| value as u64)
}

/// RT = RA * RB + RC, a part of it.
fn multiply_add(s: &mut State, w: u32, f: fn(u64, u64, u64) -> u64) -> Done {
    let [a, b, c] = [ra(w), rb(w), rc(w)].map(|number| s.gpr[number as usize]);
    s.gpr[rt(w) as usize] = f(a, b, c);
    Ok(())
}

/// RT = RA mod RB. By zero, and where the quotient has no place: undefined, 0 here.
fn modulo(s: &mut State, w: u32, f: fn(u64, u64) -> Option<u64>) -> Done {
    let value = f(s.gpr[ra(w) as usize], s.gpr[rb(w) as usize]);
    s.gpr[rt(w) as usize] = value.unwrap_or(0);
    Ok(())
}

/// Traps if a condition of TO holds (§3.3.11).
fn trap(w: u32, signed: std::cmp::Ordering, unsigned: std::cmp::Ordering) -> Done {
    let to = rt(w);
    let holds = to & 16 != 0 && signed.is_lt()
        || to & 8 != 0 && signed.is_gt()
        || to & 4 != 0 && signed.is_eq()
        || to & 2 != 0 && unsigned.is_lt()
        || to & 1 != 0 && unsigned.is_gt();
    if holds { Err(Trap::Condition) } else { Ok(()) }
}

fn trap_word(w: u32, a: u64, b: u64) -> Done {
    trap(w, (a as i32).cmp(&(b as i32)), (a as u32).cmp(&(b as u32)))
}

fn trap_doubleword(w: u32, a: u64, b: u64) -> Done {
    trap(w, (a as i64).cmp(&(b as i64)), a.cmp(&b))
}

/// The sums of bits of each byte.
fn popcntb(value: u64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes().map(|byte| byte.count_ones() as u8))
}

fn popcntw(value: u64) -> u64 {
    u64::from((value >> 32).count_ones()) << 32 | u64::from((value as u32).count_ones())
}

/// Parity of the lowest bits of the bytes.
fn prtyd(value: u64) -> u64 {
    u64::from((value & 0x0101_0101_0101_0101).count_ones() & 1)
}

fn prtyw(value: u64) -> u64 {
    prtyd(value >> 32) << 32 | prtyd(value & 0xffff_ffff)
}

fn cmpb(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    let (a, b) = (s.gpr[rt(w) as usize].to_ne_bytes(), s.gpr[rb(w) as usize].to_ne_bytes());
    let mut equal = [0; 8];
    for (to, (a, b)) in equal.iter_mut().zip(a.into_iter().zip(b)) {
        *to = if a == b { 0xff } else { 0 };
    }
    s.gpr[ra(w) as usize] = u64::from_ne_bytes(equal);
    Ok(())
}

fn bpermd(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    let (indices, bits) = (s.gpr[rt(w) as usize].to_le_bytes(), s.gpr[rb(w) as usize]);
    let mut value = 0;
    for (number, index) in indices.into_iter().enumerate() {
        if index < 64 {
            value |= (bits >> (63 - index) & 1) << number;
        }
    }
    s.gpr[ra(w) as usize] = value;
    Ok(())
}

/// Compares a byte with two ranges; one if L is 0.
fn cmprb(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    let (value, ranges) = (s.gpr[ra(w) as usize] as u8, s.gpr[rb(w) as usize] as u32);
    let [low_1, high_1, low_2, high_2] = ranges.to_le_bytes();
    let inside =
        (low_1..=high_1).contains(&value) || l10(w) != 0 && (low_2..=high_2).contains(&value);
    s.cr[bf(w) as usize] = u8::from(inside) << 2;
    Ok(())
}

fn cmpeqb(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    let value = s.gpr[ra(w) as usize] as u8;
    let any = s.gpr[rb(w) as usize].to_ne_bytes().contains(&value);
    s.cr[bf(w) as usize] = u8::from(any) << 2;
    Ok(())
}

/// Adds with OV as the carry.
fn addex(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    let (a, b) = (s.gpr[ra(w) as usize], s.gpr[rb(w) as usize]);
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(s.xer.ov));
    s.xer.ov32 = (a ^ b ^ sum) >> 32 & 1 != 0;
    s.xer.ov = first | second;
    s.gpr[rt(w) as usize] = sum;
    Ok(())
}

/// Sixes for the digits of a sum that had no carry.
fn addg6s(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    let (a, b) = (u128::from(s.gpr[ra(w) as usize]), u128::from(s.gpr[rb(w) as usize]));
    let carries = a ^ b ^ (a + b);
    let mut value = 0;
    for digit in 0..16 {
        if carries >> (4 * digit + 4) & 1 == 0 {
            value |= 6 << (4 * digit);
        }
    }
    s.gpr[rt(w) as usize] = value;
    Ok(())
}

/// A densely packed declet of ten bits to three decimal digits (Book I appendix B).
fn declet_to_digits(declet: u64) -> u64 {
    let bit = |number: u32| declet >> (9 - number) & 1;
    let [p, q, r, st, t, u] = [bit(0), bit(1), bit(2), bit(3), bit(4), bit(5)];
    let [v, w, x, y] = [bit(6), bit(7), bit(8), bit(9)];
    let small = |a: u64, b: u64, c: u64| a << 2 | b << 1 | c;
    let (d1, d2, d3) = match (v, w, x, st, t) {
        (0, ..) => (small(p, q, r), small(st, t, u), small(w, x, y)),
        (1, 0, 0, ..) => (small(p, q, r), small(st, t, u), 8 | y),
        (1, 0, 1, ..) => (small(p, q, r), 8 | u, small(st, t, y)),
        (1, 1, 0, ..) => (8 | r, small(st, t, u), small(p, q, y)),
        (_, _, _, 0, 0) => (8 | r, 8 | u, small(p, q, y)),
        (_, _, _, 0, 1) => (8 | r, small(p, q, u), 8 | y),
        (_, _, _, 1, 0) => (small(p, q, r), 8 | u, 8 | y),
        _ => (8 | r, 8 | u, 8 | y),
    };
    d1 << 8 | d2 << 4 | d3
}

/// Three decimal digits to a declet.
fn digits_to_declet(digits: u64) -> u64 {
    let bit = |number: u32| digits >> (11 - number) & 1;
    let [a, b, c, d] = [bit(0), bit(1), bit(2), bit(3)];
    let [e, f, g, h] = [bit(4), bit(5), bit(6), bit(7)];
    let [i, j, k, m] = [bit(8), bit(9), bit(10), bit(11)];
    let bits = match (a, e, i) {
        (0, 0, 0) => [b, c, d, f, g, h, 0, j, k, m],
        (0, 0, _) => [b, c, d, f, g, h, 1, 0, 0, m],
        (0, _, 0) => [b, c, d, j, k, h, 1, 0, 1, m],
        (0, _, _) => [b, c, d, 1, 0, h, 1, 1, 1, m],
        (_, 0, 0) => [j, k, d, f, g, h, 1, 1, 0, m],
        (_, 0, _) => [f, g, d, 0, 1, h, 1, 1, 1, m],
        (_, _, 0) => [j, k, d, 0, 0, h, 1, 1, 1, m],
        _ => [0, 0, d, 1, 1, h, 1, 1, 1, m],
    };
    bits.into_iter().fold(0, |all, bit| all << 1 | bit)
}

/// Converts the two groups of each word of RS.
fn convert_groups(s: &mut State, w: u32, from_bits: u32, to_bits: u32, f: fn(u64) -> u64) -> Done {
    let value = s.gpr[rt(w) as usize];
    let mut converted = 0;
    for word in [0, 32] {
        for group in [0, 1] {
            let from = value >> (word + group * from_bits) & ((1 << from_bits) - 1);
            converted |= f(from) << (word + group * to_bits);
        }
    }
    s.gpr[ra(w) as usize] = converted;
    Ok(())
}

pub(super) const TABLE: &[Insn] = &[
    // DX-form: the displacement is in three pieces.
    call("addpcis", (0xfc00_003e, 19 << 26 | 2 << 1), "rt,d", |s, _, w| {
        let displacement = (w & 0xffc0 | ra(w) << 1 | w & 1) as i16;
        let next = s.pc.wrapping_add(4);
        s.gpr[rt(w) as usize] = next.wrapping_add((i64::from(displacement) << 16) as u64);
        Ok(())
    }),
    call("addex", (0xfc00_01fe, 31 << 26 | 170 << 1), "rt,ra,rb,cy", addex),
    call("divdeu", xo(31, 393), "o. rt,ra,rb", |s, _, w| divide(s, w, divdeu)),
    call("divde", xo(31, 425), "o. rt,ra,rb", |s, _, w| divide(s, w, divde)),
    call("divweu", xo(31, 395), "o. rt,ra,rb", |s, _, w| divide(s, w, divweu)),
    call("divwe", xo(31, 427), "o. rt,ra,rb", |s, _, w| divide(s, w, divwe)),
    call("modsw", x(31, 779), "rt,ra,rb", |s, _, w| {
        modulo(s, w, |a, b| (a as i32).checked_rem(b as i32).map(|value| value as u64))
    }),
    call("moduw", x(31, 267), "rt,ra,rb", |s, _, w| {
        modulo(s, w, |a, b| (a as u32).checked_rem(b as u32).map(u64::from))
    }),
    call("modsd", x(31, 777), "rt,ra,rb", |s, _, w| {
        modulo(s, w, |a, b| (a as i64).checked_rem(b as i64).map(|value| value as u64))
    }),
    call("modud", x(31, 265), "rt,ra,rb", |s, _, w| modulo(s, w, u64::checked_rem)),
    call("maddhd", va(48), "rt,ra,rb,rc", |s, _, w| {
        multiply_add(s, w, |a, b, c| {
            let product = i128::from(a as i64) * i128::from(b as i64);
            ((product + i128::from(c as i64)) >> 64) as u64
        })
    }),
    call("maddhdu", va(49), "rt,ra,rb,rc", |s, _, w| {
        multiply_add(s, w, |a, b, c| ((u128::from(a) * u128::from(b) + u128::from(c)) >> 64) as u64)
    }),
    call("maddld", va(51), "rt,ra,rb,rc", |s, _, w| {
        multiply_add(s, w, |a, b, c| a.wrapping_mul(b).wrapping_add(c))
    }),
    // All ones where there is no random number: never is one here.
    call("darn", x(31, 755), "rt,l", |s, _, w| {
        s.gpr[rt(w) as usize] = u64::MAX;
        Ok(())
    }),
    call("twi", primary(3), "to,ra,si", |s, _, w| {
        trap_word(w, s.gpr[ra(w) as usize], si(w) as i32 as u64)
    }),
    call("tw", x(31, 4), "to,ra,rb", |s, _, w| {
        trap_word(w, s.gpr[ra(w) as usize], s.gpr[rb(w) as usize])
    }),
    call("tdi", primary(2), "to,ra,si", |s, _, w| {
        trap_doubleword(w, s.gpr[ra(w) as usize], si(w) as i32 as u64)
    }),
    call("td", x(31, 68), "to,ra,rb", |s, _, w| {
        trap_doubleword(w, s.gpr[ra(w) as usize], s.gpr[rb(w) as usize])
    }),
    call("popcntb", x(31, 122), "ra,rs", |s, _, w| unary(s, w, popcntb)),
    call("popcntw", x(31, 378), "ra,rs", |s, _, w| unary(s, w, popcntw)),
    call("popcntd", x(31, 506), "ra,rs", |s, _, w| {
        unary(s, w, |value| u64::from(value.count_ones()))
    }),
    call("prtyw", x(31, 154), "ra,rs", |s, _, w| unary(s, w, prtyw)),
    call("prtyd", x(31, 186), "ra,rs", |s, _, w| unary(s, w, prtyd)),
    call("cmpb", x(31, 508), "ra,rs,rb", cmpb),
    call("bpermd", x(31, 252), "ra,rs,rb", bpermd),
    call("cmprb", x(31, 192), "bf,l,ra,rb", cmprb),
    call("cmpeqb", x(31, 224), "bf,ra,rb", cmpeqb),
    call("extswsli", xs(31, 445), ". ra,rs,sh6", |s, _, w| {
        let value =
            (i64::from(s.gpr[rt(w) as usize] as i32) as u64) << sh6(w) & mask(0, 63 - sh6(w));
        s.gpr[ra(w) as usize] = value;
        if last(w) != 0 {
            s.record(value);
        }
        Ok(())
    }),
    call("addg6s", xo(31, 74), "rt,ra,rb", addg6s),
    call("cdtbcd", x(31, 282), "ra,rs", |s, _, w| convert_groups(s, w, 10, 12, declet_to_digits)),
    call("cbcdtd", x(31, 314), "ra,rs", |s, _, w| convert_groups(s, w, 12, 10, digits_to_declet)),
];
