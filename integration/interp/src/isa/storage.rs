//! Fixed-point loads and stores that the core's loop does (Power ISA 3.0B, Book I §3.3.2,
//! §3.3.3).

use super::fields::*;
use super::{Insn, op};
use crate::op::{Code, Op};

const fn d_form(code: Code, w: u32) -> Op {
    Op::new(code, rt(w), ra_or_zero(w), si(w))
}

const fn ds_form(code: Code, w: u32) -> Op {
    Op::new(code, rt(w), ra_or_zero(w), ds_displacement(w))
}

// Update forms write to RA, so RA = 0, which they must not have, is register 0 here.
const fn d_update(code: Code, w: u32) -> Op {
    Op::new(code, rt(w), ra(w), si(w))
}

const fn ds_update(code: Code, w: u32) -> Op {
    Op::new(code, rt(w), ra(w), ds_displacement(w))
}

const fn indexed_update(code: Code, w: u32) -> Op {
    Op::new(code, rt(w), ra(w), rb(w))
}

pub(super) const TABLE: &[Insn] = &[
    op("lbz", primary(34), "rt,d(ra)", |w| d_form(Code::Lbz, w)),
    op("lbzu", primary(35), "rt,d(ra)", |w| d_update(Code::Lbzu, w)),
    op("lbzx", x(31, 87), "rt,ra0,rb", |w| indexed(Code::Lbzx, w)),
    op("lbzux", x(31, 119), "rt,ra0,rb", |w| indexed_update(Code::Lbzux, w)),
    op("lhz", primary(40), "rt,d(ra)", |w| d_form(Code::Lhz, w)),
    op("lhzu", primary(41), "rt,d(ra)", |w| d_update(Code::Lhzu, w)),
    op("lhzx", x(31, 279), "rt,ra0,rb", |w| indexed(Code::Lhzx, w)),
    op("lhzux", x(31, 311), "rt,ra0,rb", |w| indexed_update(Code::Lhzux, w)),
    op("lha", primary(42), "rt,d(ra)", |w| d_form(Code::Lha, w)),
    op("lhau", primary(43), "rt,d(ra)", |w| d_update(Code::Lhau, w)),
    op("lhax", x(31, 343), "rt,ra0,rb", |w| indexed(Code::Lhax, w)),
    op("lhaux", x(31, 375), "rt,ra0,rb", |w| indexed_update(Code::Lhaux, w)),
    op("lwz", primary(32), "rt,d(ra)", |w| d_form(Code::Lwz, w)),
    op("lwzu", primary(33), "rt,d(ra)", |w| d_update(Code::Lwzu, w)),
    op("lwzx", x(31, 23), "rt,ra0,rb", |w| indexed(Code::Lwzx, w)),
    op("lwzux", x(31, 55), "rt,ra0,rb", |w| indexed_update(Code::Lwzux, w)),
    op("lwa", ds(58, 2), "rt,ds(ra)", |w| ds_form(Code::Lwa, w)),
    op("lwax", x(31, 341), "rt,ra0,rb", |w| indexed(Code::Lwax, w)),
    op("lwaux", x(31, 373), "rt,ra0,rb", |w| indexed_update(Code::Lwaux, w)),
    op("ld", ds(58, 0), "rt,ds(ra)", |w| ds_form(Code::Ld, w)),
    op("ldu", ds(58, 1), "rt,ds(ra)", |w| ds_update(Code::Ldu, w)),
    op("ldx", x(31, 21), "rt,ra0,rb", |w| indexed(Code::Ldx, w)),
    op("ldux", x(31, 53), "rt,ra0,rb", |w| indexed_update(Code::Ldux, w)),
    op("stb", primary(38), "rs,d(ra)", |w| d_form(Code::Stb, w)),
    op("stbu", primary(39), "rs,d(ra)", |w| d_update(Code::Stbu, w)),
    op("stbx", x(31, 215), "rs,ra0,rb", |w| indexed(Code::Stbx, w)),
    op("stbux", x(31, 247), "rs,ra0,rb", |w| indexed_update(Code::Stbux, w)),
    op("sth", primary(44), "rs,d(ra)", |w| d_form(Code::Sth, w)),
    op("sthu", primary(45), "rs,d(ra)", |w| d_update(Code::Sthu, w)),
    op("sthx", x(31, 407), "rs,ra0,rb", |w| indexed(Code::Sthx, w)),
    op("sthux", x(31, 439), "rs,ra0,rb", |w| indexed_update(Code::Sthux, w)),
    op("stw", primary(36), "rs,d(ra)", |w| d_form(Code::Stw, w)),
    op("stwu", primary(37), "rs,d(ra)", |w| d_update(Code::Stwu, w)),
    op("stwx", x(31, 151), "rs,ra0,rb", |w| indexed(Code::Stwx, w)),
    op("stwux", x(31, 183), "rs,ra0,rb", |w| indexed_update(Code::Stwux, w)),
    op("std", ds(62, 0), "rs,ds(ra)", |w| ds_form(Code::Std, w)),
    op("stdu", ds(62, 1), "rs,ds(ra)", |w| ds_update(Code::Stdu, w)),
    op("stdx", x(31, 149), "rs,ra0,rb", |w| indexed(Code::Stdx, w)),
    op("stdux", x(31, 181), "rs,ra0,rb", |w| indexed_update(Code::Stdux, w)),
    op("dcbz", x(31, 1014), "ra0,rb", |w| indexed(Code::Dcbz, w)),
    // Hints.
    op("dcbt", x(31, 278), "ra0,rb", |_| Op::new(Code::Nop, 0, 0, 0)),
    op("dcbtst", x(31, 246), "ra0,rb", |_| Op::new(Code::Nop, 0, 0, 0)),
    op("icbt", x(31, 22), "ra0,rb", |_| Op::new(Code::Nop, 0, 0, 0)),
    op("dst", x(31, 342), "ra0,rb", |_| Op::new(Code::Nop, 0, 0, 0)),
    op("dstst", x(31, 374), "ra0,rb", |_| Op::new(Code::Nop, 0, 0, 0)),
    op("dss", x(31, 822), "", |_| Op::new(Code::Nop, 0, 0, 0)),
    // There is one copy of everything.
    op("dcbf", x(31, 86), "ra0,rb", |_| Op::new(Code::Nop, 0, 0, 0)),
    op("dcbst", x(31, 54), "ra0,rb", |_| Op::new(Code::Nop, 0, 0, 0)),
];
