//! Loads and stores of vector registers (Power ISA 3.0B, Book I §6.7, §7.6.2).

use super::fields::*;
use super::operands::{ea_d, ea_x};
use super::vmx::{Done, need_vmx};
use super::vsx::{need_vsx, need_vsx_or_vmx};
use super::{Insn, call};
use crate::float::{double_to_single, single_to_double};
use crate::lanes::{Lane, from_fn, get, put};
use crate::mmu::Operand;
use crate::ram::{Ram, Word};
use crate::state::State;

/// The element at an address, in its place; the others are undefined, and stay.
fn load_element<T: Word + Lane>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vmx(s)?;
    let ea = ea_x(s, w) & !(T::BYTES - 1);
    let value = s.load::<T>(ram, ea)?;
    let number = element_number(s, ea, T::BYTES);
    let vector = put(s.vr(rt(w)), number, value);
    s.set_vr(rt(w), vector);
    Ok(())
}

fn store_element<T: Word + Lane>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vmx(s)?;
    let ea = ea_x(s, w) & !(T::BYTES - 1);
    let value: T = get(s.vr(rt(w)), element_number(s, ea, T::BYTES));
    s.store(ram, ea, value)
}

/// The element of a quadword that the one at `ea` is.
fn element_number(s: &State, ea: u64, bytes: u64) -> u32 {
    let number = (ea & 15) / bytes;
    (if s.big_endian { number } else { 16 / bytes - 1 - number }) as u32
}

fn lvx(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vmx(s)?;
    let value = s.load_quad(ram, ea_x(s, w) & !15)?;
    s.set_vr(rt(w), value);
    Ok(())
}

fn stvx(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vmx(s)?;
    let value = s.vr(rt(w));
    s.store_quad(ram, ea_x(s, w) & !15, value)
}

/// Bytes counted from a start: what shifts a vector by a part of an address.
fn load_for_shift(s: &mut State, w: u32, left: bool) -> Done {
    need_vmx(s)?;
    let amount = (ea_x(s, w) & 15) as u8;
    let start = if left { amount } else { 16 - amount };
    s.set_vr(rt(w), from_fn::<u8>(|number| start + number as u8));
    Ok(())
}

/// Elements one after the other, from number 0 on, each in the current byte order.
fn load_elements<T: Word + Lane>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vsx(s)?;
    let ea = ea_x(s, w);
    let operand = Operand::new(ea, 16, T::BYTES);
    let mut value = 0;
    for number in 0..128 / T::BITS {
        let at = ea.wrapping_add(u64::from(number) * T::BYTES);
        let element = s.load_part::<T>(ram, operand, at)?;
        value = put(value, number, element);
    }
    s.vsr[xt(w)] = value;
    Ok(())
}

fn store_elements<T: Word + Lane>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vsx(s)?;
    let ea = ea_x(s, w);
    let operand = Operand::new(ea, 16, T::BYTES);
    s.need_storable(ram, operand)?;
    for number in 0..128 / T::BITS {
        let element: T = get(s.vsr[xt(w)], number);
        s.store_part(ram, operand, ea.wrapping_add(u64::from(number) * T::BYTES), element)?;
    }
    Ok(())
}

/// One element everywhere.
fn load_splat<T: Word + Lane>(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vsx(s)?;
    let element = s.load::<T>(ram, ea_x(s, w))?;
    s.vsr[xt(w)] = from_fn(|_| element);
    Ok(())
}

fn set_upper(s: &mut State, register: usize, value: u64) {
    s.vsr[register] = u128::from(value) << 64;
}

fn upper(s: &State, register: usize) -> u64 {
    (s.vsr[register] >> 64) as u64
}

/// A scalar into doubleword 0.
fn load_scalar<T: Word>(s: &mut State, ram: &Ram<'_>, w: u32, f: fn(u64) -> u64) -> Done {
    need_vsx(s)?;
    let value = s.load::<T>(ram, ea_x(s, w))?.widen();
    set_upper(s, xt(w), f(value));
    Ok(())
}

fn store_scalar<T: Word>(s: &mut State, ram: &Ram<'_>, w: u32, f: fn(u64) -> u64) -> Done {
    need_vsx(s)?;
    let value = T::narrow(f(upper(s, xt(w))));
    s.store(ram, ea_x(s, w), value)
}

fn same(value: u64) -> u64 {
    value
}

fn single(value: u64) -> u64 {
    single_to_double(value as u32)
}

fn to_single(value: u64) -> u64 {
    double_to_single(value).into()
}

/// TX of DQ-forms is elsewhere.
fn xt_dq(w: u32) -> usize {
    (rt(w) | (w >> 3 & 1) << 5) as usize
}

fn lxvx(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vsx_or_vmx(s, xt(w))?;
    s.vsr[xt(w)] = s.load_quad(ram, ea_x(s, w))?;
    Ok(())
}

fn stxvx(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vsx_or_vmx(s, xt(w))?;
    let value = s.vsr[xt(w)];
    s.store_quad(ram, ea_x(s, w), value)
}

fn lxv(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vsx_or_vmx(s, xt_dq(w))?;
    s.vsr[xt_dq(w)] = s.load_quad(ram, ea_d(s, w, dq_displacement(w)))?;
    Ok(())
}

fn stxv(s: &mut State, ram: &Ram<'_>, w: u32) -> Done {
    need_vsx_or_vmx(s, xt_dq(w))?;
    let value = s.vsr[xt_dq(w)];
    s.store_quad(ram, ea_d(s, w, dq_displacement(w)), value)
}

/// The number of bytes in the upper byte of RB, at most 16.
fn length(s: &State, w: u32) -> u64 {
    (s.gpr[rb(w) as usize] >> 56).min(16)
}

/// Shift of the byte number `at` of the quadword in a register: `left`-justified, or as in
/// memory.
fn byte_shift(s: &State, at: u64, left: bool) -> u64 {
    if left || s.big_endian { 120 - 8 * at } else { 8 * at }
}

fn load_with_length(s: &mut State, ram: &Ram<'_>, w: u32, left: bool) -> Done {
    need_vsx_or_vmx(s, xt(w))?;
    let ea = s.gpr[ra_or_zero(w) as usize];
    let operand = Operand::new(ea, length(s, w), 1);
    let mut value = 0;
    for at in 0..length(s, w) {
        let byte = s.load_part::<u8>(ram, operand, ea.wrapping_add(at))?;
        value |= u128::from(byte) << byte_shift(s, at, left);
    }
    s.vsr[xt(w)] = value;
    Ok(())
}

fn store_with_length(s: &mut State, ram: &Ram<'_>, w: u32, left: bool) -> Done {
    need_vsx_or_vmx(s, xt(w))?;
    let ea = s.gpr[ra_or_zero(w) as usize];
    let value = s.vsr[xt(w)];
    let operand = Operand::new(ea, length(s, w), 1);
    for at in 0..length(s, w) {
        let byte = (value >> byte_shift(s, at, left)) as u8;
        s.store_part(ram, operand, ea.wrapping_add(at), byte)?;
    }
    Ok(())
}

/// DS-forms reach the second half of the registers.
fn load_ds<T: Word>(s: &mut State, ram: &Ram<'_>, w: u32, f: fn(u64) -> u64) -> Done {
    need_vmx(s)?;
    let value = s.load::<T>(ram, ea_d(s, w, ds_displacement(w)))?.widen();
    set_upper(s, rt(w) as usize + 32, f(value));
    Ok(())
}

fn store_ds<T: Word>(s: &mut State, ram: &Ram<'_>, w: u32, f: fn(u64) -> u64) -> Done {
    need_vmx(s)?;
    let value = T::narrow(f(upper(s, rt(w) as usize + 32)));
    s.store(ram, ea_d(s, w, ds_displacement(w)), value)
}

pub(super) const TABLE: &[Insn] = &[
    call("lvebx", x(31, 7), "vrt,ra0,rb", load_element::<u8>),
    call("lvehx", x(31, 39), "vrt,ra0,rb", load_element::<u16>),
    call("lvewx", x(31, 71), "vrt,ra0,rb", load_element::<u32>),
    call("lvx", x(31, 103), "vrt,ra0,rb", lvx),
    call("lvxl", x(31, 359), "vrt,ra0,rb", lvx),
    call("lvsl", x(31, 6), "vrt,ra0,rb", |s, _, w| load_for_shift(s, w, true)),
    call("lvsr", x(31, 38), "vrt,ra0,rb", |s, _, w| load_for_shift(s, w, false)),
    call("stvebx", x(31, 135), "vrs,ra0,rb", store_element::<u8>),
    call("stvehx", x(31, 167), "vrs,ra0,rb", store_element::<u16>),
    call("stvewx", x(31, 199), "vrs,ra0,rb", store_element::<u32>),
    call("stvx", x(31, 231), "vrs,ra0,rb", stvx),
    call("stvxl", x(31, 487), "vrs,ra0,rb", stvx),
    call("lxsdx", x(31, 588), "xt,ra0,rb", |s, ram, w| load_scalar::<u64>(s, ram, w, same)),
    call("lxsiwzx", x(31, 12), "xt,ra0,rb", |s, ram, w| load_scalar::<u32>(s, ram, w, same)),
    call("lxsiwax", x(31, 76), "xt,ra0,rb", |s, ram, w| {
        load_scalar::<u32>(s, ram, w, |value| value as i32 as u64)
    }),
    call("lxsibzx", x(31, 781), "xt,ra0,rb", |s, ram, w| load_scalar::<u8>(s, ram, w, same)),
    call("lxsihzx", x(31, 813), "xt,ra0,rb", |s, ram, w| load_scalar::<u16>(s, ram, w, same)),
    call("lxsspx", x(31, 524), "xt,ra0,rb", |s, ram, w| load_scalar::<u32>(s, ram, w, single)),
    call("stxsdx", x(31, 716), "xs,ra0,rb", |s, ram, w| store_scalar::<u64>(s, ram, w, same)),
    call("stxsiwx", x(31, 140), "xs,ra0,rb", |s, ram, w| store_scalar::<u32>(s, ram, w, same)),
    call("stxsibx", x(31, 909), "xs,ra0,rb", |s, ram, w| store_scalar::<u8>(s, ram, w, same)),
    call("stxsihx", x(31, 941), "xs,ra0,rb", |s, ram, w| store_scalar::<u16>(s, ram, w, same)),
    call("stxsspx", x(31, 652), "xs,ra0,rb", |s, ram, w| store_scalar::<u32>(s, ram, w, to_single)),
    call("lxvd2x", x(31, 844), "xt,ra0,rb", load_elements::<u64>),
    call("lxvw4x", x(31, 780), "xt,ra0,rb", load_elements::<u32>),
    call("lxvh8x", x(31, 812), "xt,ra0,rb", load_elements::<u16>),
    call("lxvb16x", x(31, 876), "xt,ra0,rb", load_elements::<u8>),
    call("stxvd2x", x(31, 972), "xs,ra0,rb", store_elements::<u64>),
    call("stxvw4x", x(31, 908), "xs,ra0,rb", store_elements::<u32>),
    call("stxvh8x", x(31, 940), "xs,ra0,rb", store_elements::<u16>),
    call("stxvb16x", x(31, 1004), "xs,ra0,rb", store_elements::<u8>),
    call("lxvdsx", x(31, 332), "xt,ra0,rb", load_splat::<u64>),
    call("lxvwsx", x(31, 364), "xt,ra0,rb", load_splat::<u32>),
    call("lxvx", x(31, 268), "xt,ra0,rb", lxvx),
    call("stxvx", x(31, 396), "xs,ra0,rb", stxvx),
    call("lxvl", x(31, 269), "xt,ra0,rb", |s, ram, w| load_with_length(s, ram, w, false)),
    call("lxvll", x(31, 301), "xt,ra0,rb", |s, ram, w| load_with_length(s, ram, w, true)),
    call("stxvl", x(31, 397), "xs,ra0,rb", |s, ram, w| store_with_length(s, ram, w, false)),
    call("stxvll", x(31, 429), "xs,ra0,rb", |s, ram, w| store_with_length(s, ram, w, true)),
    call("lxv", dq(61, 1), "xt,dq(ra)", lxv),
    call("stxv", dq(61, 5), "xs,dq(ra)", stxv),
    call("lxsd", ds(57, 2), "vrt,ds(ra)", |s, ram, w| load_ds::<u64>(s, ram, w, same)),
    call("lxssp", ds(57, 3), "vrt,ds(ra)", |s, ram, w| load_ds::<u32>(s, ram, w, single)),
    call("stxsd", ds(61, 2), "vrs,ds(ra)", |s, ram, w| store_ds::<u64>(s, ram, w, same)),
    call("stxssp", ds(61, 3), "vrs,ds(ra)", |s, ram, w| store_ds::<u32>(s, ram, w, to_single)),
];
