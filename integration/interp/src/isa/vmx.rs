//! What the VMX instructions have in common (Power ISA 3.0B, Book I chapter 6).

use super::fields::*;
use crate::bits::msr;
use crate::lanes::{self, Lane};
use crate::state::State;
use crate::trap::Trap;

pub(super) type Done = Result<(), Trap>;

/// VSCR.SAT: something saturated.
const SAT: u32 = 1;

pub(super) fn need_vmx(s: &State) -> Done {
    if s.msr() & msr::VEC != 0 { Ok(()) } else { Err(Trap::VmxUnavailable) }
}

/// VRT = f(VRB).
pub(super) fn unary(s: &mut State, w: u32, f: impl Fn(u128) -> u128) -> Done {
    need_vmx(s)?;
    let value = f(s.vr(rb(w)));
    s.set_vr(rt(w), value);
    Ok(())
}

/// VRT = f(VRA, VRB).
pub(super) fn binary(s: &mut State, w: u32, f: impl Fn(u128, u128) -> u128) -> Done {
    need_vmx(s)?;
    let value = f(s.vr(ra(w)), s.vr(rb(w)));
    s.set_vr(rt(w), value);
    Ok(())
}

/// VRT = f(VRA, VRB, VRC).
pub(super) fn ternary(s: &mut State, w: u32, f: impl Fn(u128, u128, u128) -> u128) -> Done {
    need_vmx(s)?;
    let value = f(s.vr(ra(w)), s.vr(rb(w)), s.vr(rc(w)));
    s.set_vr(rt(w), value);
    Ok(())
}

/// Each element of VRT = f(elements of VRA and VRB).
pub(super) fn each<T: Lane>(s: &mut State, w: u32, f: impl Fn(T, T) -> T) -> Done {
    binary(s, w, |a, b| lanes::map2(a, b, &f))
}

/// Each element of VRT = f(element of VRB).
pub(super) fn each1<T: Lane>(s: &mut State, w: u32, f: impl Fn(T) -> T) -> Done {
    unary(s, w, |b| lanes::map(b, &f))
}

/// The nearest value of T, and whether it is another one.
pub(super) fn clamp<T: TryFrom<i128> + Saturate>(value: i128, saturated: &mut bool) -> T {
    match T::try_from(value) {
        Ok(value) => value,
        Err(_) => {
            *saturated = true;
            if value < 0 { T::LEAST } else { T::MOST }
        }
    }
}

/// Types that results are saturated to.
pub(super) trait Saturate {
    const LEAST: Self;
    const MOST: Self;
}

macro_rules! saturate {
    ($($t:ty),*) => {
        $(impl Saturate for $t {
            const LEAST: Self = Self::MIN;
            const MOST: Self = Self::MAX;
        })*
    };
}

saturate!(i8, u8, i16, u16, i32, u32);

/// VRT is a vector of elements that may have saturated.
pub(super) fn saturating(
    s: &mut State,
    w: u32,
    f: impl Fn(u128, u128, u128, &mut bool) -> u128,
) -> Done {
    need_vmx(s)?;
    let mut saturated = false;
    let value = f(s.vr(ra(w)), s.vr(rb(w)), s.vr(rc(w)), &mut saturated);
    s.set_vr(rt(w), value);
    if saturated {
        s.vscr |= SAT;
    }
    Ok(())
}

/// Elements of VRT = f(elements of VRA and VRB), saturated.
pub(super) fn each_saturating<T>(s: &mut State, w: u32, f: impl Fn(i128, i128) -> i128) -> Done
where
    T: Lane + Into<i128> + TryFrom<i128> + Saturate,
{
    saturating(s, w, |a, b, _, saturated| {
        lanes::from_fn::<T>(|number| {
            let (a, b): (T, T) = (lanes::get(a, number), lanes::get(b, number));
            clamp(f(a.into(), b.into()), saturated)
        })
    })
}
