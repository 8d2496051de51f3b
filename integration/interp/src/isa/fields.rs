//! Fields of instruction words and the patterns of the instruction forms (Power ISA 3.0B, Book I
//! §1.6).

use super::Pattern;
use crate::op::{Code, Op};
use crate::state::ZERO;

pub(crate) const fn primary(opcode: u32) -> Pattern {
    (0xfc00_0000, opcode << 26)
}

/// DS-form: two bits of extended opcode.
pub(crate) const fn ds(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_0003, opcode << 26 | extended)
}

/// DQ-form: three bits of extended opcode.
pub(crate) const fn dq(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_0007, opcode << 26 | extended)
}

/// X-form and XL-form: ten bits, the last bit is free.
pub(crate) const fn x(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_07fe, opcode << 26 | extended << 1)
}

/// X-form whose last bit must be one.
pub(crate) const fn x1(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_07ff, opcode << 26 | extended << 1 | 1)
}

/// XO-form: nine bits, with the overflow and the last bit free.
pub(crate) const fn xo(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_03fe, opcode << 26 | extended << 1)
}

/// MD-form: three bits.
pub(crate) const fn md(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_001c, opcode << 26 | extended << 2)
}

/// MDS-form: four bits.
pub(crate) const fn mds(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_001e, opcode << 26 | extended << 1)
}

/// XS-form: nine bits, one bit of the amount above the last.
pub(crate) const fn xs(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_07fc, opcode << 26 | extended << 2)
}

/// A-form: five bits.
pub(crate) const fn a(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_003e, opcode << 26 | extended << 1)
}

/// VA-form: six bits.
pub(crate) const fn va(extended: u32) -> Pattern {
    (0xfc00_003f, 4 << 26 | extended)
}

/// VX-form: eleven bits.
pub(crate) const fn vx(extended: u32) -> Pattern {
    (0xfc00_07ff, 4 << 26 | extended)
}

/// VX-form with a further opcode in the place of the first source.
pub(crate) const fn vx_by_a(extended: u32, by_a: u32) -> Pattern {
    (0xfc1f_07ff, 4 << 26 | by_a << 16 | extended)
}

/// VC-form: ten bits, with a record bit before them.
pub(crate) const fn vc(extended: u32) -> Pattern {
    (0xfc00_03ff, 4 << 26 | extended)
}

/// XX2-form: nine bits.
pub(crate) const fn xx2(extended: u32) -> Pattern {
    (0xfc00_07fc, 60 << 26 | extended << 2)
}

/// XX2-form with a further opcode in the place of the first source.
pub(crate) const fn xx2_by_a(extended: u32, by_a: u32) -> Pattern {
    (0xfc1f_07fc, 60 << 26 | by_a << 16 | extended << 2)
}

/// XX3-form: eight bits.
pub(crate) const fn xx3(extended: u32) -> Pattern {
    (0xfc00_07f8, 60 << 26 | extended << 3)
}

/// XX3-form with a record bit: seven bits.
pub(crate) const fn xx3_record(extended: u32) -> Pattern {
    (0xfc00_03f8, 60 << 26 | extended << 3)
}

/// XX4-form: two bits.
pub(crate) const fn xx4(extended: u32) -> Pattern {
    (0xfc00_0030, 60 << 26 | extended << 4)
}

/// X-form with a further opcode in the place of the first source.
pub(crate) const fn x_by_a(opcode: u32, extended: u32, by_a: u32) -> Pattern {
    (0xfc1f_07fe, opcode << 26 | by_a << 16 | extended << 1)
}

macro_rules! field {
    ($($(#[$doc:meta])* $name:ident = $shift:literal, $mask:literal;)*) => {
        $($(#[$doc])*
        #[inline(always)]
        pub(crate) const fn $name(word: u32) -> u32 {
            word >> $shift & $mask
        })*
    };
}

field! {
    /// RT, RS, BO, VRT, FRT, TO: bits 6 to 10.
    rt = 21, 31;
    /// RA, BI, VRA, FRA: bits 11 to 15.
    ra = 16, 31;
    /// RB, SH, VRB, FRB: bits 16 to 20.
    rb = 11, 31;
    /// FRC, VRC, MB: bits 21 to 25.
    rc = 6, 31;
    /// ME: bits 26 to 30.
    me = 1, 31;
    /// BF: bits 6 to 8.
    bf = 23, 7;
    /// BFA: bits 11 to 13.
    bfa = 18, 7;
    /// UI: bits 16 to 31.
    ui = 0, 0xffff;
    /// The L bit of compares: bit 10.
    l10 = 21, 1;
    /// The last bit: Rc, LK.
    last = 0, 1;
    /// OE: bit 21.
    oe = 10, 1;
}

/// SI: bits 16 to 31, signed.
#[inline(always)]
pub(crate) const fn si(word: u32) -> u32 {
    word as i16 as i32 as u32
}

/// The displacement of a DS-form.
#[inline(always)]
pub(crate) const fn ds_displacement(word: u32) -> u32 {
    si(word) & !3
}

/// The displacement of a DQ-form.
#[inline(always)]
pub(crate) const fn dq_displacement(word: u32) -> u32 {
    si(word) & !15
}

/// RA where 0 means that nothing is added.
#[inline(always)]
pub(crate) const fn ra_or_zero(word: u32) -> u32 {
    match ra(word) {
        0 => ZERO as u32,
        number => number,
    }
}

/// The six-bit amount of MD- and XS-forms.
#[inline(always)]
pub(crate) const fn sh6(word: u32) -> u32 {
    rb(word) | (word >> 1 & 1) << 5
}

/// The six-bit mask bound of MD- and MDS-forms.
#[inline(always)]
pub(crate) const fn mb6(word: u32) -> u32 {
    rc(word) | (word >> 5 & 1) << 5
}

/// XT, XS: bits 31, 6 to 10.
#[inline(always)]
pub(crate) const fn xt(word: u32) -> usize {
    (rt(word) | (word & 1) << 5) as usize
}

/// XA: bits 29, 11 to 15.
#[inline(always)]
pub(crate) const fn xa(word: u32) -> usize {
    (ra(word) | (word >> 2 & 1) << 5) as usize
}

/// XB: bits 30, 16 to 20.
#[inline(always)]
pub(crate) const fn xb(word: u32) -> usize {
    (rb(word) | (word >> 1 & 1) << 5) as usize
}

/// XC: bits 28, 21 to 25.
#[inline(always)]
pub(crate) const fn xc(word: u32) -> usize {
    (rc(word) | (word >> 3 & 1) << 5) as usize
}

/// SPR and TBR numbers: their halves are exchanged in the word.
#[inline(always)]
pub(crate) const fn spr(word: u32) -> u32 {
    ra(word) | rb(word) << 5
}

/// The record and overflow bits as an operation has them.
pub(crate) const fn flags(word: u32) -> u32 {
    let record = if last(word) != 0 { Op::RECORD } else { 0 };
    let overflow = if oe(word) != 0 { Op::OVERFLOW } else { 0 };
    record | overflow
}

/// Target RT, sources RA and RB, with overflow and record.
pub(crate) const fn arithmetic(code: Code, word: u32) -> Op {
    Op::new(code, rt(word), ra(word), rb(word) | flags(word))
}

/// Target RA, sources RS and RB, with record.
pub(crate) const fn logical(code: Code, word: u32) -> Op {
    Op::new(code, ra(word), rt(word), rb(word) | flags(word) & Op::RECORD)
}

/// RT, RA or zero, and RB: indexed storage accesses.
pub(crate) const fn indexed(code: Code, word: u32) -> Op {
    Op::new(code, rt(word), ra_or_zero(word), rb(word))
}
