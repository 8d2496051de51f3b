//! VSX moves, permutes, logical, and what takes numbers apart (Power ISA 3.0B, Book I §7.6.1).

use super::fields::*;
use super::vmx::Done;
use super::vmx_permute::permuted;
use super::vsx::*;
use super::{Insn, Pattern, call};
use crate::bits::msr;
use crate::float::{Number, is_infinite, is_nan, is_negative, is_zero};
use crate::lanes::{Lane, from_fn, get, map, put};
use crate::state::State;
use crate::trap::Trap;

const SIGN_64: u64 = 1 << 63;
const SIGN_32: u32 = 1 << 31;

/// XT = f(XA, XB).
fn binary(s: &mut State, w: u32, f: impl Fn(u128, u128) -> u128) -> Done {
    need_vsx(s)?;
    s.vsr[xt(w)] = f(s.vsr[xa(w)], s.vsr[xb(w)]);
    Ok(())
}

/// XT = f(XB).
fn unary(s: &mut State, w: u32, f: impl Fn(u128) -> u128) -> Done {
    need_vsx(s)?;
    s.vsr[xt(w)] = f(s.vsr[xb(w)]);
    Ok(())
}

/// Doubleword 0 of XT = f(that of XB).
fn scalar_bits(s: &mut State, w: u32, f: impl Fn(u64) -> u64) -> Done {
    need_vsx(s)?;
    let value = f(scalar(s, xb(w)));
    set_scalar(s, xt(w), value);
    Ok(())
}

/// Two bits in the place of the record and the following bit.
const fn by_dm(extended: u32) -> Pattern {
    (0xfc00_04f8, 60 << 26 | extended << 3)
}

const fn dm(w: u32) -> u32 {
    w >> 8 & 3
}

/// Moves between a general register and doubleword 0, both ways; registers 32 and up need VMX.
fn need_for_move(s: &State, register: usize) -> Done {
    let (facility, trap) = if register < 32 {
        (msr::FP, Trap::FpUnavailable)
    } else {
        (msr::VEC, Trap::VmxUnavailable)
    };
    if s.msr() & facility != 0 { Ok(()) } else { Err(trap) }
}

fn move_from(s: &mut State, w: u32, f: fn(u64) -> u64) -> Done {
    need_for_move(s, xt(w))?;
    s.gpr[ra(w) as usize] = f(scalar(s, xt(w)));
    Ok(())
}

fn move_to(s: &mut State, w: u32, f: fn(u64) -> u64) -> Done {
    need_for_move(s, xt(w))?;
    let value = f(s.gpr[ra(w) as usize]);
    set_scalar(s, xt(w), value);
    Ok(())
}

/// The classes of numbers that a mask names (xststdc, xvtstdc).
pub(super) fn is_of_class<N: Number>(value: N, is_denormal: bool, mask: u32) -> bool {
    let negative = is_negative(value);
    let bit = |positive: u32| if negative { positive >> 1 } else { positive };
    if is_nan(value) {
        mask & 0x40 != 0
    } else if is_infinite(value) {
        mask & bit(0x20) != 0
    } else if is_zero(value) {
        mask & bit(0x08) != 0
    } else {
        is_denormal && mask & bit(0x02) != 0
    }
}

fn is_denormal(value: u64) -> bool {
    value << 1 >> 53 == 0 && !is_zero(value)
}

/// DCMX of vectors is in three pieces.
fn dcmx(w: u32) -> u32 {
    (w >> 6 & 1) << 6 | (w >> 2 & 1) << 5 | ra(w)
}

fn test_scalar_class(s: &mut State, w: u32, is_single: bool) -> Done {
    need_vsx(s)?;
    let value = scalar(s, xb(w));
    let mask = w >> 16 & 0x7f;
    // A single's denormals, and what is no single at all.
    let exponent = value >> 52 & 0x7ff;
    let denormal = if is_single { exponent < 0x381 && !is_zero(value) } else { is_denormal(value) };
    let is_not_single = is_single && {
        let as_single = crate::float::double_to_single(value);
        crate::float::single_to_double(as_single) != value
    };
    let field = u8::from(is_negative(value)) << 3
        | u8::from(is_of_class(value, denormal, mask)) << 1
        | u8::from(is_not_single);
    set_condition(s, w, field);
    Ok(())
}

fn test_vector_class(s: &mut State, w: u32, format: Elements) -> Done {
    let mask = dcmx(w);
    unary(s, w, |b| {
        let denormal = |number| {
            if format.is_single() {
                let bits: u32 = get(b, number);
                bits & 0x7f80_0000 == 0 && bits & 0x7f_ffff != 0
            } else {
                is_denormal(get(b, number))
            }
        };
        let test = |number| is_of_class(format.get(b, number), denormal(number), mask);
        if format.is_single() {
            from_fn::<u32>(|number| if test(number) { u32::MAX } else { 0 })
        } else {
            from_fn::<u64>(|number| if test(number) { u64::MAX } else { 0 })
        }
    })
}

/// The significand with its implied bit.
fn significand(value: u64, fraction_bits: u32) -> u64 {
    let exponent_mask = if fraction_bits == 52 { 0x7ff } else { 0xff };
    let exponent = value >> fraction_bits & exponent_mask;
    let fraction = value & ((1 << fraction_bits) - 1);
    if exponent == 0 || exponent == exponent_mask {
        fraction
    } else {
        fraction | 1 << fraction_bits
    }
}

/// Bytes within each element the other way around.
fn reverse_bytes<T: Lane>(s: &mut State, w: u32) -> Done {
    unary(s, w, |b| map::<T>(b, |element| T::of(element.bits().swap_bytes() >> (64 - T::BITS))))
}

pub(super) const TABLE: &[Insn] = &[
    call("mfvsrd", x(31, 51), "ra,xs", |s, _, w| move_from(s, w, |value| value)),
    call("mfvsrwz", x(31, 115), "ra,xs", |s, _, w| move_from(s, w, |value| value & 0xffff_ffff)),
    call("mfvsrld", x(31, 307), "ra,xs", |s, _, w| {
        need_vsx_or_vmx(s, xt(w))?;
        s.gpr[ra(w) as usize] = s.vsr[xt(w)] as u64;
        Ok(())
    }),
    call("mtvsrd", x(31, 179), "xt,ra", |s, _, w| move_to(s, w, |value| value)),
    call("mtvsrwa", x(31, 211), "xt,ra", |s, _, w| move_to(s, w, |value| value as i32 as u64)),
    call("mtvsrwz", x(31, 243), "xt,ra", |s, _, w| move_to(s, w, |value| value & 0xffff_ffff)),
    call("mtvsrdd", x(31, 435), "xt,ra0,rb", |s, _, w| {
        need_vsx_or_vmx(s, xt(w))?;
        let (high, low) = (s.gpr[ra_or_zero(w) as usize], s.gpr[rb(w) as usize]);
        s.vsr[xt(w)] = u128::from(high) << 64 | u128::from(low);
        Ok(())
    }),
    call("mtvsrws", x(31, 403), "xt,ra", |s, _, w| {
        need_vsx_or_vmx(s, xt(w))?;
        let word = s.gpr[ra(w) as usize] as u32;
        s.vsr[xt(w)] = from_fn(|_| word);
        Ok(())
    }),
    call("xxsldwi", by_dm(2), "xt,xa,xb,dm", |s, _, w| {
        binary(s, w, |a, b| {
            from_fn::<u32>(|number| match number + dm(w) {
                from @ 0..4 => get(a, from),
                from => get(b, from - 4),
            })
        })
    }),
    call("xxpermdi", by_dm(10), "xt,xa,xb,dm", |s, _, w| {
        binary(s, w, |a, b| {
            let (first, second): (u64, u64) = (get(a, dm(w) >> 1), get(b, dm(w) & 1));
            u128::from(first) << 64 | u128::from(second)
        })
    }),
    call("xxmrghw", xx3(18), "xt,xa,xb", |s, _, w| {
        binary(s, w, |a, b| from_fn::<u32>(|n| get(if n % 2 == 0 { a } else { b }, n / 2)))
    }),
    call("xxmrglw", xx3(50), "xt,xa,xb", |s, _, w| {
        binary(s, w, |a, b| from_fn::<u32>(|n| get(if n % 2 == 0 { a } else { b }, 2 + n / 2)))
    }),
    call("xxperm", xx3(26), "xt,xa,xb", |s, _, w| {
        need_vsx(s)?;
        let (a, t, control) = (s.vsr[xa(w)], s.vsr[xt(w)], s.vsr[xb(w)]);
        s.vsr[xt(w)] = from_fn(|number| permuted(a, t, get(control, number)));
        Ok(())
    }),
    call("xxpermr", xx3(58), "xt,xa,xb", |s, _, w| {
        need_vsx(s)?;
        let (a, t, control) = (s.vsr[xa(w)], s.vsr[xt(w)], s.vsr[xb(w)]);
        s.vsr[xt(w)] = from_fn(|number| permuted(a, t, 31 - (get::<u8>(control, number) & 31)));
        Ok(())
    }),
    call("xxland", xx3(130), "xt,xa,xb", |s, _, w| binary(s, w, |a, b| a & b)),
    call("xxlandc", xx3(138), "xt,xa,xb", |s, _, w| binary(s, w, |a, b| a & !b)),
    call("xxlor", xx3(146), "xt,xa,xb", |s, _, w| binary(s, w, |a, b| a | b)),
    call("xxlxor", xx3(154), "xt,xa,xb", |s, _, w| binary(s, w, |a, b| a ^ b)),
    call("xxlnor", xx3(162), "xt,xa,xb", |s, _, w| binary(s, w, |a, b| !(a | b))),
    call("xxlorc", xx3(170), "xt,xa,xb", |s, _, w| binary(s, w, |a, b| a | !b)),
    call("xxlnand", xx3(178), "xt,xa,xb", |s, _, w| binary(s, w, |a, b| !(a & b))),
    call("xxleqv", xx3(186), "xt,xa,xb", |s, _, w| binary(s, w, |a, b| !(a ^ b))),
    call("xxsel", xx4(3), "xt,xa,xb,xc", |s, _, w| {
        let select = s.vsr[xc(w)];
        binary(s, w, |a, b| a & !select | b & select)
    }),
    call("xxspltw", xx2(164), "xt,xb,uim", |s, _, w| {
        unary(s, w, |b| from_fn::<u32>(|_| get(b, ra(w) & 3)))
    }),
    call("xxspltib", (0xfc18_07fe, 60 << 26 | 360 << 1), "xt,imm8", |s, _, w| {
        need_vsx_or_vmx(s, xt(w))?;
        s.vsr[xt(w)] = from_fn(|_| (w >> 11) as u8);
        Ok(())
    }),
    // The word at a byte number, into the middle of doubleword 0; around the end if need be.
    call("xxextractuw", xx2(165), "xt,xb,uim", |s, _, w| {
        unary(s, w, |b| {
            let word = b.rotate_left((ra(w) & 15) * 8) >> 96;
            word << 64
        })
    }),
    call("xxinsertw", xx2(181), "xt,xb,uim", |s, _, w| {
        let old = s.vsr[xt(w)];
        unary(s, w, |b| {
            let word = u128::from(get::<u32>(b, 1)) << 96;
            let start = (ra(w) & 15) * 8;
            old & !(u128::MAX << 96).rotate_right(start) | word.rotate_right(start)
        })
    }),
    call("xxbrh", xx2_by_a(475, 7), "xt,xb", |s, _, w| reverse_bytes::<u16>(s, w)),
    call("xxbrw", xx2_by_a(475, 15), "xt,xb", |s, _, w| reverse_bytes::<u32>(s, w)),
    call("xxbrd", xx2_by_a(475, 23), "xt,xb", |s, _, w| reverse_bytes::<u64>(s, w)),
    call("xxbrq", xx2_by_a(475, 31), "xt,xb", |s, _, w| unary(s, w, u128::swap_bytes)),
    call("xsabsdp", xx2(345), "xt,xb", |s, _, w| scalar_bits(s, w, |b| b & !SIGN_64)),
    call("xsnabsdp", xx2(361), "xt,xb", |s, _, w| scalar_bits(s, w, |b| b | SIGN_64)),
    call("xsnegdp", xx2(377), "xt,xb", |s, _, w| scalar_bits(s, w, |b| b ^ SIGN_64)),
    call("xvabssp", xx2(409), "xt,xb", |s, _, w| unary(s, w, |b| map(b, |e: u32| e & !SIGN_32))),
    call("xvnabssp", xx2(425), "xt,xb", |s, _, w| unary(s, w, |b| map(b, |e: u32| e | SIGN_32))),
    call("xvnegsp", xx2(441), "xt,xb", |s, _, w| unary(s, w, |b| map(b, |e: u32| e ^ SIGN_32))),
    call("xvabsdp", xx2(473), "xt,xb", |s, _, w| unary(s, w, |b| map(b, |e: u64| e & !SIGN_64))),
    call("xvnabsdp", xx2(489), "xt,xb", |s, _, w| unary(s, w, |b| map(b, |e: u64| e | SIGN_64))),
    call("xvnegdp", xx2(505), "xt,xb", |s, _, w| unary(s, w, |b| map(b, |e: u64| e ^ SIGN_64))),
    call("xscpsgndp", xx3(176), "xt,xa,xb", |s, _, w| {
        let a = scalar(s, xa(w));
        scalar_bits(s, w, |b| a & SIGN_64 | b & !SIGN_64)
    }),
    call("xvcpsgnsp", xx3(208), "xt,xa,xb", |s, _, w| {
        let signs = from_fn(|_| SIGN_32);
        binary(s, w, |a, b| a & signs | b & !signs)
    }),
    call("xvcpsgndp", xx3(240), "xt,xa,xb", |s, _, w| {
        let signs = from_fn(|_| SIGN_64);
        binary(s, w, |a, b| a & signs | b & !signs)
    }),
    call("xsxexpdp", xx2_by_a(347, 0), "rt,xb", |s, _, w| {
        need_vsx(s)?;
        s.gpr[rt(w) as usize] = scalar(s, xb(w)) >> 52 & 0x7ff;
        Ok(())
    }),
    call("xsxsigdp", xx2_by_a(347, 1), "rt,xb", |s, _, w| {
        need_vsx(s)?;
        s.gpr[rt(w) as usize] = significand(scalar(s, xb(w)), 52);
        Ok(())
    }),
    call("xsiexpdp", x(60, 918), "xt,ra,rb", |s, _, w| {
        need_vsx(s)?;
        let (a, b) = (s.gpr[ra(w) as usize], s.gpr[rb(w) as usize]);
        set_scalar(s, xt(w), a & 0x800f_ffff_ffff_ffff | (b & 0x7ff) << 52);
        Ok(())
    }),
    call("xvxexpdp", xx2_by_a(475, 0), "xt,xb", |s, _, w| {
        unary(s, w, |b| map(b, |e: u64| e >> 52 & 0x7ff))
    }),
    call("xvxsigdp", xx2_by_a(475, 1), "xt,xb", |s, _, w| {
        unary(s, w, |b| map(b, |e: u64| significand(e, 52)))
    }),
    call("xvxexpsp", xx2_by_a(475, 8), "xt,xb", |s, _, w| {
        unary(s, w, |b| map(b, |e: u32| e >> 23 & 0xff))
    }),
    call("xvxsigsp", xx2_by_a(475, 9), "xt,xb", |s, _, w| {
        unary(s, w, |b| map(b, |e: u32| significand(e.into(), 23) as u32))
    }),
    call("xviexpsp", xx3(216), "xt,xa,xb", |s, _, w| {
        binary(s, w, |a, b| {
            from_fn::<u32>(|n| get::<u32>(a, n) & 0x807f_ffff | (get::<u32>(b, n) & 0xff) << 23)
        })
    }),
    call("xviexpdp", xx3(248), "xt,xa,xb", |s, _, w| {
        binary(s, w, |a, b| {
            from_fn::<u64>(|n| {
                get::<u64>(a, n) & 0x800f_ffff_ffff_ffff | (get::<u64>(b, n) & 0x7ff) << 52
            })
        })
    }),
    call("xststdcdp", xx2(362), "bf,xb,dcmx", |s, _, w| test_scalar_class(s, w, false)),
    call("xststdcsp", xx2(298), "bf,xb,dcmx", |s, _, w| test_scalar_class(s, w, true)),
    call("xvtstdcsp", (0xfc00_07b8, 60 << 26 | 0x6a8), "xt,xb,dcmxv", |s, _, w| {
        test_vector_class(s, w, Elements::Single)
    }),
    call("xvtstdcdp", (0xfc00_07b8, 60 << 26 | 0x7a8), "xt,xb,dcmxv", |s, _, w| {
        test_vector_class(s, w, Elements::Double)
    }),
    // A single as it is in word 0, NaNs unchanged.
    call("xscvspdpn", xx2(331), "xt,xb", |s, _, w| {
        scalar_bits(s, w, |b| crate::float::single_to_double((b >> 32) as u32))
    }),
    call("xscvdpspn", xx2(267), "xt,xb", |s, _, w| {
        need_vsx(s)?;
        let single = crate::float::double_to_single(scalar(s, xb(w)));
        s.vsr[xt(w)] = put(put(0, 0, single), 1, single);
        Ok(())
    }),
];
