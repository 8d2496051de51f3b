//! VMX cipher, hash and polynomial instructions (Power ISA 3.0B, Book I §6.11, §6.12).

use super::fields::*;
use super::vmx::*;
use super::{Insn, call};
use crate::lanes::{from_fn, get, map};
use crate::state::State;

/// The product of polynomials over GF(2) modulo AES' x^8 + x^4 + x^3 + x + 1 (FIPS 197, §4.2).
const fn gf_multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    product
}

/// The S-box: the inverse, then an affine transformation (FIPS 197, §5.1.1).
const SBOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut value = 0;
    while value < 256 {
        // The inverse is the 254th power.
        let mut inverse = 1;
        let mut count = 0;
        while count < 254 {
            inverse = gf_multiply(inverse, value as u8);
            count += 1;
        }
        let b = inverse;
        table[value] =
            b ^ b.rotate_left(1) ^ b.rotate_left(2) ^ b.rotate_left(3) ^ b.rotate_left(4) ^ 0x63;
        value += 1;
    }
    table
};

const INVERSE_SBOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut value = 0;
    while value < 256 {
        table[SBOX[value] as usize] = value as u8;
        value += 1;
    }
    table
};

fn substitute(state: u128, table: &[u8; 256]) -> u128 {
    map::<u8>(state, |byte| table[usize::from(byte)])
}

/// Row r of the state moves by r columns: to the left, or back.
fn shift_rows(state: u128, back: bool) -> u128 {
    from_fn::<u8>(|number| {
        let (column, row) = (number / 4, number % 4);
        let from = if back { column + 4 - row } else { column + row } % 4;
        get(state, from * 4 + row)
    })
}

/// Columns times a circulant matrix of this first row.
fn mix_columns(state: u128, factors: [u8; 4]) -> u128 {
    from_fn::<u8>(|number| {
        let (column, row) = (number / 4, number % 4);
        (0..4).fold(0, |sum, other| {
            let factor = factors[((other + 4 - row) % 4) as usize];
            sum ^ gf_multiply(get(state, column * 4 + other), factor)
        })
    })
}

const MIX: [u8; 4] = [2, 3, 1, 1];
const UNMIX: [u8; 4] = [14, 11, 13, 9];

/// Products without carries of the even and odd elements, added up.
fn polynomial_sums(s: &mut State, w: u32, bits: u32) -> Done {
    binary(s, w, |a, b| {
        let mut result = 0;
        let low = u128::MAX >> (128 - bits);
        for pair in 0..64 / bits {
            let mut sum = 0u128;
            for part in 0..2 {
                let shift = (pair * 2 + part) * bits;
                let (a, b) = (a >> shift & low, b >> shift & low);
                for bit in 0..bits {
                    if b >> bit & 1 != 0 {
                        sum ^= a << bit;
                    }
                }
            }
            result |= sum << (pair * 2 * bits);
        }
        result
    })
}

/// The four functions of SHA-2 (FIPS 180-4, §4.1.2, §4.1.3): ST chooses the upper- or lower-case
/// sigma, SIX for each element which of the two.
fn sha(s: &mut State, w: u32, is_256: bool) -> Done {
    need_vmx(s)?;
    let a = s.vr(ra(w));
    let (upper, six) = (w >> 15 & 1 != 0, w >> 11 & 15);
    let value = if is_256 {
        from_fn::<u32>(|number| {
            let x: u32 = get(a, number);
            let r = |amount| x.rotate_right(amount);
            match (upper, six >> (3 - number) & 1 != 0) {
                (false, false) => r(7) ^ r(18) ^ x >> 3,
                (false, true) => r(17) ^ r(19) ^ x >> 10,
                (true, false) => r(2) ^ r(13) ^ r(22),
                (true, true) => r(6) ^ r(11) ^ r(25),
            }
        })
    } else {
        from_fn::<u64>(|number| {
            let x: u64 = get(a, number);
            let r = |amount| x.rotate_right(amount);
            match (upper, six >> (3 - 2 * number) & 1 != 0) {
                (false, false) => r(1) ^ r(8) ^ x >> 7,
                (false, true) => r(19) ^ r(61) ^ x >> 6,
                (true, false) => r(28) ^ r(34) ^ r(39),
                (true, true) => r(14) ^ r(18) ^ r(41),
            }
        })
    };
    s.set_vr(rt(w), value);
    Ok(())
}

pub(super) const TABLE: &[Insn] = &[
    call("vcipher", vx(1288), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |state, key| {
            mix_columns(shift_rows(substitute(state, &SBOX), false), MIX) ^ key
        })
    }),
    call("vcipherlast", vx(1289), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |state, key| shift_rows(substitute(state, &SBOX), false) ^ key)
    }),
    call("vncipher", vx(1352), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |state, key| {
            mix_columns(substitute(shift_rows(state, true), &INVERSE_SBOX) ^ key, UNMIX)
        })
    }),
    call("vncipherlast", vx(1353), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |state, key| substitute(shift_rows(state, true), &INVERSE_SBOX) ^ key)
    }),
    call("vsbox", vx(1480), "vrt,vra", |s, _, w| binary(s, w, |state, _| substitute(state, &SBOX))),
    call("vshasigmaw", vx(1666), "vrt,vra,st,six", |s, _, w| sha(s, w, true)),
    call("vshasigmad", vx(1730), "vrt,vra,st,six", |s, _, w| sha(s, w, false)),
    call("vpmsumb", vx(1032), "vrt,vra,vrb", |s, _, w| polynomial_sums(s, w, 8)),
    call("vpmsumh", vx(1096), "vrt,vra,vrb", |s, _, w| polynomial_sums(s, w, 16)),
    call("vpmsumw", vx(1160), "vrt,vra,vrb", |s, _, w| polynomial_sums(s, w, 32)),
    call("vpmsumd", vx(1224), "vrt,vra,vrb", |s, _, w| polynomial_sums(s, w, 64)),
];
