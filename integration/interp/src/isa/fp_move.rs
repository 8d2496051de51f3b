//! Floating-point moves, loads, stores and FPSCR (Power ISA 3.0B, Book I §4.6.2 to §4.6.5,
//! §4.6.10).

use super::fields::*;
use super::fp_arith::{DOUBLE_EDGES, record, test_divide, test_root};
use super::operands::{ea_d, ea_x};
use super::vmx::Done;
use super::vsx::{Elements, need_vsx, scalar};
use super::{Insn, call};
use crate::float::{double_to_single, fpscr, single_to_double};
use crate::ram::{Ram, Word};
use crate::state::State;

const SIGN: u64 = 1 << 63;

/// FRT = f(FRA, FRB), bits only.
fn bits(s: &mut State, w: u32, f: fn(u64, u64) -> u64) -> Done {
    s.need_fp()?;
    let value = f(s.fpr(ra(w)), s.fpr(rb(w)));
    s.set_fpr(rt(w), value);
    record(s, w);
    Ok(())
}

/// Where an access is.
#[derive(Clone, Copy)]
enum At {
    Displacement,
    Index,
}

impl At {
    fn ea(self, s: &State, w: u32, update: bool) -> u64 {
        match (self, update) {
            (Self::Displacement, false) => ea_d(s, w, si(w)),
            (Self::Index, false) => ea_x(s, w),
            (Self::Displacement, true) => s.gpr[ra(w) as usize].wrapping_add(si(w) as i32 as u64),
            (Self::Index, true) => s.gpr[ra(w) as usize].wrapping_add(s.gpr[rb(w) as usize]),
        }
    }
}

fn load<T: Word>(
    s: &mut State,
    ram: &Ram<'_>,
    w: u32,
    (at, update): (At, bool),
    f: fn(u64) -> u64,
) -> Done {
    s.need_fp()?;
    let ea = at.ea(s, w, update);
    let value = s.load::<T>(ram, ea)?.widen();
    s.set_fpr(rt(w), f(value));
    if update {
        s.gpr[ra(w) as usize] = ea;
    }
    Ok(())
}

fn store<T: Word>(
    s: &mut State,
    ram: &Ram<'_>,
    w: u32,
    (at, update): (At, bool),
    f: fn(u64) -> u64,
) -> Done {
    s.need_fp()?;
    let ea = at.ea(s, w, update);
    let value = T::narrow(f(s.fpr(rt(w))));
    s.store(ram, ea, value)?;
    if update {
        s.gpr[ra(w) as usize] = ea;
    }
    Ok(())
}

const D: (At, bool) = (At::Displacement, false);
const DU: (At, bool) = (At::Displacement, true);
const X: (At, bool) = (At::Index, false);
const XU: (At, bool) = (At::Index, true);

fn same(value: u64) -> u64 {
    value
}

fn single(value: u64) -> u64 {
    single_to_double(value as u32)
}

fn to_single(value: u64) -> u64 {
    double_to_single(value).into()
}

/// Sets bits of FPSCR under a mask, as moves to it do: FEX and VX follow from the others.
fn set_fpscr(s: &mut State, value: u64, mask: u64) {
    let mask = mask & fpscr::WRITABLE;
    s.fpscr = s.fpscr & !mask | value & mask;
    s.summarise();
}

/// Bits of `mask` that become enabled exceptions interrupt.
fn finish_fpscr(s: &mut State, w: u32) -> Done {
    record(s, w);
    let pending = s.fpscr;
    s.float_trap(pending)
}

/// A pair of doublewords in an even register and the next.
fn load_pair(s: &mut State, ram: &Ram<'_>, w: u32, ea: u64) -> Done {
    s.need_fp()?;
    let value = s.load_quad(ram, ea)?;
    s.set_fpr(rt(w) & !1, (value >> 64) as u64);
    s.set_fpr(rt(w) | 1, value as u64);
    Ok(())
}

fn store_pair(s: &mut State, ram: &Ram<'_>, w: u32, ea: u64) -> Done {
    s.need_fp()?;
    let value = u128::from(s.fpr(rt(w) & !1)) << 64 | u128::from(s.fpr(rt(w) | 1));
    s.store_quad(ram, ea, value)
}

/// mffs and its kin: FRT = FPSCR, or a part, and a part of FPSCR changes.
fn move_fpscr(s: &mut State, w: u32, read: u64, mask: u64, value: u64) -> Done {
    s.need_fp()?;
    let old = s.fpscr;
    s.set_fpr(rt(w), old & read);
    set_fpscr(s, value, mask);
    Ok(())
}

const ENABLES: u64 = fpscr::VE | fpscr::OE | fpscr::UE | fpscr::ZE | fpscr::XE;
const NON_IEEE: u64 = 4;
const DECIMAL_ROUNDING: u64 = 7 << 32;
/// What mffsl, mffscrn and so on show.
const CONTROLS: u64 = DECIMAL_ROUNDING | ENABLES | NON_IEEE | fpscr::RN;
const STATUS: u64 = fpscr::FR | fpscr::FI | fpscr::FPRF;

fn mtfsf(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    s.need_fp()?;
    let value = s.fpr(rb(w));
    let (all, upper) = (w >> 25 & 1 != 0, w >> 16 & 1);
    let mask = if all {
        u64::MAX
    } else {
        (0..8).fold(0, |mask, field| {
            let chosen = w >> (17 + field) & 1 != 0;
            mask | if chosen { 0xf << (4 * field + upper * 32) } else { 0 }
        })
    };
    set_fpscr(s, value, mask);
    finish_fpscr(s, w)
}

fn mtfsfi(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    s.need_fp()?;
    let upper = w >> 16 & 1;
    let shift = 4 * (7 - bf(w)) + upper * 32;
    set_fpscr(s, u64::from(w >> 12 & 0xf) << shift, 0xf << shift);
    finish_fpscr(s, w)
}

/// Bit BT of FPSCR's lower half becomes 0 or 1; an exception that becomes 1 sets FX.
fn set_bit(s: &mut State, w: u32, on: bool) -> Done {
    s.need_fp()?;
    let bit = 1u64 << (31 - rt(w));
    if on && bit & fpscr::STICKY != 0 {
        s.add_exceptions(bit);
    } else {
        set_fpscr(s, if on { bit } else { 0 }, bit);
    }
    finish_fpscr(s, w)
}

/// BF = a field of FPSCR, whose exceptions are reset.
fn mcrfs(s: &mut State, _: &Ram<'_>, w: u32) -> Done {
    s.need_fp()?;
    let shift = 4 * (7 - bfa(w));
    s.cr[bf(w) as usize] = (s.fpscr >> shift) as u8 & 0xf;
    let reset = (fpscr::STICKY | fpscr::FX) & 0xf << shift;
    set_fpscr(s, 0, reset);
    Ok(())
}

/// Tests of all elements: FG and FE if one of them has it.
fn test_elements(s: &mut State, w: u32, format: Elements, f: impl Fn(u64, u64) -> u8) -> Done {
    need_vsx(s)?;
    let field = (0..format.count()).fold(8, |all, number| {
        all | f(format.get(s.vsr[xa(w)], number), format.get(s.vsr[xb(w)], number))
    });
    s.cr[bf(w) as usize] = field;
    Ok(())
}

const SINGLE_EDGES: [i32; 3] = [-126, 127, 23];

pub(super) const TABLE: &[Insn] = &[
    call("fmr", x(63, 72), ". frt,frb", |s, _, w| bits(s, w, |_, b| b)),
    call("fneg", x(63, 40), ". frt,frb", |s, _, w| bits(s, w, |_, b| b ^ SIGN)),
    call("fabs", x(63, 264), ". frt,frb", |s, _, w| bits(s, w, |_, b| b & !SIGN)),
    call("fnabs", x(63, 136), ". frt,frb", |s, _, w| bits(s, w, |_, b| b | SIGN)),
    call("fcpsgn", x(63, 8), ". frt,fra,frb", |s, _, w| bits(s, w, |a, b| a & SIGN | b & !SIGN)),
    call("fmrgew", x(63, 966), "frt,fra,frb", |s, _, w| {
        bits(s, w & !1, |a, b| a & 0xffff_ffff_0000_0000 | b >> 32)
    }),
    call("fmrgow", x(63, 838), "frt,fra,frb", |s, _, w| {
        bits(s, w & !1, |a, b| a << 32 | b & 0xffff_ffff)
    }),
    call("lfs", primary(48), "frt,d(ra)", |s, ram, w| load::<u32>(s, ram, w, D, single)),
    call("lfsu", primary(49), "frt,d(ra)", |s, ram, w| load::<u32>(s, ram, w, DU, single)),
    call("lfsx", x(31, 535), "frt,ra0,rb", |s, ram, w| load::<u32>(s, ram, w, X, single)),
    call("lfsux", x(31, 567), "frt,ra,rb", |s, ram, w| load::<u32>(s, ram, w, XU, single)),
    call("lfd", primary(50), "frt,d(ra)", |s, ram, w| load::<u64>(s, ram, w, D, same)),
    call("lfdu", primary(51), "frt,d(ra)", |s, ram, w| load::<u64>(s, ram, w, DU, same)),
    call("lfdx", x(31, 599), "frt,ra0,rb", |s, ram, w| load::<u64>(s, ram, w, X, same)),
    call("lfdux", x(31, 631), "frt,ra,rb", |s, ram, w| load::<u64>(s, ram, w, XU, same)),
    call("lfiwax", x(31, 855), "frt,ra0,rb", |s, ram, w| {
        load::<u32>(s, ram, w, X, |value| value as i32 as u64)
    }),
    call("lfiwzx", x(31, 887), "frt,ra0,rb", |s, ram, w| load::<u32>(s, ram, w, X, same)),
    call("stfs", primary(52), "frs,d(ra)", |s, ram, w| store::<u32>(s, ram, w, D, to_single)),
    call("stfsu", primary(53), "frs,d(ra)", |s, ram, w| store::<u32>(s, ram, w, DU, to_single)),
    call("stfsx", x(31, 663), "frs,ra0,rb", |s, ram, w| store::<u32>(s, ram, w, X, to_single)),
    call("stfsux", x(31, 695), "frs,ra,rb", |s, ram, w| store::<u32>(s, ram, w, XU, to_single)),
    call("stfd", primary(54), "frs,d(ra)", |s, ram, w| store::<u64>(s, ram, w, D, same)),
    call("stfdu", primary(55), "frs,d(ra)", |s, ram, w| store::<u64>(s, ram, w, DU, same)),
    call("stfdx", x(31, 727), "frs,ra0,rb", |s, ram, w| store::<u64>(s, ram, w, X, same)),
    call("stfdux", x(31, 759), "frs,ra,rb", |s, ram, w| store::<u64>(s, ram, w, XU, same)),
    call("stfiwx", x(31, 983), "frs,ra0,rb", |s, ram, w| store::<u32>(s, ram, w, X, same)),
    call("lfdp", ds(57, 0), "frt,ds(ra)", |s, ram, w| {
        load_pair(s, ram, w, ea_d(s, w, ds_displacement(w)))
    }),
    call("lfdpx", x(31, 791), "frt,ra0,rb", |s, ram, w| load_pair(s, ram, w, ea_x(s, w))),
    call("stfdp", ds(61, 0), "frs,ds(ra)", |s, ram, w| {
        store_pair(s, ram, w, ea_d(s, w, ds_displacement(w)))
    }),
    call("stfdpx", x(31, 919), "frs,ra0,rb", |s, ram, w| store_pair(s, ram, w, ea_x(s, w))),
    call("mffs", x_by_a(63, 583, 0), ". frt", |s, _, w| {
        move_fpscr(s, w, u64::MAX, 0, 0)?;
        record(s, w);
        Ok(())
    }),
    call("mffsce", x_by_a(63, 583, 1), "frt", |s, _, w| move_fpscr(s, w, u64::MAX, ENABLES, 0)),
    call("mffscdrn", x_by_a(63, 583, 20), "frt,frb", |s, _, w| {
        let value = s.fpr(rb(w));
        move_fpscr(s, w, CONTROLS, DECIMAL_ROUNDING, value)
    }),
    call("mffscdrni", x_by_a(63, 583, 21), "frt,drm", |s, _, w| {
        move_fpscr(s, w, CONTROLS, DECIMAL_ROUNDING, u64::from(rb(w) & 7) << 32)
    }),
    call("mffscrn", x_by_a(63, 583, 22), "frt,frb", |s, _, w| {
        let value = s.fpr(rb(w));
        move_fpscr(s, w, CONTROLS, fpscr::RN, value)
    }),
    call("mffscrni", x_by_a(63, 583, 23), "frt,rm", |s, _, w| {
        move_fpscr(s, w, CONTROLS, fpscr::RN, u64::from(rb(w) & 3))
    }),
    call("mffsl", x_by_a(63, 583, 24), "frt", |s, _, w| move_fpscr(s, w, CONTROLS | STATUS, 0, 0)),
    call("mtfsf", x(63, 711), ". flm,frb", mtfsf),
    call("mtfsfi", x(63, 134), ". bf,u", mtfsfi),
    call("mtfsb0", x(63, 70), ". bt", |s, _, w| set_bit(s, w, false)),
    call("mtfsb1", x(63, 38), ". bt", |s, _, w| set_bit(s, w, true)),
    call("mcrfs", x(63, 64), "bf,bfa", mcrfs),
    call("xstdivdp", xx3(61), "bf,xa,xb", |s, _, w| {
        need_vsx(s)?;
        let (a, b) = (scalar(s, xa(w)), scalar(s, xb(w)));
        s.cr[bf(w) as usize] = test_divide(a, b, DOUBLE_EDGES);
        Ok(())
    }),
    call("xstsqrtdp", xx2(106), "bf,xb", |s, _, w| {
        need_vsx(s)?;
        s.cr[bf(w) as usize] = test_root(scalar(s, xb(w)), -1022, 52);
        Ok(())
    }),
    call("xvtdivdp", xx3(125), "bf,xa,xb", |s, _, w| {
        test_elements(s, w, Elements::Double, |a, b| test_divide(a, b, DOUBLE_EDGES))
    }),
    call("xvtdivsp", xx3(93), "bf,xa,xb", |s, _, w| {
        test_elements(s, w, Elements::Single, |a, b| test_divide(a, b, SINGLE_EDGES))
    }),
    call("xvtsqrtdp", xx2(234), "bf,xb", |s, _, w| {
        test_elements(s, w, Elements::Double, |_, b| test_root(b, -1022, 52))
    }),
    call("xvtsqrtsp", xx2(170), "bf,xb", |s, _, w| {
        test_elements(s, w, Elements::Single, |_, b| test_root(b, -126, 23))
    }),
];
