//! Fixed-point storage accesses that programs use now and then: byte-reversed, multiple, string,
//! quadword, load-and-reserve (Power ISA 3.0B, Book I §3.3.4 to §3.3.8, Book II §4.6).

use super::atomics::{load_atomic, store_atomic};
use super::fields::*;
use super::operands::{ea_d, ea_x, pair, set_pair};
use super::{Insn, call};
use crate::ram::{Ram, Word};
use crate::state::State;
use crate::trap::Trap;

type Done = Result<(), Trap>;

fn load_reversed<T: Word + Reverse>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let value = s.load::<T>(ram, ea_x(s, w))?.reverse();
    s.gpr[rt(w) as usize] = value.widen();
    Ok(())
}

fn store_reversed<T: Word + Reverse>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let value = T::narrow(s.gpr[rt(w) as usize]).reverse();
    s.store::<T>(ram, ea_x(s, w), value)
}

/// Swaps the bytes.
trait Reverse {
    fn reverse(self) -> Self;
}

impl Reverse for u16 {
    fn reverse(self) -> Self {
        self.swap_bytes()
    }
}

impl Reverse for u32 {
    fn reverse(self) -> Self {
        self.swap_bytes()
    }
}

impl Reverse for u64 {
    fn reverse(self) -> Self {
        self.swap_bytes()
    }
}

fn load_reserve<T: Word>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let value = s.load_reserve::<T>(ram, ea_x(s, w))?;
    s.gpr[rt(w) as usize] = value.widen();
    Ok(())
}

fn store_conditional<T: Word>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let value = T::narrow(s.gpr[rt(w) as usize]);
    let stored = s.store_conditional::<T>(ram, ea_x(s, w), value)?;
    s.cr[0] = u8::from(stored) << 1 | u8::from(s.xer.so);
    Ok(())
}

/// In little-endian mode, multiple and string accesses are alignment interrupts.
fn need_big_endian(s: &mut State, ea: u64) -> Done {
    if s.big_endian {
        return Ok(());
    }
    s.fault_address = ea;
    Err(Trap::Alignment)
}

fn lmw(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let ea = ea_d(s, w, si(w));
    need_big_endian(s, ea)?;
    for (at, register) in (rt(w)..32).enumerate() {
        let value = s.load_cached::<u32>(ram, ea.wrapping_add(at as u64 * 4))?;
        s.gpr[register as usize] = u64::from(value);
    }
    Ok(())
}

fn stmw(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let ea = ea_d(s, w, si(w));
    need_big_endian(s, ea)?;
    for (at, register) in (rt(w)..32).enumerate() {
        let value = s.gpr[register as usize] as u32;
        s.store_cached(ram, ea.wrapping_add(at as u64 * 4), value)?;
    }
    Ok(())
}

/// Loads `bytes` into the low words of registers from RT on, around register 31.
fn load_string(s: &mut State, ram: &Ram<'_>, w: u32, ea: u64, bytes: u64) -> Done {
    need_big_endian(s, ea)?;
    for at in 0..bytes {
        let byte = s.load_cached::<u8>(ram, ea.wrapping_add(at))?;
        let register = &mut s.gpr[((u64::from(rt(w)) + at / 4) % 32) as usize];
        let shift = 24 - 8 * (at % 4);
        if shift == 24 {
            *register = 0;
        }
        *register |= u64::from(byte) << shift;
    }
    Ok(())
}

fn store_string(s: &mut State, ram: &Ram<'_>, w: u32, ea: u64, bytes: u64) -> Done {
    need_big_endian(s, ea)?;
    for at in 0..bytes {
        let register = s.gpr[((u64::from(rt(w)) + at / 4) % 32) as usize];
        let byte = (register >> (24 - 8 * (at % 4))) as u8;
        s.store_cached(ram, ea.wrapping_add(at), byte)?;
    }
    Ok(())
}

/// NB: 0 means 32.
fn string_bytes(w: u32) -> u64 {
    u64::from(if rb(w) == 0 { 32 } else { rb(w) })
}

fn lq(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let ea = ea_d(s, w, dq_displacement(w));
    let value = s.load_aligned_quad(ram, ea)?;
    set_pair(s, w, value);
    Ok(())
}

fn stq(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let ea = ea_d(s, w, ds_displacement(w));
    let value = pair(s, w);
    s.store_aligned_quad(ram, ea, value)
}

pub(super) const TABLE: &[Insn] = &[
    call("lhbrx", x(31, 790), "rt,ra0,rb", load_reversed::<u16>),
    call("lwbrx", x(31, 534), "rt,ra0,rb", load_reversed::<u32>),
    call("ldbrx", x(31, 532), "rt,ra0,rb", load_reversed::<u64>),
    call("sthbrx", x(31, 918), "rs,ra0,rb", store_reversed::<u16>),
    call("stwbrx", x(31, 662), "rs,ra0,rb", store_reversed::<u32>),
    call("stdbrx", x(31, 660), "rs,ra0,rb", store_reversed::<u64>),
    call("lmw", primary(46), "rt,d(ra)", lmw),
    call("stmw", primary(47), "rs,d(ra)", stmw),
    call("lswi", x(31, 597), "rt,ra0,nb", |s, ram, w| {
        let ea = s.gpr[ra_or_zero(w) as usize];
        load_string(s, ram, w, ea, string_bytes(w))
    }),
    call("lswx", x(31, 533), "rt,ra0,rb", |s, ram, w| {
        load_string(s, ram, w, ea_x(s, w), u64::from(s.xer.count))
    }),
    call("stswi", x(31, 725), "rs,ra0,nb", |s, ram, w| {
        let ea = s.gpr[ra_or_zero(w) as usize];
        store_string(s, ram, w, ea, string_bytes(w))
    }),
    call("stswx", x(31, 661), "rs,ra0,rb", |s, ram, w| {
        store_string(s, ram, w, ea_x(s, w), u64::from(s.xer.count))
    }),
    call("lq", primary(56), "rt,dq(ra)", lq),
    call("stq", ds(62, 2), "rs,ds(ra)", stq),
    call("lbarx", x(31, 52), "rt,ra0,rb", load_reserve::<u8>),
    call("lharx", x(31, 116), "rt,ra0,rb", load_reserve::<u16>),
    call("lwarx", x(31, 20), "rt,ra0,rb", load_reserve::<u32>),
    call("ldarx", x(31, 84), "rt,ra0,rb", load_reserve::<u64>),
    call("stbcx.", x1(31, 694), "rs,ra0,rb", store_conditional::<u8>),
    call("sthcx.", x1(31, 726), "rs,ra0,rb", store_conditional::<u16>),
    call("stwcx.", x1(31, 150), "rs,ra0,rb", store_conditional::<u32>),
    call("stdcx.", x1(31, 214), "rs,ra0,rb", store_conditional::<u64>),
    call("lwat", x(31, 582), "rt,ra0,fc", load_atomic::<u32>),
    call("ldat", x(31, 614), "rt,ra0,fc", load_atomic::<u64>),
    call("stwat", x(31, 710), "rs,ra0,fc", store_atomic::<u32>),
    call("stdat", x(31, 742), "rs,ra0,fc", store_atomic::<u64>),
];
