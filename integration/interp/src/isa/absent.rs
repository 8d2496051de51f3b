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
    // Quad precision.
    absent("xsaddqp", x(63, 4), "vrt,vra,vrb"),
    absent("xsmulqp", x(63, 36), "vrt,vra,vrb"),
    absent("xscpsgnqp", x(63, 100), "vrt,vra,vrb"),
    absent("xscmpoqp", x(63, 132), "bf,vra,vrb"),
    absent("xscmpexpqp", x(63, 164), "bf,vra,vrb"),
    absent("xsmaddqp", x(63, 388), "vrt,vra,vrb"),
    absent("xsmsubqp", x(63, 420), "vrt,vra,vrb"),
    absent("xsnmaddqp", x(63, 452), "vrt,vra,vrb"),
    absent("xsnmsubqp", x(63, 484), "vrt,vra,vrb"),
    absent("xssubqp", x(63, 516), "vrt,vra,vrb"),
    absent("xsdivqp", x(63, 548), "vrt,vra,vrb"),
    absent("xscmpuqp", x(63, 644), "bf,vra,vrb"),
    absent("xststdcqp", x(63, 708), "bf,vrb,dcmx"),
    absent("xs?qp", x(63, 804), "vrt,vrb"),
    absent("xscv?qp", x(63, 836), "vrt,vrb"),
    absent("xsiexpqp", x(63, 868), "vrt,vra,vrb"),
    absent("xsrqpi", (0xfc00_01fe, 63 << 26 | 5 << 1), "vrt,vrb"),
    absent("xsrqpxp", (0xfc00_01fe, 63 << 26 | 37 << 1), "vrt,vrb"),
    // Decimal integers in vectors.
    absent("bcdadd.", (0xfc00_05ff, 4 << 26 | 0x401), "vrt,vra,vrb"),
    absent("bcdsub.", (0xfc00_05ff, 4 << 26 | 0x441), "vrt,vra,vrb"),
    absent("bcdus.", (0xfc00_05ff, 4 << 26 | 0x481), "vrt,vra,vrb"),
    absent("bcds.", (0xfc00_05ff, 4 << 26 | 0x4c1), "vrt,vra,vrb"),
    absent("bcdtrunc.", (0xfc00_05ff, 4 << 26 | 0x501), "vrt,vra,vrb"),
    absent("bcdutrunc.", (0xfc00_05ff, 4 << 26 | 0x541), "vrt,vra,vrb"),
    absent("bcdc?.", (0xfc00_05ff, 4 << 26 | 0x581), "vrt,vrb"),
    absent("bcdsr.", (0xfc00_05ff, 4 << 26 | 0x5c1), "vrt,vra,vrb"),
    absent("bcdcpsgn.", vx(0x341), "vrt,vra,vrb"),
];
