//! Instructions of the architecture that this core has not.
//!
//! A program that executes one gets what a processor without it gives, an illegal instruction; who
//! debugs the core can have it stop there ([`crate::Cpu::stop_at_unimplemented`]), with all that
//! is needed to add it.

use super::fields::*;
use super::{Insn, Pattern, absent};

pub(super) const TABLE: &[Insn] = &[
    // Decimal floating point, of doublewords and of quadwords.
    absent("dadd", x(59, 2), "frt,fra,frb"),
    absent("dmul", x(59, 34), "frt,fra,frb"),
    absent("dcmpo", x(59, 130), "bf,fra,frb"),
    absent("dtstex", x(59, 162), "bf,fra,frb"),
    absent("dctdp", x(59, 258), "frt,frb"),
    absent("dctfix", x(59, 290), "frt,frb"),
    absent("ddedpd", x(59, 322), "frt,frb"),
    absent("dxex", x(59, 354), "frt,frb"),
    absent("dsub", x(59, 514), "frt,fra,frb"),
    absent("ddiv", x(59, 546), "frt,fra,frb"),
    absent("dcmpu", x(59, 642), "bf,fra,frb"),
    absent("dtstsf", x(59, 674), "bf,fra,frb"),
    absent("dtstsfi", x(59, 675), "bf,fra,frb"),
    absent("drsp", x(59, 770), "frt,frb"),
    absent("dcffix", x(59, 802), "frt,frb"),
    absent("denbcd", x(59, 834), "frt,frb"),
    absent("diex", x(59, 866), "frt,fra,frb"),
    absent("dscli", z22(59, 66), "frt,fra"),
    absent("dscri", z22(59, 98), "frt,fra"),
    absent("dtstdc", z22(59, 194), "bf,fra"),
    absent("dtstdg", z22(59, 226), "bf,fra"),
    absent("dqua", z23(59, 3), "frt,frb"),
    absent("drrnd", z23(59, 35), "frt,frb"),
    absent("dquai", z23(59, 67), "frt,frb"),
    absent("drintx", z23(59, 99), "frt,frb"),
    absent("drintn", z23(59, 227), "frt,frb"),
    absent("daddq", x(63, 2), "frt,fra,frb"),
    absent("dmulq", x(63, 34), "frt,fra,frb"),
    absent("dcmpoq", x(63, 130), "bf,fra,frb"),
    absent("dtstexq", x(63, 162), "bf,fra,frb"),
    absent("dctqpq", x(63, 258), "frt,frb"),
    absent("dctfixq", x(63, 290), "frt,frb"),
    absent("ddedpdq", x(63, 322), "frt,frb"),
    absent("dxexq", x(63, 354), "frt,frb"),
    absent("dsubq", x(63, 514), "frt,fra,frb"),
    absent("ddivq", x(63, 546), "frt,fra,frb"),
    absent("dcmpuq", x(63, 642), "bf,fra,frb"),
    absent("dtstsfq", x(63, 674), "bf,fra,frb"),
    absent("dtstsfiq", x(63, 675), "bf,fra,frb"),
    absent("drdpq", x(63, 770), "frt,frb"),
    absent("dcffixq", x(63, 802), "frt,frb"),
    absent("denbcdq", x(63, 834), "frt,frb"),
    absent("diexq", x(63, 866), "frt,fra,frb"),
    absent("dscliq", z22(63, 66), "frt,fra"),
    absent("dscriq", z22(63, 98), "frt,fra"),
    absent("dtstdcq", z22(63, 194), "bf,fra"),
    absent("dtstdgq", z22(63, 226), "bf,fra"),
    absent("dquaq", z23(63, 3), "frt,frb"),
    absent("drrndq", z23(63, 35), "frt,frb"),
    absent("dquaiq", z23(63, 67), "frt,frb"),
    absent("drintxq", z23(63, 99), "frt,frb"),
    absent("drintnq", z23(63, 227), "frt,frb"),
];

/// Z22-form: nine bits, six of an amount before them.
const fn z22(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_03fe, opcode << 26 | extended << 1)
}

/// Z23-form: eight bits, two of a rounding mode before them.
const fn z23(opcode: u32, extended: u32) -> Pattern {
    (0xfc00_01fe, opcode << 26 | extended << 1)
}
