//! The instructions: one line each, in the file of their class.
//!
//! A line has the name, the bits by which the instruction is known, its operands for
//! disassembly, and what is done: [`Action::Op`] makes an operation for the core's loop,
//! [`Action::Call`] is a function, [`Action::Absent`] names what this processor should have and
//! this core has not.

mod absent;
mod atomics;
mod bcd;
mod branch;
mod control;
pub(crate) mod fields;
mod fixed;
mod fixed_more;
mod fp_arith;
mod fp_move;
mod logical;
mod newer;
mod operands;
mod priority;
mod quad_arith;
mod quad_convert;
mod quad_move;
mod segments;
mod storage;
mod storage_more;
mod system;
mod vector_storage;
mod vmx;
mod vmx_arith;
mod vmx_bits;
mod vmx_crypto;
mod vmx_float;
mod vmx_permute;
mod vsx;
mod vsx_arith;
mod vsx_convert;
mod vsx_move;

use std::sync::LazyLock;

use crate::op::{Code, Op};
use crate::ram::Ram;
use crate::state::State;
use crate::trap::Trap;

/// Executes an instruction of this word.
pub(crate) type Execute = fn(&mut State, &Ram<'_>, u32) -> Result<(), Trap>;

/// One instruction.
#[derive(Clone, Copy)]
pub(crate) struct Insn {
    pub(crate) name: &'static str,
    mask: u32,
    value: u32,
    /// What follows the name: `o` and `.` for the overflow and record forms, `O` and `x` for the
    /// forms with the last bit set that round to odd or tell of inexactness, then the operands.
    pub(crate) operands: &'static str,
    action: Action,
}

#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// Decoded for the loop.
    Op(fn(u32) -> Op),
    /// Executed by a function.
    Call(Execute),
    /// Known and not implemented.
    Absent,
}

/// The bits by which an instruction is known: mask and value.
pub(crate) type Pattern = (u32, u32);

/// A line of a table, done by the loop.
pub(crate) const fn op(
    name: &'static str,
    pattern: Pattern,
    operands: &'static str,
    decode: fn(u32) -> Op,
) -> Insn {
    let (mask, value) = pattern;
    Insn { name, mask, value, operands, action: Action::Op(decode) }
}

/// A line of a table, done by a function.
pub(crate) const fn call(
    name: &'static str,
    pattern: Pattern,
    operands: &'static str,
    execute: Execute,
) -> Insn {
    let (mask, value) = pattern;
    Insn { name, mask, value, operands, action: Action::Call(execute) }
}

/// A line of a table, not implemented.
pub(crate) const fn absent(name: &'static str, pattern: Pattern, operands: &'static str) -> Insn {
    let (mask, value) = pattern;
    Insn { name, mask, value, operands, action: Action::Absent }
}

/// The classes, by their file's name. Where patterns overlap, the earlier line wins.
pub(crate) const CLASSES: &[(&str, &[Insn])] = &[
    ("fixed", fixed::TABLE),
    ("fixed_more", fixed_more::TABLE),
    ("priority", priority::TABLE),
    ("logical", logical::TABLE),
    ("branch", branch::TABLE),
    ("storage", storage::TABLE),
    ("storage_more", storage_more::TABLE),
    ("atomics", atomics::TABLE),
    ("system", system::TABLE),
    ("control", control::TABLE),
    ("segments", segments::TABLE),
    ("fp_arith", fp_arith::TABLE),
    ("fp_arith", fp_arith::SUMS),
    ("fp_arith", fp_arith::DIFFERENCES),
    ("fp_arith", fp_arith::PRODUCTS),
    ("fp_arith", fp_arith::QUOTIENTS),
    ("fp_arith", fp_arith::ROOTS),
    ("fp_arith", fp_arith::RECIPROCALS),
    ("fp_arith", fp_arith::ROOT_ESTIMATES),
    ("fp_arith", fp_arith::FUSED_ADD),
    ("fp_arith", fp_arith::FUSED_SUBTRACT),
    ("fp_arith", fp_arith::FUSED_NEGATIVE_ADD),
    ("fp_arith", fp_arith::FUSED_NEGATIVE_SUBTRACT),
    ("fp_move", fp_move::TABLE),
    ("vector_storage", vector_storage::TABLE),
    ("vmx_arith", vmx_arith::TABLE),
    ("vmx_bits", vmx_bits::TABLE),
    ("vmx_permute", vmx_permute::TABLE),
    ("vmx_float", vmx_float::TABLE),
    ("vmx_crypto", vmx_crypto::TABLE),
    ("vsx_move", vsx_move::TABLE),
    ("vsx_convert", vsx_convert::TABLE),
    ("vsx_arith", vsx_arith::COMPARISONS),
    ("vsx_arith", vsx_arith::SUMS),
    ("vsx_arith", vsx_arith::DIFFERENCES),
    ("vsx_arith", vsx_arith::PRODUCTS),
    ("vsx_arith", vsx_arith::QUOTIENTS),
    ("vsx_arith", vsx_arith::ROOTS),
    ("vsx_arith", vsx_arith::ROOT_ESTIMATES),
    ("vsx_arith", vsx_arith::RECIPROCALS),
    ("vsx_arith", vsx_arith::FUSED_ADD),
    ("vsx_arith", vsx_arith::FUSED_SUBTRACT),
    ("vsx_arith", vsx_arith::FUSED_NEGATIVE_ADD),
    ("vsx_arith", vsx_arith::FUSED_NEGATIVE_SUBTRACT),
    ("quad_arith", quad_arith::TABLE),
    ("quad_convert", quad_convert::TABLE),
    ("quad_move", quad_move::TABLE),
    ("bcd", bcd::TABLE),
    ("absent", absent::TABLE),
];

/// All instructions, and where to look for one.
struct Index {
    all: Vec<Insn>,
    /// By the primary opcode and bits 26 to 30 of the word.
    buckets: Vec<Vec<u16>>,
}

/// What an instruction is to a program that is held to Power ISA 2.07.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// What it is.
    None,
    /// No instruction.
    Illegal,
    /// `mffs`.
    Mffs,
}

impl Limit {
    fn of(insn: &Insn) -> Self {
        if newer::NAMES.contains(&insn.name) {
            Self::Illegal
        } else if newer::FORMS_OF_MFFS.contains(&insn.name) {
            Self::Mffs
        } else {
            Self::None
        }
    }
}

const MINOR_BITS: u32 = 0x3e;

fn bucket(word: u32) -> usize {
    (word >> 26 << 5 | (word & MINOR_BITS) >> 1) as usize
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let all: Vec<Insn> = CLASSES.iter().flat_map(|class| class.1).copied().collect();
    let mut buckets = vec![Vec::new(); 64 * 32];
    for (number, insn) in all.iter().enumerate() {
        for minor in 0..32 {
            let bits = minor << 1;
            if (bits ^ insn.value) & insn.mask & MINOR_BITS == 0 {
                buckets[bucket(insn.value & 0xfc00_0000 | bits)].push(number as u16);
            }
        }
    }
    Index { all, buckets }
});

/// What each instruction is where programs are held to an older level, which few machines ask for.
static LIMITS: LazyLock<Vec<Limit>> = LazyLock::new(|| INDEX.all.iter().map(Limit::of).collect());

/// All instructions, in the order of their numbers.
pub(crate) fn table() -> &'static [Insn] {
    &INDEX.all
}

fn find(word: u32) -> Option<usize> {
    let numbers = INDEX.buckets[bucket(word)].iter().copied().map(usize::from);
    numbers.into_iter().find(|&number| INDEX.all[number].matches(word))
}

/// What a trace interrupt tells instructions apart by (Book III, trace interrupt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Branch,
    /// Loads, or is treated as if it did.
    Load,
    /// Stores, or is treated as if it did.
    Store,
    /// `rfid` and `rfscv`, which are not traced.
    Return,
    Other,
}

/// What kind of instruction a word is.
pub(crate) fn kind(word: u32) -> Kind {
    match lookup(word).map_or("", |insn| insn.name) {
        "b" | "bc" | "bclr" | "bcctr" | "bctar" => Kind::Branch,
        "rfid" | "rfscv" => Kind::Return,
        "lvsl" | "lvsr" => Kind::Other,
        "dcbz" | "dcbtst" | "dstst" | "paste." => Kind::Store,
        "dcbt" | "dcbst" | "dcbf" | "dst" | "icbi" | "icbt" | "copy" => Kind::Load,
        name if name.starts_with("st") => Kind::Store,
        name if name.starts_with('l') => Kind::Load,
        _ => Kind::Other,
    }
}

/// The instruction that a word is.
pub(crate) fn lookup(word: u32) -> Option<&'static Insn> {
    find(word).map(|number| &INDEX.all[number])
}

/// Decodes a word.
pub(crate) fn decode(word: u32) -> Op {
    match find(word) {
        Some(number) => decode_as(number, word),
        None => called(ILLEGAL, word),
    }
}

/// Decodes a word of a program that is held to Power ISA 2.07 ([`crate::Level::V2_07`]).
pub(crate) fn decode_limited(word: u32) -> Op {
    let Some(number) = find(word) else { return called(ILLEGAL, word) };
    match LIMITS[number] {
        Limit::None => decode_as(number, word),
        Limit::Illegal => called(ILLEGAL, word),
        Limit::Mffs => decode(word & !newer::RESERVED_IN_MFFS),
    }
}

fn decode_as(number: usize, word: u32) -> Op {
    match INDEX.all[number].action {
        Action::Op(decode) => decode(word),
        _ => called(number, word),
    }
}

fn called(number: usize, word: u32) -> Op {
    Op { code: Code::Call, a: number as u8, b: (number >> 8) as u8, imm: word }
}

/// The number of the line that stands for all words that are no instruction: the first of the
/// first table.
const ILLEGAL: usize = 0;

impl Insn {
    fn matches(&self, word: u32) -> bool {
        word & self.mask == self.value
    }

    #[inline(always)]
    pub(crate) fn execute(&self, s: &mut State, ram: &Ram<'_>, word: u32) -> Result<(), Trap> {
        match self.action {
            Action::Call(execute) => execute(s, ram, word),
            _ => Err(Trap::Unimplemented),
        }
    }

    /// Whether this core can execute it.
    #[cfg(test)]
    pub(crate) fn is_implemented(&self) -> bool {
        !matches!(self.action, Action::Absent)
    }
}

#[cfg(test)]
mod tests;
