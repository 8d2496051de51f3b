//! Fixed-point logical, rotate and shift (Power ISA 3.0B, Book I §3.3.13 and §3.3.14).

use super::fields::*;
use super::{Insn, op};
use crate::op::{Code, Op};

/// RA = RS rotated by RB or an amount, under a mask.
const fn rotate(code: Code, w: u32, amount: u32, begin: u32, end: u32) -> Op {
    Op::new(code, ra(w), rt(w), amount | flags(w) & Op::RECORD | begin << 16 | end << 24)
}

pub(super) const TABLE: &[Insn] = &[
    op("nop", (u32::MAX, 0x6000_0000), "", |_| Op::new(Code::Nop, 0, 0, 0)),
    op("ori", primary(24), "ra,rs,ui", |w| Op::new(Code::Ori, ra(w), rt(w), ui(w))),
    op("oris", primary(25), "ra,rs,ui", |w| Op::new(Code::Ori, ra(w), rt(w), ui(w) << 16)),
    op("xori", primary(26), "ra,rs,ui", |w| Op::new(Code::Xori, ra(w), rt(w), ui(w))),
    op("xoris", primary(27), "ra,rs,ui", |w| Op::new(Code::Xori, ra(w), rt(w), ui(w) << 16)),
    op("andi.", primary(28), "ra,rs,ui", |w| Op::new(Code::AndiRecord, ra(w), rt(w), ui(w))),
    op("andis.", primary(29), "ra,rs,ui", |w| Op::new(Code::AndiRecord, ra(w), rt(w), ui(w) << 16)),
    op("and", x(31, 28), ". ra,rs,rb", |w| logical(Code::And, w)),
    op("or", x(31, 444), ". ra,rs,rb", |w| logical(Code::Or, w)),
    op("xor", x(31, 316), ". ra,rs,rb", |w| logical(Code::Xor, w)),
    op("nand", x(31, 476), ". ra,rs,rb", |w| logical(Code::Nand, w)),
    op("nor", x(31, 124), ". ra,rs,rb", |w| logical(Code::Nor, w)),
    op("eqv", x(31, 284), ". ra,rs,rb", |w| logical(Code::Eqv, w)),
    op("andc", x(31, 60), ". ra,rs,rb", |w| logical(Code::Andc, w)),
    op("orc", x(31, 412), ". ra,rs,rb", |w| logical(Code::Orc, w)),
    op("extsb", x(31, 954), ". ra,rs", |w| logical(Code::Extsb, w)),
    op("extsh", x(31, 922), ". ra,rs", |w| logical(Code::Extsh, w)),
    op("extsw", x(31, 986), ". ra,rs", |w| logical(Code::Extsw, w)),
    op("cntlzw", x(31, 26), ". ra,rs", |w| logical(Code::Cntlzw, w)),
    op("cntlzd", x(31, 58), ". ra,rs", |w| logical(Code::Cntlzd, w)),
    op("cnttzw", x(31, 538), ". ra,rs", |w| logical(Code::Cnttzw, w)),
    op("cnttzd", x(31, 570), ". ra,rs", |w| logical(Code::Cnttzd, w)),
    op("rlwinm", primary(21), ". ra,rs,sh,mb,me", |w| rotate(Code::Rlwinm, w, rb(w), rc(w), me(w))),
    op("rlwnm", primary(23), ". ra,rs,rb,mb,me", |w| rotate(Code::Rlwnm, w, rb(w), rc(w), me(w))),
    op("rlwimi", primary(20), ". ra,rs,sh,mb,me", |w| rotate(Code::Rlwimi, w, rb(w), rc(w), me(w))),
    op("rldicl", md(30, 0), ". ra,rs,sh6,mb6", |w| rotate(Code::Rldicl, w, sh6(w), mb6(w), 0)),
    op("rldicr", md(30, 1), ". ra,rs,sh6,mb6", |w| rotate(Code::Rldicr, w, sh6(w), mb6(w), 0)),
    op("rldic", md(30, 2), ". ra,rs,sh6,mb6", |w| rotate(Code::Rldic, w, sh6(w), mb6(w), 0)),
    op("rldimi", md(30, 3), ". ra,rs,sh6,mb6", |w| rotate(Code::Rldimi, w, sh6(w), mb6(w), 0)),
    op("rldcl", mds(30, 8), ". ra,rs,rb,mb6", |w| rotate(Code::Rldcl, w, rb(w), mb6(w), 0)),
    op("rldcr", mds(30, 9), ". ra,rs,rb,mb6", |w| rotate(Code::Rldcr, w, rb(w), mb6(w), 0)),
    op("slw", x(31, 24), ". ra,rs,rb", |w| logical(Code::Slw, w)),
    op("srw", x(31, 536), ". ra,rs,rb", |w| logical(Code::Srw, w)),
    op("sraw", x(31, 792), ". ra,rs,rb", |w| logical(Code::Sraw, w)),
    op("srawi", x(31, 824), ". ra,rs,sh", |w| logical(Code::Srawi, w)),
    op("sld", x(31, 27), ". ra,rs,rb", |w| logical(Code::Sld, w)),
    op("srd", x(31, 539), ". ra,rs,rb", |w| logical(Code::Srd, w)),
    op("srad", x(31, 794), ". ra,rs,rb", |w| logical(Code::Srad, w)),
    op("sradi", xs(31, 413), ". ra,rs,sh6", |w| rotate(Code::Sradi, w, sh6(w), 0, 0)),
];
