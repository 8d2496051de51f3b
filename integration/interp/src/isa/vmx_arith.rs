//! VMX integer arithmetic (Power ISA 3.0B, Book I §6.9).

use super::fields::*;
use super::vmx::*;
use super::{Insn, call};
use crate::lanes::{Lane, from_fn, get};
use crate::state::State;

/// Products of the even or the odd elements, twice as wide.
fn products<T: Lane + Into<i64>, U: Lane>(s: &mut State, w: u32, odd: u32) -> Done {
    binary(s, w, |a, b| {
        from_fn::<U>(|number| {
            let (a, b): (T, T) = (get(a, 2 * number + odd), get(b, 2 * number + odd));
            U::of(a.into().wrapping_mul(b.into()) as u64)
        })
    })
}

/// Products of unsigned words do not fit signed doublewords; their bits are the same.
fn products_uw(s: &mut State, w: u32, odd: u32) -> Done {
    binary(s, w, |a, b| {
        from_fn::<u64>(|number| {
            let (a, b): (u32, u32) = (get(a, 2 * number + odd), get(b, 2 * number + odd));
            u64::from(a) * u64::from(b)
        })
    })
}

/// The elements of T in each element of U, as f(products or so), summed up with that of VRC.
fn sums<T: Lane + Into<i128>, U: Lane + Into<i128>>(
    a: u128,
    b: u128,
    c: u128,
    mut end: impl FnMut(i128) -> U,
) -> u128 {
    let parts = U::BITS / T::BITS;
    from_fn::<U>(|number| {
        let mut sum: i128 = get::<U>(c, number).into();
        for part in number * parts..(number + 1) * parts {
            let (a, b): (T, T) = (get(a, part), get(b, part));
            sum += a.into() * b.into();
        }
        end(sum)
    })
}

/// As [`sums`] of VRA and ones.
fn across<T: Lane + Into<i128>>(s: &mut State, w: u32, signed: bool) -> Done {
    saturating(s, w, |a, b, _, saturated| {
        let parts = 32 / T::BITS;
        from_fn::<u32>(|number| {
            let start: i128 =
                if signed { get::<i32>(b, number).into() } else { get::<u32>(b, number).into() };
            let elements = number * parts..(number + 1) * parts;
            let sum = elements.fold(start, |sum, part| sum + get::<T>(a, part).into());
            if signed { clamp::<i32>(sum, saturated) as u32 } else { clamp::<u32>(sum, saturated) }
        })
    })
}

fn multiply_high_add(a: u128, b: u128, c: u128, round: i128, saturated: &mut bool) -> u128 {
    from_fn::<i16>(|number| {
        let [a, b, c] = [a, b, c].map(|vector| i128::from(get::<i16>(vector, number)));
        clamp(((a * b + round) >> 15) + c, saturated)
    })
}

fn average<T: Lane + Into<i64>>(s: &mut State, w: u32) -> Done {
    each::<T>(s, w, |a, b| T::of(((a.into() + b.into() + 1) >> 1) as u64))
}

/// The carry out of a + b + c.
fn carry_out(a: u128, b: u128, c: u128) -> u128 {
    let (sum, first) = a.overflowing_add(b);
    let (_, second) = sum.overflowing_add(c);
    u128::from(first | second)
}

/// Ten times VRA plus a digit: the product or what overflows of it.
fn times_ten(s: &mut State, w: u32, digit: bool, high: bool) -> Done {
    binary(s, w, |a, b| {
        let digit = if digit { b & 0xf } else { 0 };
        let (low, upper) = (a & u128::from(u64::MAX), a >> 64);
        let low = low * 10 + digit;
        let upper = upper * 10 + (low >> 64);
        if high { upper >> 64 } else { upper << 64 | low & u128::from(u64::MAX) }
    })
}

pub(super) const TABLE: &[Insn] = &[
    call("vaddcuw", vx(384), "vrt,vra,vrb", |s, _, w| {
        each::<u32>(s, w, |a, b| u32::from(a.checked_add(b).is_none()))
    }),
    call("vaddubm", vx(0), "vrt,vra,vrb", |s, _, w| each(s, w, u8::wrapping_add)),
    call("vadduhm", vx(64), "vrt,vra,vrb", |s, _, w| each(s, w, u16::wrapping_add)),
    call("vadduwm", vx(128), "vrt,vra,vrb", |s, _, w| each(s, w, u32::wrapping_add)),
    call("vaddudm", vx(192), "vrt,vra,vrb", |s, _, w| each(s, w, u64::wrapping_add)),
    call("vadduqm", vx(256), "vrt,vra,vrb", |s, _, w| binary(s, w, u128::wrapping_add)),
    call("vaddcuq", vx(320), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| carry_out(a, b, 0))),
    call("vaddeuqm", va(60), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| a.wrapping_add(b).wrapping_add(c & 1))
    }),
    call("vaddecuq", va(61), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| carry_out(a, b, c & 1))
    }),
    call("vaddubs", vx(512), "vrt,vra,vrb", |s, _, w| each_saturating::<u8>(s, w, |a, b| a + b)),
    call("vadduhs", vx(576), "vrt,vra,vrb", |s, _, w| each_saturating::<u16>(s, w, |a, b| a + b)),
    call("vadduws", vx(640), "vrt,vra,vrb", |s, _, w| each_saturating::<u32>(s, w, |a, b| a + b)),
    call("vaddsbs", vx(768), "vrt,vra,vrb", |s, _, w| each_saturating::<i8>(s, w, |a, b| a + b)),
    call("vaddshs", vx(832), "vrt,vra,vrb", |s, _, w| each_saturating::<i16>(s, w, |a, b| a + b)),
    call("vaddsws", vx(896), "vrt,vra,vrb", |s, _, w| each_saturating::<i32>(s, w, |a, b| a + b)),
    call("vsubcuw", vx(1408), "vrt,vra,vrb", |s, _, w| each::<u32>(s, w, |a, b| u32::from(a >= b))),
    call("vsububm", vx(1024), "vrt,vra,vrb", |s, _, w| each(s, w, u8::wrapping_sub)),
    call("vsubuhm", vx(1088), "vrt,vra,vrb", |s, _, w| each(s, w, u16::wrapping_sub)),
    call("vsubuwm", vx(1152), "vrt,vra,vrb", |s, _, w| each(s, w, u32::wrapping_sub)),
    call("vsubudm", vx(1216), "vrt,vra,vrb", |s, _, w| each(s, w, u64::wrapping_sub)),
    call("vsubuqm", vx(1280), "vrt,vra,vrb", |s, _, w| binary(s, w, u128::wrapping_sub)),
    call("vsubcuq", vx(1344), "vrt,vra,vrb", |s, _, w| binary(s, w, |a, b| carry_out(a, !b, 1))),
    call("vsubeuqm", va(62), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| a.wrapping_add(!b).wrapping_add(c & 1))
    }),
    call("vsubecuq", va(63), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| carry_out(a, !b, c & 1))
    }),
    call("vsububs", vx(1536), "vrt,vra,vrb", |s, _, w| each_saturating::<u8>(s, w, |a, b| a - b)),
    call("vsubuhs", vx(1600), "vrt,vra,vrb", |s, _, w| each_saturating::<u16>(s, w, |a, b| a - b)),
    call("vsubuws", vx(1664), "vrt,vra,vrb", |s, _, w| each_saturating::<u32>(s, w, |a, b| a - b)),
    call("vsubsbs", vx(1792), "vrt,vra,vrb", |s, _, w| each_saturating::<i8>(s, w, |a, b| a - b)),
    call("vsubshs", vx(1856), "vrt,vra,vrb", |s, _, w| each_saturating::<i16>(s, w, |a, b| a - b)),
    call("vsubsws", vx(1920), "vrt,vra,vrb", |s, _, w| each_saturating::<i32>(s, w, |a, b| a - b)),
    call("vmulesb", vx(776), "vrt,vra,vrb", |s, _, w| products::<i8, i16>(s, w, 0)),
    call("vmulesh", vx(840), "vrt,vra,vrb", |s, _, w| products::<i16, i32>(s, w, 0)),
    call("vmulesw", vx(904), "vrt,vra,vrb", |s, _, w| products::<i32, i64>(s, w, 0)),
    call("vmuleub", vx(520), "vrt,vra,vrb", |s, _, w| products::<u8, u16>(s, w, 0)),
    call("vmuleuh", vx(584), "vrt,vra,vrb", |s, _, w| products::<u16, u32>(s, w, 0)),
    call("vmuleuw", vx(648), "vrt,vra,vrb", |s, _, w| products_uw(s, w, 0)),
    call("vmulosb", vx(264), "vrt,vra,vrb", |s, _, w| products::<i8, i16>(s, w, 1)),
    call("vmulosh", vx(328), "vrt,vra,vrb", |s, _, w| products::<i16, i32>(s, w, 1)),
    call("vmulosw", vx(392), "vrt,vra,vrb", |s, _, w| products::<i32, i64>(s, w, 1)),
    call("vmuloub", vx(8), "vrt,vra,vrb", |s, _, w| products::<u8, u16>(s, w, 1)),
    call("vmulouh", vx(72), "vrt,vra,vrb", |s, _, w| products::<u16, u32>(s, w, 1)),
    call("vmulouw", vx(136), "vrt,vra,vrb", |s, _, w| products_uw(s, w, 1)),
    call("vmuluwm", vx(137), "vrt,vra,vrb", |s, _, w| each(s, w, u32::wrapping_mul)),
    call("vmhaddshs", va(32), "vrt,vra,vrb,vrc", |s, _, w| {
        saturating(s, w, |a, b, c, saturated| multiply_high_add(a, b, c, 0, saturated))
    }),
    call("vmhraddshs", va(33), "vrt,vra,vrb,vrc", |s, _, w| {
        saturating(s, w, |a, b, c, saturated| multiply_high_add(a, b, c, 0x4000, saturated))
    }),
    call("vmladduhm", va(34), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| {
            from_fn::<u16>(|number| {
                let [a, b, c] = [a, b, c].map(|vector| get::<u16>(vector, number));
                a.wrapping_mul(b).wrapping_add(c)
            })
        })
    }),
    call("vmsumudm", va(35), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| {
            let product =
                |number| u128::from(get::<u64>(a, number)) * u128::from(get::<u64>(b, number));
            product(0).wrapping_add(product(1)).wrapping_add(c)
        })
    }),
    call("vmsumubm", va(36), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| sums::<u8, u32>(a, b, c, |sum| sum as u32))
    }),
    call("vmsummbm", va(37), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| {
            from_fn::<i32>(|number| {
                (number * 4..number * 4 + 4).fold(get::<i32>(c, number), |sum, part| {
                    let (a, b): (i8, u8) = (get(a, part), get(b, part));
                    sum.wrapping_add(i32::from(a) * i32::from(b))
                })
            })
        })
    }),
    call("vmsumuhm", va(38), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| sums::<u16, u32>(a, b, c, |sum| sum as u32))
    }),
    call("vmsumuhs", va(39), "vrt,vra,vrb,vrc", |s, _, w| {
        saturating(s, w, |a, b, c, saturated| {
            sums::<u16, u32>(a, b, c, |sum| clamp(sum, saturated))
        })
    }),
    call("vmsumshm", va(40), "vrt,vra,vrb,vrc", |s, _, w| {
        ternary(s, w, |a, b, c| sums::<i16, i32>(a, b, c, |sum| sum as i32))
    }),
    call("vmsumshs", va(41), "vrt,vra,vrb,vrc", |s, _, w| {
        saturating(s, w, |a, b, c, saturated| {
            sums::<i16, i32>(a, b, c, |sum| clamp(sum, saturated))
        })
    }),
    call("vsumsws", vx(1928), "vrt,vra,vrb", |s, _, w| {
        saturating(s, w, |a, b, _, saturated| {
            let sum = (0..4)
                .fold(i128::from(b as i32), |sum, number| sum + i128::from(get::<i32>(a, number)));
            u128::from(clamp::<i32>(sum, saturated) as u32)
        })
    }),
    call("vsum2sws", vx(1672), "vrt,vra,vrb", |s, _, w| {
        saturating(s, w, |a, b, _, saturated| {
            from_fn::<u64>(|number| {
                let [first, second, third] =
                    [get::<i32>(a, 2 * number), get(a, 2 * number + 1), get(b, 2 * number + 1)]
                        .map(i128::from);
                u64::from(clamp::<i32>(first + second + third, saturated) as u32)
            })
        })
    }),
    call("vsum4sbs", vx(1800), "vrt,vra,vrb", |s, _, w| across::<i8>(s, w, true)),
    call("vsum4shs", vx(1608), "vrt,vra,vrb", |s, _, w| across::<i16>(s, w, true)),
    call("vsum4ubs", vx(1544), "vrt,vra,vrb", |s, _, w| across::<u8>(s, w, false)),
    call("vnegw", vx_by_a(1538, 6), "vrt,vrb", |s, _, w| each1(s, w, i32::wrapping_neg)),
    call("vnegd", vx_by_a(1538, 7), "vrt,vrb", |s, _, w| each1(s, w, i64::wrapping_neg)),
    call("vavgsb", vx(1282), "vrt,vra,vrb", |s, _, w| average::<i8>(s, w)),
    call("vavgsh", vx(1346), "vrt,vra,vrb", |s, _, w| average::<i16>(s, w)),
    call("vavgsw", vx(1410), "vrt,vra,vrb", |s, _, w| average::<i32>(s, w)),
    call("vavgub", vx(1026), "vrt,vra,vrb", |s, _, w| average::<u8>(s, w)),
    call("vavguh", vx(1090), "vrt,vra,vrb", |s, _, w| average::<u16>(s, w)),
    call("vavguw", vx(1154), "vrt,vra,vrb", |s, _, w| average::<u32>(s, w)),
    call("vabsdub", vx(1027), "vrt,vra,vrb", |s, _, w| each(s, w, u8::abs_diff)),
    call("vabsduh", vx(1091), "vrt,vra,vrb", |s, _, w| each(s, w, u16::abs_diff)),
    call("vabsduw", vx(1155), "vrt,vra,vrb", |s, _, w| each(s, w, u32::abs_diff)),
    call("vmaxsb", vx(258), "vrt,vra,vrb", |s, _, w| each(s, w, i8::max)),
    call("vmaxsh", vx(322), "vrt,vra,vrb", |s, _, w| each(s, w, i16::max)),
    call("vmaxsw", vx(386), "vrt,vra,vrb", |s, _, w| each(s, w, i32::max)),
    call("vmaxsd", vx(450), "vrt,vra,vrb", |s, _, w| each(s, w, i64::max)),
    call("vmaxub", vx(2), "vrt,vra,vrb", |s, _, w| each(s, w, u8::max)),
    call("vmaxuh", vx(66), "vrt,vra,vrb", |s, _, w| each(s, w, u16::max)),
    call("vmaxuw", vx(130), "vrt,vra,vrb", |s, _, w| each(s, w, u32::max)),
    call("vmaxud", vx(194), "vrt,vra,vrb", |s, _, w| each(s, w, u64::max)),
    call("vminsb", vx(770), "vrt,vra,vrb", |s, _, w| each(s, w, i8::min)),
    call("vminsh", vx(834), "vrt,vra,vrb", |s, _, w| each(s, w, i16::min)),
    call("vminsw", vx(898), "vrt,vra,vrb", |s, _, w| each(s, w, i32::min)),
    call("vminsd", vx(962), "vrt,vra,vrb", |s, _, w| each(s, w, i64::min)),
    call("vminub", vx(514), "vrt,vra,vrb", |s, _, w| each(s, w, u8::min)),
    call("vminuh", vx(578), "vrt,vra,vrb", |s, _, w| each(s, w, u16::min)),
    call("vminuw", vx(642), "vrt,vra,vrb", |s, _, w| each(s, w, u32::min)),
    call("vminud", vx(706), "vrt,vra,vrb", |s, _, w| each(s, w, u64::min)),
    call("vmul10cuq", vx(1), "vrt,vra", |s, _, w| times_ten(s, w, false, true)),
    call("vmul10uq", vx(513), "vrt,vra", |s, _, w| times_ten(s, w, false, false)),
    call("vmul10ecuq", vx(65), "vrt,vra,vrb", |s, _, w| times_ten(s, w, true, true)),
    call("vmul10euq", vx(577), "vrt,vra,vrb", |s, _, w| times_ten(s, w, true, false)),
];
