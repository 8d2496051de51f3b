//! Branches and the condition register (Power ISA 3.0B, Book I §2.4 and §2.5).

use super::fields::*;
use super::{Insn, Pattern, call, op};
use crate::op::{Code, Op};
use crate::state::State;

/// AA: the displacement is the address.
const ABSOLUTE: u32 = 2;

fn b(w: u32) -> Op {
    let displacement = ((w & 0x03ff_fffc) << 6) as i32 >> 6;
    let link = last(w);
    match (w & ABSOLUTE != 0, link != 0) {
        (true, _) => Op::new(Code::Ba, 0, 0, displacement as u32 | link),
        (false, true) => Op::new(Code::Bl, 0, 0, displacement as u32),
        (false, false) => Op::new(Code::B, 0, 0, displacement as u32),
    }
}

/// BO without its hints: nothing of a condition, nothing of CTR.
const fn is_always(bo: u32) -> bool {
    bo & 0b10100 == 0b10100
}

fn bc(w: u32) -> Op {
    let (bo, bi, displacement) = (rt(w), ra(w), si(w) & !3);
    let (field, bit) = (bi >> 2, 8 >> (bi & 3));
    if w & (ABSOLUTE | 1) != 0 {
        return Op::new(Code::BcAny, bo, bi, displacement | w & (ABSOLUTE | 1));
    }
    match bo {
        _ if is_always(bo) => Op::new(Code::B, 0, 0, displacement),
        _ if bo & 0b11100 == 0b01100 => Op::new(Code::Bt, field, bit, displacement),
        _ if bo & 0b11100 == 0b00100 => Op::new(Code::Bf, field, bit, displacement),
        _ if bo & 0b10110 == 0b10000 => Op::new(Code::Bdnz, 0, 0, displacement),
        _ => Op::new(Code::BcAny, bo, bi, displacement),
    }
}

fn to_register(w: u32, any: Code, always: Option<Code>, always_link: Option<Code>) -> Op {
    let plain = if last(w) != 0 { always_link } else { always };
    match plain {
        Some(code) if is_always(rt(w)) => Op::new(code, 0, 0, 0),
        _ => Op::new(any, rt(w), ra(w), last(w)),
    }
}

/// An instruction of three bits of CR.
macro_rules! cr_logical {
    ($name:literal, $extended:literal, $f:expr) => {
        call($name, xl($extended), "bt,ba,bb", |s, _, w| {
            let f: fn(bool, bool) -> bool = $f;
            let value = f(s.cr_bit(ra(w)), s.cr_bit(rb(w)));
            s.set_cr_bit(rt(w), value);
            Ok(())
        })
    };
}

const fn xl(extended: u32) -> Pattern {
    x(19, extended)
}

/// SO, OV, OV32, CA, CA32 as condition register fields have them.
fn xer_flags(s: &State) -> u8 {
    let xer = s.xer;
    u8::from(xer.ov) << 3 | u8::from(xer.ov32) << 2 | u8::from(xer.ca) << 1 | u8::from(xer.ca32)
}

pub(super) const TABLE: &[Insn] = &[
    op("b", primary(18), "target", b),
    op("bc", primary(16), "bo,bi,bd", bc),
    op("bclr", xl(16), "bo,bi", |w| to_register(w, Code::BclrAny, Some(Code::Blr), None)),
    op("bcctr", xl(528), "bo,bi", |w| {
        to_register(w, Code::BcctrAny, Some(Code::Bctr), Some(Code::Bctrl))
    }),
    op("bctar", xl(560), "bo,bi", |w| to_register(w, Code::BctarAny, None, None)),
    cr_logical!("crand", 257, |a, b| a & b),
    cr_logical!("crandc", 129, |a, b| a & !b),
    cr_logical!("creqv", 289, |a, b| a == b),
    cr_logical!("crnand", 225, |a, b| !(a & b)),
    cr_logical!("crnor", 33, |a, b| !(a | b)),
    cr_logical!("cror", 449, |a, b| a | b),
    cr_logical!("crorc", 417, |a, b| a | !b),
    cr_logical!("crxor", 193, |a, b| a ^ b),
    call("mcrf", xl(0), "bf,bfa", |s, _, w| {
        s.cr[bf(w) as usize] = s.cr[bfa(w) as usize];
        Ok(())
    }),
    op("mfcr", (0xfc10_07fe, 31 << 26 | 19 << 1), "rt", |w| Op::new(Code::Mfcr, rt(w), 0, 0)),
    call("mfocrf", (0xfc10_07fe, 31 << 26 | 1 << 20 | 19 << 1), "rt,fxm", |s, _, w| {
        let fields = w >> 12 & 0xff;
        // More or fewer than one field: undefined, here all of CR.
        let value = match fields.count_ones() {
            1 => s.cr() & 0xf << (4 * fields.trailing_zeros()),
            _ => s.cr(),
        };
        s.gpr[rt(w) as usize] = u64::from(value);
        Ok(())
    }),
    op("mtcrf", (0xfc10_07fe, 31 << 26 | 144 << 1), "fxm,rs", |w| {
        Op::new(Code::Mtcrf, rt(w), 0, w >> 12 & 0xff)
    }),
    op("mtocrf", (0xfc10_07fe, 31 << 26 | 1 << 20 | 144 << 1), "fxm,rs", |w| {
        Op::new(Code::Mtcrf, rt(w), 0, w >> 12 & 0xff)
    }),
    call("mcrxrx", x(31, 576), "bf", |s, _, w| {
        s.cr[bf(w) as usize] = xer_flags(s);
        Ok(())
    }),
    call("setb", x(31, 128), "rt,bfa", |s, _, w| {
        let field = s.cr[bfa(w) as usize];
        s.gpr[rt(w) as usize] = match field {
            8.. => u64::MAX,
            4.. => 1,
            _ => 0,
        };
        Ok(())
    }),
];
