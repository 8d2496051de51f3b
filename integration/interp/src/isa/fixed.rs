//! Fixed-point arithmetic and comparison (Power ISA 3.0B, Book I §3.3.9 to §3.3.11).

use super::fields::*;
use super::{Insn, call, op};
use crate::op::{Code, Op};
use crate::trap::Trap;

pub(super) const TABLE: &[Insn] = &[
    // Must be first: what is no instruction.
    call("(illegal)", (u32::MAX, 0), "", |_, _, _| Err(Trap::Illegal)),
    op("addi", primary(14), "rt,ra0,si", |w| Op::new(Code::Addi, rt(w), ra_or_zero(w), si(w))),
    op("addis", primary(15), "rt,ra0,si", |w| {
        Op::new(Code::Addi, rt(w), ra_or_zero(w), ui(w) << 16)
    }),
    op("add", xo(31, 266), "o. rt,ra,rb", |w| arithmetic(Code::Add, w)),
    op("subf", xo(31, 40), "o. rt,ra,rb", |w| arithmetic(Code::Subf, w)),
    op("neg", xo(31, 104), "o. rt,ra", |w| arithmetic(Code::Neg, w)),
    op("addic", primary(12), "rt,ra,si", |w| Op::new(Code::Addic, rt(w), ra(w), si(w))),
    call("addic.", primary(13), "rt,ra,si", |s, _, w| {
        let a = s.gpr[ra(w) as usize];
        let value = s.add_carrying(a, si(w) as i32 as u64, false, false);
        s.gpr[rt(w) as usize] = value;
        s.record(value);
        Ok(())
    }),
    op("subfic", primary(8), "rt,ra,si", |w| Op::new(Code::Subfic, rt(w), ra(w), si(w))),
    op("addc", xo(31, 10), "o. rt,ra,rb", |w| arithmetic(Code::Addc, w)),
    op("adde", xo(31, 138), "o. rt,ra,rb", |w| arithmetic(Code::Adde, w)),
    op("addze", xo(31, 202), "o. rt,ra", |w| arithmetic(Code::Addze, w)),
    op("addme", xo(31, 234), "o. rt,ra", |w| arithmetic(Code::Addme, w)),
    op("subfc", xo(31, 8), "o. rt,ra,rb", |w| arithmetic(Code::Subfc, w)),
    op("subfe", xo(31, 136), "o. rt,ra,rb", |w| arithmetic(Code::Subfe, w)),
    op("subfze", xo(31, 200), "o. rt,ra", |w| arithmetic(Code::Subfze, w)),
    op("subfme", xo(31, 232), "o. rt,ra", |w| arithmetic(Code::Subfme, w)),
    op("mulli", primary(7), "rt,ra,si", |w| Op::new(Code::Mulli, rt(w), ra(w), si(w))),
    op("mullw", xo(31, 235), "o. rt,ra,rb", |w| arithmetic(Code::Mullw, w)),
    op("mulld", xo(31, 233), "o. rt,ra,rb", |w| arithmetic(Code::Mulld, w)),
    op("mulhw", xo(31, 75), ". rt,ra,rb", |w| arithmetic(Code::Mulhw, w & !0x400)),
    op("mulhwu", xo(31, 11), ". rt,ra,rb", |w| arithmetic(Code::Mulhwu, w & !0x400)),
    op("mulhd", xo(31, 73), ". rt,ra,rb", |w| arithmetic(Code::Mulhd, w & !0x400)),
    op("mulhdu", xo(31, 9), ". rt,ra,rb", |w| arithmetic(Code::Mulhdu, w & !0x400)),
    op("divw", xo(31, 491), "o. rt,ra,rb", |w| arithmetic(Code::Divw, w)),
    op("divwu", xo(31, 459), "o. rt,ra,rb", |w| arithmetic(Code::Divwu, w)),
    op("divd", xo(31, 489), "o. rt,ra,rb", |w| arithmetic(Code::Divd, w)),
    op("divdu", xo(31, 457), "o. rt,ra,rb", |w| arithmetic(Code::Divdu, w)),
    op("cmpi", primary(11), "bf,l,ra,si", |w| {
        let code = if l10(w) != 0 { Code::Cmpdi } else { Code::Cmpwi };
        Op::new(code, bf(w), ra(w), si(w))
    }),
    op("cmpli", primary(10), "bf,l,ra,ui", |w| {
        let code = if l10(w) != 0 { Code::Cmpldi } else { Code::Cmplwi };
        Op::new(code, bf(w), ra(w), ui(w))
    }),
    op("cmp", x(31, 0), "bf,l,ra,rb", |w| {
        let code = if l10(w) != 0 { Code::Cmpd } else { Code::Cmpw };
        Op::new(code, bf(w), ra(w), rb(w))
    }),
    op("cmpl", x(31, 32), "bf,l,ra,rb", |w| {
        let code = if l10(w) != 0 { Code::Cmpld } else { Code::Cmplw };
        Op::new(code, bf(w), ra(w), rb(w))
    }),
    op("isel", a(31, 15), "rt,ra0,rb,bc", |w| {
        Op::new(Code::Isel, rt(w), ra_or_zero(w), rb(w) | rc(w) << 8)
    }),
];
