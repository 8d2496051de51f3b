//! VMX comparison, logical, rotate, shift and count (Power ISA 3.0B, Book I §6.9.3 to §6.9.5,
//! §6.14, §6.15).

use super::fields::*;
use super::vmx::*;
use super::{Insn, call};
use crate::bits::mask;
use crate::lanes::{self, Lane, from_fn, get};
use crate::state::State;

/// The record bit of VC-forms.
const RECORD: u32 = 1 << 10;

/// CR field 6: all true, all false.
pub(super) fn record_all(s: &mut State, all: u128) {
    s.cr[6] = u8::from(all == u128::MAX) << 3 | u8::from(all == 0) << 1;
}

/// Each element of VRT all ones or zeros.
fn test<T: Lane>(s: &mut State, w: u32, f: impl Fn(T, T) -> bool) -> Done {
    each::<T>(s, w, |a, b| T::of(if f(a, b) { u64::MAX } else { 0 }))?;
    if w & RECORD != 0 {
        let all = s.vr(rt(w));
        record_all(s, all);
    }
    Ok(())
}

/// Rotates VRA's elements and keeps those bits that VRB's mask says; of `insert`, those it does
/// not say come from VRT.
fn rotate<T: Lane>(s: &mut State, w: u32, insert: bool) -> Done {
    need_vmx(s)?;
    let (a, b, old) = (s.vr(ra(w)), s.vr(rb(w)), s.vr(rt(w)));
    let bits = T::BITS;
    let low = u64::MAX >> (64 - bits);
    let value = from_fn::<T>(|number| {
        let (a, b) = (get::<T>(a, number).bits(), get::<T>(b, number).bits() as u32);
        let [begin, end, amount] = [b >> 16, b >> 8, b].map(|field| field & (bits - 1));
        let rotated = if amount == 0 { a } else { (a << amount | a >> (bits - amount)) & low };
        let offset = 64 - bits;
        let kept = mask(begin + offset, end + offset) & low;
        let rest = if insert { get::<T>(old, number).bits() & !kept } else { 0 };
        T::of(rotated & kept | rest)
    });
    s.set_vr(rt(w), value);
    Ok(())
}

/// RT = how many bytes from one end have an even number in their last bit.
fn count_even(s: &mut State, w: u32, f: fn(u128) -> u32) -> Done {
    need_vmx(s)?;
    let odd = lanes::map::<u8>(s.vr(rb(w)), |byte| if byte & 1 != 0 { 0xff } else { 0 });
    s.gpr[rt(w) as usize] = u64::from(f(odd) / 8);
    Ok(())
}

/// Gathers bits by bytes: the transpose of each doubleword.
fn transpose(doubleword: u64) -> u64 {
    let mut value = 0;
    for row in 0..8 {
        for column in 0..8 {
            value |= (doubleword >> (row * 8 + column) & 1) << (column * 8 + row);
        }
    }
    value
}

fn bit_permute_quad(a: u128, b: u128) -> u128 {
    let mut value = 0;
    for number in 0..16 {
        let index = get::<u8>(b, number);
        if index < 128 {
            value |= (a >> (127 - index) & 1) << (15 - number);
        }
    }
    value << 64
}

fn bit_permute_doubleword(a: u128, b: u128) -> u128 {
    from_fn::<u64>(|half| {
        (0..8).fold(0, |value, number| {
            let index = get::<u8>(b, 8 * half + number);
            let bit = if index < 64 { get::<u64>(a, half) >> (63 - index) & 1 } else { 0 };
            value | bit << (7 - number)
        })
    })
}

/// Parity of the last bits of bytes.
fn parity(bytes: u64) -> u64 {
    u64::from((bytes & 0x0101_0101_0101_0101).count_ones() & 1)
}

pub(super) const TABLE: &[Insn] = &[
    call("vcmpequb", vc(6), "; vrt,vra,vrb", |s, _, w| test::<u8>(s, w, |a, b| a == b)),
    call("vcmpequh", vc(70), "; vrt,vra,vrb", |s, _, w| test::<u16>(s, w, |a, b| a == b)),
    call("vcmpequw", vc(134), "; vrt,vra,vrb", |s, _, w| test::<u32>(s, w, |a, b| a == b)),
    call("vcmpequd", vc(199), "; vrt,vra,vrb", |s, _, w| test::<u64>(s, w, |a, b| a == b)),
    call("vcmpgtsb", vc(774), "; vrt,vra,vrb", |s, _, w| test::<i8>(s, w, |a, b| a > b)),
    call("vcmpgtsh", vc(838), "; vrt,vra,vrb", |s, _, w| test::<i16>(s, w, |a, b| a > b)),
    call("vcmpgtsw", vc(902), "; vrt,vra,vrb", |s, _, w| test::<i32>(s, w, |a, b| a > b)),
    call("vcmpgtsd", vc(967), "; vrt,vra,vrb", |s, _, w| test::<i64>(s, w, |a, b| a > b)),
    call("vcmpgtub", vc(518), "; vrt,vra,vrb", |s, _, w| test::<u8>(s, w, |a, b| a > b)),
    call("vcmpgtuh", vc(582), "; vrt,vra,vrb", |s, _, w| test::<u16>(s, w, |a, b| a > b)),
    call("vcmpgtuw", vc(646), "; vrt,vra,vrb", |s, _, w| test::<u32>(s, w, |a, b| a > b)),
    call("vcmpgtud", vc(711), "; vrt,vra,vrb", |s, _, w| test::<u64>(s, w, |a, b| a > b)),
    call("vcmpneb", vc(7), "; vrt,vra,vrb", |s, _, w| test::<u8>(s, w, |a, b| a != b)),
    call("vcmpneh", vc(71), "; vrt,vra,vrb", |s, _, w| test::<u16>(s, w, |a, b| a != b)),
    call("vcmpnew", vc(135), "; vrt,vra,vrb", |s, _, w| test::<u32>(s, w, |a, b| a != b)),
    call("vcmpnezb", vc(263), "; vrt,vra,vrb", |s, _, w| {
        test::<u8>(s, w, |a, b| a != b || a == 0 || b == 0)
    }),
    call("vcmpnezh", vc(327), "; vrt,vra,vrb", |s, _, w| {
        test::<u16>(s, w, |a, b| a != b || a == 0 || b == 0)
    }),
    call("vcmpnezw", vc(391), "; vrt,vra,vrb", |s, _, w| {
        test::<u32>(s, w, |a, b| a != b || a == 0 || b == 0)
    }),
    call("vand", vx(1028), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a & b)),
    call("vandc", vx(1092), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a & !b)),
    call("veqv", vx(1668), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| !(a ^ b))),
    call("vnand", vx(1412), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| !(a & b))),
    call("vorc", vx(1348), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a | !b)),
    call("vnor", vx(1284), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| !(a | b))),
    call("vor", vx(1156), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a | b)),
    call("vxor", vx(1220), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a ^ b)),
    call("vrlb", vx(4), "vrt,vra,vrb", |s, _, w| {
        each::<u8>(s, w, |a, b| a.rotate_left(u32::from(b & 7)))
    }),
    call("vrlh", vx(68), "vrt,vra,vrb", |s, _, w| {
        each::<u16>(s, w, |a, b| a.rotate_left(u32::from(b & 15)))
    }),
    call("vrlw", vx(132), "vrt,vra,vrb", |s, _, w| each::<u32>(s, w, |a, b| a.rotate_left(b & 31))),
    call("vrld", vx(196), "vrt,vra,vrb", |s, _, w| {
        each::<u64>(s, w, |a, b| a.rotate_left(b as u32 & 63))
    }),
    call("vrlwmi", vx(133), "vrt,vra,vrb", |s, _, w| rotate::<u32>(s, w, true)),
    call("vrlwnm", vx(389), "vrt,vra,vrb", |s, _, w| rotate::<u32>(s, w, false)),
    call("vrldmi", vx(197), "vrt,vra,vrb", |s, _, w| rotate::<u64>(s, w, true)),
    call("vrldnm", vx(453), "vrt,vra,vrb", |s, _, w| rotate::<u64>(s, w, false)),
    call("vslb", vx(260), "vrt,vra,vrb", |s, _, w| each::<u8>(s, w, |a, b| a << (b & 7))),
    call("vslh", vx(324), "vrt,vra,vrb", |s, _, w| each::<u16>(s, w, |a, b| a << (b & 15))),
    call("vslw", vx(388), "vrt,vra,vrb", |s, _, w| each::<u32>(s, w, |a, b| a << (b & 31))),
    call("vsld", vx(1476), "vrt,vra,vrb", |s, _, w| each::<u64>(s, w, |a, b| a << (b & 63))),
    call("vsrb", vx(516), "vrt,vra,vrb", |s, _, w| each::<u8>(s, w, |a, b| a >> (b & 7))),
    call("vsrh", vx(580), "vrt,vra,vrb", |s, _, w| each::<u16>(s, w, |a, b| a >> (b & 15))),
    call("vsrw", vx(644), "vrt,vra,vrb", |s, _, w| each::<u32>(s, w, |a, b| a >> (b & 31))),
    call("vsrd", vx(1732), "vrt,vra,vrb", |s, _, w| each::<u64>(s, w, |a, b| a >> (b & 63))),
    call("vsrab", vx(772), "vrt,vra,vrb", |s, _, w| each::<i8>(s, w, |a, b| a >> (b & 7))),
    call("vsrah", vx(836), "vrt,vra,vrb", |s, _, w| each::<i16>(s, w, |a, b| a >> (b & 15))),
    call("vsraw", vx(900), "vrt,vra,vrb", |s, _, w| each::<i32>(s, w, |a, b| a >> (b & 31))),
    call("vsrad", vx(964), "vrt,vra,vrb", |s, _, w| each::<i64>(s, w, |a, b| a >> (b & 63))),
    call("vsl", vx(452), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a << (b & 7))),
    call("vsr", vx(708), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a >> (b & 7))),
    call("vslo", vx(1036), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a << (b & 0x78))),
    call("vsro", vx(1100), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| a >> (b & 0x78))),
    // Each byte is shifted with its neighbour.
    call("vslv", vx(1860), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |a, b| {
            from_fn::<u8>(|number| {
                let next = if number < 15 { get::<u8>(a, number + 1) } else { 0 };
                let pair = u16::from(get::<u8>(a, number)) << 8 | u16::from(next);
                (pair << (get::<u8>(b, number) & 7) >> 8) as u8
            })
        })
    }),
    call("vsrv", vx(1796), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |a, b| {
            from_fn::<u8>(|number| {
                let previous = if number > 0 { get::<u8>(a, number - 1) } else { 0 };
                let pair = u16::from(previous) << 8 | u16::from(get::<u8>(a, number));
                (pair >> (get::<u8>(b, number) & 7)) as u8
            })
        })
    }),
    call("vclzb", vx(1794), "vrt,vrb", |s, _, w| each1::<u8>(s, w, |b| b.leading_zeros() as u8)),
    call("vclzh", vx(1858), "vrt,vrb", |s, _, w| each1::<u16>(s, w, |b| b.leading_zeros() as u16)),
    call("vclzw", vx(1922), "vrt,vrb", |s, _, w| each1(s, w, u32::leading_zeros)),
    call("vclzd", vx(1986), "vrt,vrb", |s, _, w| {
        each1::<u64>(s, w, |b| u64::from(b.leading_zeros()))
    }),
    call("vctzb", vx_by_a(1538, 28), "vrt,vrb", |s, _, w| {
        each1::<u8>(s, w, |b| b.trailing_zeros() as u8)
    }),
    call("vctzh", vx_by_a(1538, 29), "vrt,vrb", |s, _, w| {
        each1::<u16>(s, w, |b| b.trailing_zeros() as u16)
    }),
    call("vctzw", vx_by_a(1538, 30), "vrt,vrb", |s, _, w| each1(s, w, u32::trailing_zeros)),
    call("vctzd", vx_by_a(1538, 31), "vrt,vrb", |s, _, w| {
        each1::<u64>(s, w, |b| u64::from(b.trailing_zeros()))
    }),
    call("vclzlsbb", vx_by_a(1538, 0), "rt,vrb", |s, _, w| count_even(s, w, u128::leading_zeros)),
    call("vctzlsbb", vx_by_a(1538, 1), "rt,vrb", |s, _, w| count_even(s, w, u128::trailing_zeros)),
    call("vprtybw", vx_by_a(1538, 8), "vrt,vrb", |s, _, w| {
        each1::<u32>(s, w, |b| parity(b.into()) as u32)
    }),
    call("vprtybd", vx_by_a(1538, 9), "vrt,vrb", |s, _, w| each1(s, w, parity)),
    call("vprtybq", vx_by_a(1538, 10), "vrt,vrb", |s, _, w| {
        unary(s, w, |b| u128::from(parity((b >> 64) as u64 ^ b as u64)))
    }),
    call("vpopcntb", vx(1795), "vrt,vrb", |s, _, w| each1::<u8>(s, w, |b| b.count_ones() as u8)),
    call("vpopcnth", vx(1859), "vrt,vrb", |s, _, w| each1::<u16>(s, w, |b| b.count_ones() as u16)),
    call("vpopcntw", vx(1923), "vrt,vrb", |s, _, w| each1(s, w, u32::count_ones)),
    call("vpopcntd", vx(1987), "vrt,vrb", |s, _, w| {
        each1::<u64>(s, w, |b| u64::from(b.count_ones()))
    }),
    call("vgbbd", vx(1292), "vrt,vrb", |s, _, w| each1(s, w, transpose)),
    call("vbpermq", vx(1356), "vrt,vra,vrb", |s, _, w| binary(s, w, bit_permute_quad)),
    call("vbpermd", vx(1484), "vrt,vra,vrb", |s, _, w| binary(s, w, bit_permute_doubleword)),
];
