//! VMX permute, pack, merge, splat, extract and insert (Power ISA 3.0B, Book I §6.8).

use super::fields::*;
use super::vmx::*;
use super::{Insn, call};
use crate::lanes::{Lane, from_fn, get, put};
use crate::state::State;

/// Two vectors one after the other, as elements.
fn of_pair<T: Lane>(a: u128, b: u128, number: u32) -> T {
    let count = 128 / T::BITS;
    if number < count { get(a, number) } else { get(b, number - count) }
}

/// Byte `index` of the two vectors, of 0 to 31.
pub(super) fn permuted(a: u128, b: u128, index: u8) -> u8 {
    of_pair(a, b, u32::from(index & 31))
}

fn pack<T: Lane, U: Lane>(s: &mut State, w: u32) -> Done {
    binary(s, w, |a, b| from_fn::<U>(|number| U::of(of_pair::<T>(a, b, number).bits())))
}

fn pack_saturating<T, U>(s: &mut State, w: u32) -> Done
where
    T: Lane + Into<i128>,
    U: Lane + TryFrom<i128> + Saturate,
{
    saturating(s, w, |a, b, _, saturated| {
        from_fn::<U>(|number| clamp(of_pair::<T>(a, b, number).into(), saturated))
    })
}

/// The upper or lower half of VRB's elements, twice as wide.
fn unpack<T: Lane + Into<i64>, U: Lane>(s: &mut State, w: u32, low: bool) -> Done {
    let first = if low { 64 / T::BITS } else { 0 };
    unary(s, w, |b| from_fn::<U>(|number| U::of(get::<T>(b, first + number).into() as u64)))
}

/// A pixel of 1, 5, 5, 5 bits as four bytes.
fn unpack_pixels(s: &mut State, w: u32, low: bool) -> Done {
    let first = if low { 4 } else { 0 };
    unary(s, w, |b| {
        from_fn::<u32>(|number| {
            let pixel = u32::from(get::<u16>(b, first + number));
            let alpha = if pixel >> 15 != 0 { 0xff00_0000 } else { 0 };
            alpha | (pixel >> 10 & 31) << 16 | (pixel >> 5 & 31) << 8 | pixel & 31
        })
    })
}

fn pack_pixel(word: u32) -> u16 {
    let bit = (word >> 24 & 1) << 15;
    (bit | (word >> 19 & 31) << 10 | (word >> 11 & 31) << 5 | word >> 3 & 31) as u16
}

/// Elements of VRA and VRB in turn.
fn merge<T: Lane>(s: &mut State, w: u32, low: bool) -> Done {
    let first = if low { 64 / T::BITS } else { 0 };
    binary(s, w, |a, b| {
        from_fn::<T>(|number| get(if number % 2 == 0 { a } else { b }, first + number / 2))
    })
}

/// Every other word of VRA and VRB in turn.
fn merge_every_other(s: &mut State, w: u32, odd: u32) -> Done {
    binary(s, w, |a, b| {
        from_fn::<u32>(|number| get(if number % 2 == 0 { a } else { b }, number & !1 | odd))
    })
}

fn splat<T: Lane>(s: &mut State, w: u32) -> Done {
    let number = ra(w) & (128 / T::BITS - 1);
    unary(s, w, |b| from_fn::<T>(|_| get(b, number)))
}

fn splat_immediate<T: Lane>(s: &mut State, w: u32) -> Done {
    let value = (ra(w) << 27) as i32 >> 27;
    unary(s, w, |_| from_fn::<T>(|_| T::of(i64::from(value) as u64)))
}

/// The bytes from the number in UIM on, right-justified in the upper doubleword.
fn extract<T: Lane>(s: &mut State, w: u32) -> Done {
    let start = ra(w) & 15;
    unary(s, w, |b| {
        // A field that does not fit is undefined; here it goes around.
        let bytes = b.rotate_left(start * 8) >> (128 - T::BITS);
        bytes << 64
    })
}

/// The element that `extract` would have made, in the place of bytes of VRT.
fn insert<T: Lane>(s: &mut State, w: u32) -> Done {
    need_vmx(s)?;
    let start = (ra(w) & 15) * 8;
    let element = s.vr(rb(w)) >> 64 & u128::MAX >> (128 - T::BITS);
    let mask = (u128::MAX << (128 - T::BITS)).rotate_right(start);
    let value = s.vr(rt(w)) & !mask | (element << (128 - T::BITS)).rotate_right(start) & mask;
    s.set_vr(rt(w), value);
    Ok(())
}

/// RT = the element of VRB that begins at byte RA, counted from the left or from the right.
fn extract_to_gpr<T: Lane>(s: &mut State, w: u32, right: bool) -> Done {
    need_vmx(s)?;
    let index = s.gpr[ra(w) as usize] as u32 & 15;
    let bytes = T::BITS / 8;
    let b = s.vr(rb(w));
    let shift =
        if right { index * 8 } else { (16 - bytes).wrapping_sub(index).wrapping_mul(8) & 127 };
    s.gpr[rt(w) as usize] = T::of(b.rotate_right(shift) as u64).bits();
    Ok(())
}

/// A sign-extended part of each element.
fn extend<T: Lane, U: Lane + Into<i64>>(s: &mut State, w: u32) -> Done {
    each1::<T>(s, w, |b| T::of(U::of(b.bits()).into() as u64))
}

pub(super) const TABLE: &[Insn] = &[
    call("vperm", va(43), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| from_fn(|number| permuted(a, b, get(c, number))))
    }),
    call("vpermr", va(59), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| from_fn(|number| permuted(a, b, 31 - (get::<u8>(c, number) & 31))))
    }),
    call("vpermxor", va(45), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| {
            from_fn::<u8>(|number| {
                let index = get::<u8>(c, number);
                get::<u8>(a, u32::from(index >> 4)) ^ get::<u8>(b, u32::from(index & 15))
            })
        })
    }),
    call("vsel", va(42), "vrt,vra,vrb,vrc", |s, _, w| ternary(s, w, |a, b, c| a & !c | b & c)),
    call("vsldoi", (0xfc00_043f, 4 << 26 | 44), "vrt,vra,vrb,shb", |s, _, w| {
        let start = rc(w) & 15;
        binary(s, w, |a, b| from_fn::<u8>(|number| of_pair(a, b, start + number)))
    }),
    call("vpkpx", vx(782), "vrt,vra,vrb", |s, _, w| {
        binary(s, w, |a, b| from_fn(|number| pack_pixel(of_pair(a, b, number))))
    }),
    call("vpkuhum", vx(14), "vrt,vra,vrb", |s, _, w| pack::<u16, u8>(s, w)),
    call("vpkuwum", vx(78), "vrt,vra,vrb", |s, _, w| pack::<u32, u16>(s, w)),
    call("vpkudum", vx(1102), "vrt,vra,vrb", |s, _, w| pack::<u64, u32>(s, w)),
    call("vpkuhus", vx(142), "vrt,vra,vrb", |s, _, w| pack_saturating::<u16, u8>(s, w)),
    call("vpkuwus", vx(206), "vrt,vra,vrb", |s, _, w| pack_saturating::<u32, u16>(s, w)),
    call("vpkudus", vx(1230), "vrt,vra,vrb", |s, _, w| pack_saturating::<u64, u32>(s, w)),
    call("vpkshus", vx(270), "vrt,vra,vrb", |s, _, w| pack_saturating::<i16, u8>(s, w)),
    call("vpkswus", vx(334), "vrt,vra,vrb", |s, _, w| pack_saturating::<i32, u16>(s, w)),
    call("vpksdus", vx(1358), "vrt,vra,vrb", |s, _, w| pack_saturating::<i64, u32>(s, w)),
    call("vpkshss", vx(398), "vrt,vra,vrb", |s, _, w| pack_saturating::<i16, i8>(s, w)),
    call("vpkswss", vx(462), "vrt,vra,vrb", |s, _, w| pack_saturating::<i32, i16>(s, w)),
    call("vpksdss", vx(1486), "vrt,vra,vrb", |s, _, w| pack_saturating::<i64, i32>(s, w)),
    call("vupkhsb", vx(526), "vrt,vrb", |s, _, w| unpack::<i8, i16>(s, w, false)),
    call("vupkhsh", vx(590), "vrt,vrb", |s, _, w| unpack::<i16, i32>(s, w, false)),
    call("vupkhsw", vx(1614), "vrt,vrb", |s, _, w| unpack::<i32, i64>(s, w, false)),
    call("vupklsb", vx(654), "vrt,vrb", |s, _, w| unpack::<i8, i16>(s, w, true)),
    call("vupklsh", vx(718), "vrt,vrb", |s, _, w| unpack::<i16, i32>(s, w, true)),
    call("vupklsw", vx(1742), "vrt,vrb", |s, _, w| unpack::<i32, i64>(s, w, true)),
    call("vupkhpx", vx(846), "vrt,vrb", |s, _, w| unpack_pixels(s, w, false)),
    call("vupklpx", vx(974), "vrt,vrb", |s, _, w| unpack_pixels(s, w, true)),
    call("vmrghb", vx(12), "vrt,vra,vrb", |s, _, w| merge::<u8>(s, w, false)),
    call("vmrghh", vx(76), "vrt,vra,vrb", |s, _, w| merge::<u16>(s, w, false)),
    call("vmrghw", vx(140), "vrt,vra,vrb", |s, _, w| merge::<u32>(s, w, false)),
    call("vmrglb", vx(268), "vrt,vra,vrb", |s, _, w| merge::<u8>(s, w, true)),
    call("vmrglh", vx(332), "vrt,vra,vrb", |s, _, w| merge::<u16>(s, w, true)),
    call("vmrglw", vx(396), "vrt,vra,vrb", |s, _, w| merge::<u32>(s, w, true)),
    call("vmrgew", vx(1932), "vrt,vra,vrb", |s, _, w| merge_every_other(s, w, 0)),
    call("vmrgow", vx(1676), "vrt,vra,vrb", |s, _, w| merge_every_other(s, w, 1)),
    call("vspltb", vx(524), "vrt,vrb,uim", |s, _, w| splat::<u8>(s, w)),
    call("vsplth", vx(588), "vrt,vrb,uim", |s, _, w| splat::<u16>(s, w)),
    call("vspltw", vx(652), "vrt,vrb,uim", |s, _, w| splat::<u32>(s, w)),
    call("vspltisb", vx(780), "vrt,sim", |s, _, w| splat_immediate::<i8>(s, w)),
    call("vspltish", vx(844), "vrt,sim", |s, _, w| splat_immediate::<i16>(s, w)),
    call("vspltisw", vx(908), "vrt,sim", |s, _, w| splat_immediate::<i32>(s, w)),
    call("vextractub", vx(525), "vrt,vrb,uim", |s, _, w| extract::<u8>(s, w)),
    call("vextractuh", vx(589), "vrt,vrb,uim", |s, _, w| extract::<u16>(s, w)),
    call("vextractuw", vx(653), "vrt,vrb,uim", |s, _, w| extract::<u32>(s, w)),
    call("vextractd", vx(717), "vrt,vrb,uim", |s, _, w| extract::<u64>(s, w)),
    call("vinsertb", vx(781), "vrt,vrb,uim", |s, _, w| insert::<u8>(s, w)),
    call("vinserth", vx(845), "vrt,vrb,uim", |s, _, w| insert::<u16>(s, w)),
    call("vinsertw", vx(909), "vrt,vrb,uim", |s, _, w| insert::<u32>(s, w)),
    call("vinsertd", vx(973), "vrt,vrb,uim", |s, _, w| insert::<u64>(s, w)),
    call("vextublx", vx(1549), "rt,ra,vrb", |s, _, w| extract_to_gpr::<u8>(s, w, false)),
    call("vextuhlx", vx(1613), "rt,ra,vrb", |s, _, w| extract_to_gpr::<u16>(s, w, false)),
    call("vextuwlx", vx(1677), "rt,ra,vrb", |s, _, w| extract_to_gpr::<u32>(s, w, false)),
    call("vextubrx", vx(1805), "rt,ra,vrb", |s, _, w| extract_to_gpr::<u8>(s, w, true)),
    call("vextuhrx", vx(1869), "rt,ra,vrb", |s, _, w| extract_to_gpr::<u16>(s, w, true)),
    call("vextuwrx", vx(1933), "rt,ra,vrb", |s, _, w| extract_to_gpr::<u32>(s, w, true)),
    call("vextsb2w", vx_by_a(1538, 16), "vrt,vrb", |s, _, w| extend::<u32, i8>(s, w)),
    call("vextsh2w", vx_by_a(1538, 17), "vrt,vrb", |s, _, w| extend::<u32, i16>(s, w)),
    call("vextsb2d", vx_by_a(1538, 24), "vrt,vrb", |s, _, w| extend::<u64, i8>(s, w)),
    call("vextsh2d", vx_by_a(1538, 25), "vrt,vrb", |s, _, w| extend::<u64, i16>(s, w)),
    call("vextsw2d", vx_by_a(1538, 26), "vrt,vrb", |s, _, w| extend::<u64, i32>(s, w)),
    call("mfvscr", vx(1540), "vrt", |s, _, w| {
        need_vmx(s)?;
        let value = put::<u32>(0, 3, s.vscr);
        s.set_vr(rt(w), value);
        Ok(())
    }),
    call("mtvscr", vx(1604), "vrb", |s, _, w| {
        need_vmx(s)?;
        // NJ and SAT.
        s.vscr = s.vr(rb(w)) as u32 & 0x1_0001;
        Ok(())
    }),
];
