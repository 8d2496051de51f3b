//! Instructions of the architecture that this core has not.
//!
//! Decimal floating point and transactional memory are not offered to guests; a program that
//! executes them all the same gets what a processor without them gives it, an illegal
//! instruction. What a guest may rightly use and this core cannot do is told to the user
//! ([`crate::Exit::Unimplemented`]): the end of the run, with all that is needed to add it.

use super::fields::*;
use super::{Insn, absent};

pub(super) const TABLE: &[Insn] = &[
    absent("lqarx", x(31, 276), "rt,ra0,rb"),
    absent("stqcx.", x1(31, 182), "rs,ra0,rb"),
    absent("copy", x(31, 774), "ra,rb"),
    absent("paste.", x1(31, 902), "ra,rb"),
    absent("slbmte", x(31, 402), "rs,rb"),
    absent("slbmfee", x(31, 915), "rt,rb"),
    absent("slbmfev", x(31, 851), "rt,rb"),
    absent("slbie", x(31, 434), "rb"),
    absent("slbieg", x(31, 466), "rs,rb"),
    absent("slbsync", x(31, 338), ""),
    absent("slbfee.", x1(31, 979), "rt,rb"),
    absent("msgsndp", x(31, 142), "rb"),
    absent("msgclrp", x(31, 174), "rb"),
    absent("rfebb", x(19, 146), "s"),
];
