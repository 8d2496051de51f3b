//! VMX floating point (Power ISA 3.0B, Book I §6.10): single precision, rounded to nearest,
//! without status. With VSCR.NJ set, denormal numbers are zero.

use super::fields::*;
use super::vmx::*;
use super::vmx_bits::record_all;
use super::{Insn, call};
use crate::lanes::{from_fn, get};
use crate::state::State;

const NON_JAVA: u32 = 1 << 16;
const QUIET: u32 = 1 << 22;
const SIGN: u32 = 1 << 31;
const INFINITY: u32 = 0x7f80_0000;
const DEFAULT_NAN: u32 = 0x7fc0_0000;

fn is_nan(bits: u32) -> bool {
    bits & !SIGN > INFINITY
}

/// A denormal number as a zero of its sign, if NJ says so.
fn flush(bits: u32, non_java: bool) -> u32 {
    if non_java && bits & INFINITY == 0 { bits & SIGN } else { bits }
}

/// Elements = f(elements), NaNs going before: the first one, quiet.
fn arithmetic(s: &mut State, w: u32, operands: [u32; 3], f: impl Fn([f32; 3]) -> f32) -> Done {
    need_vmx(s)?;
    let non_java = s.vscr & NON_JAVA != 0;
    let vectors = operands.map(|number| s.vr(number));
    let value = from_fn::<u32>(|number| {
        let bits = vectors.map(|vector| flush(get(vector, number), non_java));
        if let Some(nan) = bits.into_iter().find(|&bits| is_nan(bits)) {
            return nan | QUIET;
        }
        let value = f(bits.map(f32::from_bits)).to_bits();
        if is_nan(value) { DEFAULT_NAN } else { flush(value, non_java) }
    });
    s.set_vr(rt(w), value);
    Ok(())
}

fn binary_f(s: &mut State, w: u32, f: impl Fn(f32, f32) -> f32) -> Done {
    arithmetic(s, w, [ra(w), rb(w), rb(w)], |[a, b, _]| f(a, b))
}

fn unary_f(s: &mut State, w: u32, f: impl Fn(f32) -> f32) -> Done {
    arithmetic(s, w, [rb(w); 3], |[b, ..]| f(b))
}

/// To an integral number.
fn round(s: &mut State, w: u32, f: impl Fn(f32) -> f32) -> Done {
    let non_java = s.vscr & NON_JAVA != 0;
    each1::<u32>(s, w, |bits| {
        let bits = flush(bits, non_java);
        if is_nan(bits) { bits | QUIET } else { f(f32::from_bits(bits)).to_bits() }
    })
}

/// a * c + b, where [VRA, VRB, VRC] are [a, b, c]: NaNs in the order of the registers.
fn fused(s: &mut State, w: u32, f: impl Fn(f32, f32, f32) -> f32) -> Done {
    arithmetic(s, w, [ra(w), rb(w), rc(w)], |[a, b, c]| f(a, b, c))
}

fn extreme(s: &mut State, w: u32, max: bool) -> Done {
    binary_f(s, w, |a, b| {
        // Of zeros, the one with the sign that is more so.
        let a_wins = match a.partial_cmp(&b) {
            Some(std::cmp::Ordering::Equal) => a.is_sign_positive() == max,
            Some(order) => order.is_gt() == max,
            None => true,
        };
        if a_wins { a } else { b }
    })
}

fn test(s: &mut State, w: u32, f: impl Fn(f32, f32) -> bool) -> Done {
    let non_java = s.vscr & NON_JAVA != 0;
    each::<u32>(s, w, |a, b| {
        let [a, b] = [a, b].map(|bits| f32::from_bits(flush(bits, non_java)));
        if f(a, b) { u32::MAX } else { 0 }
    })?;
    if w >> 10 & 1 != 0 {
        let all = s.vr(rt(w));
        record_all(s, all);
    }
    Ok(())
}

/// Bounds: bit 0 if above, bit 1 if below what VRB's magnitude allows.
fn bounds(s: &mut State, w: u32) -> Done {
    each::<u32>(s, w, |a, b| {
        let (a, b) = (f32::from_bits(a), f32::from_bits(b));
        // What is not ordered is out of bounds both ways.
        let above = a.partial_cmp(&b).is_none_or(|order| order.is_gt());
        let below = a.partial_cmp(&-b).is_none_or(|order| order.is_lt());
        u32::from(above) << 31 | u32::from(below) << 30
    })?;
    if w >> 10 & 1 != 0 {
        s.cr[6] = u8::from(s.vr(rt(w)) == 0) << 1;
    }
    Ok(())
}

/// Times a power of two, to an integer, saturated.
fn to_integer(s: &mut State, w: u32, least: f64, most: f64, f: impl Fn(f64) -> u32) -> Done {
    let scale = f64::from(1u32 << (ra(w) & 31));
    saturating(s, w, |_, b, _, saturated| {
        from_fn::<u32>(|number| {
            let value = f32::from_bits(get(b, number));
            if value.is_nan() {
                return 0;
            }
            let scaled = (f64::from(value) * scale).trunc();
            *saturated |= !(least..=most).contains(&scaled);
            f(scaled)
        })
    })
}

/// An integer divided by a power of two. The integer may have to be rounded; the quotient not.
fn from_integer(s: &mut State, w: u32, f: impl Fn(u32) -> f32) -> Done {
    let scale = 1.0 / (1u64 << (ra(w) & 31)) as f32;
    each1::<u32>(s, w, |bits| (f(bits) * scale).to_bits())
}

pub(super) const TABLE: &[Insn] = &[
    call("vaddfp", vx(10), "vrt,vra,vrb", |s, _, w| binary_f(s, w, |a, b| a + b)),
    call("vsubfp", vx(74), "vrt,vra,vrb", |s, _, w| binary_f(s, w, |a, b| a - b)),
    call("vmaddfp", va(46), "vrt,vra,vrc,vrb", |s, _, w| fused(s, w, |a, b, c| a.mul_add(c, b))),
    call("vnmsubfp", va(47), "vrt,vra,vrc,vrb", |s, _, w| fused(s, w, |a, b, c| -a.mul_add(c, -b))),
    call("vmaxfp", vx(1034), "vrt,vra,vrb", |s, _, w| extreme(s, w, true)),
    call("vminfp", vx(1098), "vrt,vra,vrb", |s, _, w| extreme(s, w, false)),
    call("vctsxs", vx(970), "vrt,vrb,uim", |s, _, w| {
        to_integer(s, w, i32::MIN.into(), i32::MAX.into(), |value| value as i32 as u32)
    }),
    call("vctuxs", vx(906), "vrt,vrb,uim", |s, _, w| {
        to_integer(s, w, 0.0, u32::MAX.into(), |value| value as u32)
    }),
    call("vcfsx", vx(842), "vrt,vrb,uim", |s, _, w| from_integer(s, w, |bits| bits as i32 as f32)),
    call("vcfux", vx(778), "vrt,vrb,uim", |s, _, w| from_integer(s, w, |bits| bits as f32)),
    call("vrfim", vx(714), "vrt,vrb", |s, _, w| round(s, w, f32::floor)),
    call("vrfin", vx(522), "vrt,vrb", |s, _, w| round(s, w, f32::round_ties_even)),
    call("vrfip", vx(650), "vrt,vrb", |s, _, w| round(s, w, f32::ceil)),
    call("vrfiz", vx(586), "vrt,vrb", |s, _, w| round(s, w, f32::trunc)),
    call("vcmpbfp", vc(966), "; vrt,vra,vrb", |s, _, w| bounds(s, w)),
    call("vcmpeqfp", vc(198), "; vrt,vra,vrb", |s, _, w| test(s, w, |a, b| a == b)),
    call("vcmpgefp", vc(454), "; vrt,vra,vrb", |s, _, w| test(s, w, |a, b| a >= b)),
    call("vcmpgtfp", vc(710), "; vrt,vra,vrb", |s, _, w| test(s, w, |a, b| a > b)),
    // Estimates may be better than they must.
    call("vexptefp", vx(394), "vrt,vrb", |s, _, w| unary_f(s, w, |b| f64::from(b).exp2() as f32)),
    call("vlogefp", vx(458), "vrt,vrb", |s, _, w| unary_f(s, w, |b| f64::from(b).log2() as f32)),
    call("vrefp", vx(266), "vrt,vrb", |s, _, w| unary_f(s, w, |b| 1.0 / b)),
    call("vrsqrtefp", vx(330), "vrt,vrb", |s, _, w| {
        unary_f(s, w, |b| (1.0 / f64::from(b).sqrt()) as f32)
    }),
];
