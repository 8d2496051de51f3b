//! Atomic memory operations, quadword reservations, and copies to accelerators (Power ISA 3.0B,
//! Book II §4.4 to §4.6).

use super::fields::*;
use super::operands::{ea_x, pair, set_pair};
use super::{Insn, call};
use crate::bits::dsisr;
use crate::ram::{Ram, Word};
use crate::state::State;
use crate::trap::Trap;

type Done = Result<(), Trap>;

/// The two places of an operation that has two are in one block of so many bytes.
const BLOCK_BYTES: u64 = 32;

/// What `copy` and `paste.` move.
const COPY_BYTES: u64 = 128;

/// `lwat` and `ldat`: the value in memory is replaced by a function of it and of the registers
/// behind RT, and what was there goes to RT (§4.5, the table of function codes).
pub(super) fn load_atomic<T: Word>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let ea = s.gpr[ra_or_zero(w) as usize] & s.ea_mask;
    let operand =
        |s: &State, number: u32| T::narrow(s.gpr[((rt(w) + number) & 31) as usize]).widen();
    /// The place beside the first.
    fn beside(ea: u64, bytes: i64) -> u64 {
        ea.wrapping_add(bytes as u64)
    }
    let size = T::BYTES as i64;
    let (first, second) = (operand(s, 1), operand(s, 2));
    match rb(w) {
        code @ 0..=8 => {
            let old = update::<T>(s, ram, ea, |old| combined::<T>(code, old, first))?;
            s.gpr[rt(w) as usize] = old;
        }
        // Compare and swap not equal.
        16 => {
            let old = update::<T>(s, ram, ea, |old| (old != first).then_some(second))?;
            s.gpr[rt(w) as usize] = old;
        }
        // Fetch and increment bounded, and equal; fetch and decrement bounded.
        24 => step::<T>(s, ram, w, ea, beside(ea, size), |old, bound| old != bound, 1)?,
        25 => step::<T>(s, ram, w, ea, beside(ea, size), |old, bound| old == bound, 1)?,
        28 => step::<T>(s, ram, w, ea, beside(ea, -size), |old, bound| old != bound, u64::MAX)?,
        _ => return Err(no_function(s, ea)),
    }
    Ok(())
}

/// `stwat` and `stdat`: as the above, with RS, and nothing is loaded.
pub(super) fn store_atomic<T: Word>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let ea = s.gpr[ra_or_zero(w) as usize] & s.ea_mask;
    let operand = T::narrow(s.gpr[rt(w) as usize]);
    match rb(w) {
        code @ 0..=7 => {
            update::<T>(s, ram, ea, |old| combined::<T>(code, old, operand.widen()))?;
            Ok(())
        }
        // Store twin: into both places, if they hold the same.
        24 => store_twin(s, ram, ea, operand),
        _ => Err(no_function(s, ea)),
    }
}

/// The functions of a value in memory and one in a register.
fn combined<T: Word>(code: u32, old: u64, operand: u64) -> Option<u64> {
    let signed = |value: u64| (value << (64 - T::BYTES * 8)) as i64;
    Some(match code {
        0 => old.wrapping_add(operand),
        1 => old ^ operand,
        2 => old | operand,
        3 => old & operand,
        4 => old.max(operand),
        5 if signed(old) >= signed(operand) => old,
        6 => old.min(operand),
        7 if signed(old) <= signed(operand) => old,
        // Swap, and what the signed ones select.
        _ => operand,
    })
}

/// Replaces a value by a function of it, if there is one; gives what it was.
fn update<T: Word>(
    s: &mut State,
    ram: &Ram<'_>,
    ea: u64,
    mut new: impl FnMut(u64) -> Option<u64>,
) -> Result<u64, Trap> {
    need_storable::<T>(s, ram, ea)?;
    loop {
        let old = s.load_reserve::<T>(ram, ea)?.widen();
        let Some(new) = new(old) else { return Ok(old) };
        if s.store_conditional::<T>(ram, ea, T::narrow(new))? {
            return Ok(old);
        }
    }
}

/// Adds to a value where that is wanted, beside its bound; RT tells that it was not by the least
/// signed value.
fn step<T: Word>(
    s: &mut State,
    ram: &Ram<'_>,
    w: u32,
    ea: u64,
    bound_at: u64,
    wanted: fn(u64, u64) -> bool,
    by: u64,
) -> Done {
    need_storable::<T>(s, ram, ea)?;
    need_one_block(s, ea, bound_at)?;
    loop {
        let old = s.load_reserve::<T>(ram, ea)?.widen();
        let bound = s.load_cached::<T>(ram, bound_at)?.widen();
        if !wanted(old, bound) {
            s.gpr[rt(w) as usize] = 1 << (T::BYTES * 8 - 1);
            return Ok(());
        }
        if s.store_conditional::<T>(ram, ea, T::narrow(old.wrapping_add(by)))? {
            s.gpr[rt(w) as usize] = old;
            return Ok(());
        }
    }
}

fn store_twin<T: Word>(s: &mut State, ram: &Ram<'_>, ea: u64, value: T) -> Done {
    let twin_at = ea.wrapping_add(T::BYTES);
    let first = (ea, need_storable::<T>(s, ram, ea)?);
    need_one_block(s, ea, twin_at)?;
    let second = (twin_at, first.1 + T::BYTES);
    loop {
        let old = s.load_cached::<T>(ram, ea)?;
        if s.load_cached::<T>(ram, twin_at)? != old
            || s.exchange_pair(ram, first, second, [old; 2], [value; 2])?
        {
            return Ok(());
        }
    }
}

/// The place has to be aligned, RAM, and may be stored to. Its real address.
fn need_storable<T: Word>(s: &mut State, ram: &Ram<'_>, ea: u64) -> Result<u64, Trap> {
    s.need_aligned(ea, T::BYTES)?;
    s.need_ram(ram, ea, T::BYTES, true)
}

fn need_one_block(s: &mut State, ea: u64, other: u64) -> Done {
    if ea / BLOCK_BYTES == other / BLOCK_BYTES { Ok(()) } else { Err(s.alignment(ea)) }
}

/// A function code that is not in the table is a data storage interrupt, and an atomic memory
/// operation counts as a store there, even one that loads (Book III §6.5.3).
fn no_function(s: &mut State, ea: u64) -> Trap {
    s.fault_address = ea;
    s.fault_dsisr = dsisr::NO_ATOMIC_FUNCTION | dsisr::STORE;
    Trap::DataStorage
}

fn lqarx(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let value = s.load_reserve_quad(ram, ea_x(s, w))?;
    set_pair(s, w, value);
    Ok(())
}

fn stqcx(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let value = pair(s, w);
    let stored = s.store_conditional_quad(ram, ea_x(s, w), value)?;
    s.cr[0] = u8::from(stored) << 1 | u8::from(s.xer.so);
    Ok(())
}

/// Into a buffer that only `paste.` reads. There is no accelerator to paste to, so nobody will
/// ever see what is in it: what is left of the instruction is that the place must be one.
fn copy(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let ea = ea_x(s, w) & s.ea_mask;
    s.need_aligned(ea, COPY_BYTES)?;
    let real = s.real(ram, ea, false)?;
    if ram.load::<u8>(real).is_err() {
        return Err(not_for_copies(s, ea, 0));
    }
    Ok(())
}

/// Pastes to accelerators only. There is none, so that all storage is the wrong kind (Book III
/// §6.5.3).
fn paste(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    let ea = ea_x(s, w) & s.ea_mask;
    s.need_aligned(ea, COPY_BYTES)?;
    s.real(ram, ea, true)?;
    Err(not_for_copies(s, ea, dsisr::STORE))
}

fn not_for_copies(s: &mut State, ea: u64, access: u32) -> Trap {
    s.fault_address = ea;
    s.fault_dsisr = dsisr::NOT_FOR_COPIES | access;
    Trap::DataStorage
}

pub(super) const TABLE: &[Insn] = &[
    call("lqarx", x(31, 276), "rt,ra0,rb", lqarx),
    call("stqcx.", x1(31, 182), "rs,ra0,rb", stqcx),
    call("copy", x(31, 774), "ra0,rb", copy),
    call("paste.", x1(31, 902), "ra0,rb", paste),
];
