//! The loop over decoded operations, and the instructions that are most of what is executed.
//!
//! It keeps three things in registers of the host: the operations of the current page, the index
//! of the current one, and `slack`: the index at which the slice would be over if execution went
//! straight on. So counting instructions costs nothing but at branches, and only there (and where
//! a page ends) is the end of the slice noticed.

use std::hint::black_box;

use super::arith::{right_mask, rotate_word, word_mask};
use crate::bits::mask;
use crate::bus::CpuBus;
use crate::code::Cache;
use crate::isa;
use crate::op::{Code, Op, PAGE_OPS};
use crate::ram::{PAGE_BYTES, Ram};
use crate::state::State;
use crate::trap::Trap;

/// Why the loop ended. The program counter is in the state, and the instructions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The slice is over.
    Slice,
    /// The instruction at the program counter, on this decoded page, did not complete.
    Trap(Trap, u32),
    /// The operation at the program counter, on this decoded page, is not decoded.
    Undecoded(u32),
    /// The page of the program counter is not known.
    Unmapped,
}

/// Executes at most about `limit` instructions from the program counter on, which is on the
/// decoded page `page`.
pub(crate) fn run(
    s: &mut State,
    ram: &Ram<'_>,
    cache: &Cache,
    bus: &dyn CpuBus,
    page: u32,
    limit: i64,
) -> Leave {
    match s.big_endian {
        true => run_in_order::<true>(s, ram, cache, bus, page, limit),
        false => run_in_order::<false>(s, ram, cache, bus, page, limit),
    }
}

/// The loop for one byte order: whatever changes that leaves the loop.
#[inline(never)]
#[expect(clippy::cast_lossless, reason = "one macro for the loads of all widths")]
fn run_in_order<const BIG_ENDIAN: bool>(
    s: &mut State,
    ram: &Ram<'_>,
    cache: &Cache,
    bus: &dyn CpuBus,
    page: u32,
    limit: i64,
) -> Leave {
    let table = isa::table();
    let mut page = page;
    let mut ops: &[Op; PAGE_OPS] = cache.page(page);
    let mut base = s.pc & !(PAGE_BYTES - 1);
    let mut index = (s.pc & (PAGE_BYTES - 1)) as usize >> 2;
    let mut slack = index as i64 + limit;

    // `$done`: how many operations of the straight run are done at `index`.
    macro_rules! leave {
        ($leave:expr, $done:expr) => {{
            let left = slack - (index as i64 + $done);
            s.executed = s.executed.wrapping_add((limit - left) as u64);
            return $leave;
        }};
    }
    macro_rules! here {
        () => {
            // A black box, or the compiler would count in fours beside, at every instruction.
            base.wrapping_add(black_box(index) as u64 * 4) & s.ea_mask
        };
    }
    macro_rules! trap {
        ($trap:expr) => {{
            let trap = $trap;
            // What ends with this has set where to go on.
            if trap != Trap::Resync {
                s.pc = here!();
            }
            leave!(Leave::Trap(trap, page), 1)
        }};
    }
    macro_rules! check {
        ($result:expr) => {
            match $result {
                Ok(value) => value,
                Err(trap) => trap!(trap),
            }
        };
    }
    // Goes on at an effective address.
    macro_rules! go {
        ($to:expr, $done:expr) => {{
            let to: u64 = $to & s.ea_mask & !3;
            let left = slack - (index as i64 + $done);
            match s.tlb.find_code(to) {
                // Others may have changed the code that this leads to.
                Some(found) if left > 0 && !s.system.has_changed(&s.followed) => {
                    page = found;
                    ops = cache.page(page);
                    base = to & !(PAGE_BYTES - 1);
                    index = (to & (PAGE_BYTES - 1)) as usize >> 2;
                    slack = index as i64 + left;
                    continue;
                }
                found => {
                    s.pc = to;
                    let leave = if found.is_some() { Leave::Slice } else { Leave::Unmapped };
                    leave!(leave, $done)
                }
            }
        }};
    }
    // Goes on at a displacement from here.
    macro_rules! jump {
        ($displacement:expr) => {{
            let displacement: i64 = $displacement;
            let to = index as i64 + (displacement >> 2);
            if (to as u64) < PAGE_OPS as u64 {
                slack += to - (index as i64 + 1);
                index = to as usize;
                if slack <= to {
                    s.pc = here!();
                    leave!(Leave::Slice, 0)
                }
                continue;
            }
            go!(here!().wrapping_add(displacement as u64), 1)
        }};
    }
    macro_rules! gpr {
        ($number:expr) => {
            s.gpr[$number as usize]
        };
    }
    macro_rules! record {
        ($op:expr, $value:expr) => {{
            let value: u64 = $value;
            gpr!($op.a) = value;
            if $op.records() {
                s.record(value);
            }
        }};
    }
    macro_rules! load {
        ($op:expr, $ea:expr, $word:ty, $wide:ty) => {{
            let value = check!(s.load_ordered::<$word>(ram, $ea, BIG_ENDIAN));
            gpr!($op.a) = value as $wide as u64;
        }};
        (update $op:expr, $ea:expr, $word:ty, $wide:ty) => {{
            let ea: u64 = $ea;
            let value = check!(s.load_ordered::<$word>(ram, ea, BIG_ENDIAN));
            gpr!($op.b) = ea;
            gpr!($op.a) = value as $wide as u64;
        }};
    }
    macro_rules! store {
        ($op:expr, $ea:expr, $word:ty) => {{
            let value = gpr!($op.a) as $word;
            check!(s.store_ordered::<$word>(ram, $ea, value, BIG_ENDIAN));
        }};
        (update $op:expr, $ea:expr, $word:ty) => {{
            let ea: u64 = $ea;
            let value = gpr!($op.a) as $word;
            check!(s.store_ordered::<$word>(ram, ea, value, BIG_ENDIAN));
            gpr!($op.b) = ea;
        }};
    }
    macro_rules! d {
        ($op:expr) => {
            gpr!($op.b).wrapping_add($op.signed() as u64)
        };
    }
    macro_rules! x {
        ($op:expr) => {
            gpr!($op.b).wrapping_add(gpr!($op.c()))
        };
    }
    // a + b + carry, with what XER and CR have to know of it.
    macro_rules! carry {
        ($op:expr, $a:expr, $b:expr, $carry:expr) => {{
            let value = s.add_carrying($a, $b, $carry, $op.overflows());
            record!($op, value)
        }};
    }
    macro_rules! multiply {
        ($op:expr, $value:expr, $overflow:expr) => {{
            let value: u64 = $value;
            if $op.overflows() {
                let overflow: bool = $overflow;
                s.overflow(overflow, overflow);
            }
            record!($op, value)
        }};
    }
    macro_rules! compare {
        ($op:expr, $a:expr, $b:expr) => {
            s.cr[($op.a & 7) as usize] = s.compared($a.cmp(&$b))
        };
    }

    loop {
        let Some(op) = ops.get(index) else {
            // The page ends here.
            go!(base.wrapping_add(PAGE_BYTES), 0)
        };
        match op.code {
            Code::Undecoded => {
                s.pc = here!();
                leave!(Leave::Undecoded(page), 0)
            }
            Code::Call => {
                s.pc = here!();
                let insn = &table[usize::from(op.a) | usize::from(op.b) << 8];
                check!(insn.execute(s, ram, op.imm));
            }
            Code::Addi => gpr!(op.a) = gpr!(op.b).wrapping_add(op.signed() as u64),
            Code::Ori => gpr!(op.a) = gpr!(op.b) | u64::from(op.imm),
            Code::Xori => gpr!(op.a) = gpr!(op.b) ^ u64::from(op.imm),
            Code::AndiRecord => {
                let value = gpr!(op.b) & u64::from(op.imm);
                gpr!(op.a) = value;
                s.record(value);
            }
            Code::Mulli => gpr!(op.a) = gpr!(op.b).wrapping_mul(op.signed() as u64),
            Code::Addic => {
                let value = s.add_carrying(gpr!(op.b), op.signed() as u64, false, false);
                gpr!(op.a) = value;
            }
            Code::Subfic => {
                let value = s.add_carrying(!gpr!(op.b), op.signed() as u64, true, false);
                gpr!(op.a) = value;
            }
            Code::Add => {
                let (a, b) = (gpr!(op.b), gpr!(op.c()));
                let value = a.wrapping_add(b);
                if op.overflows() {
                    s.overflow_of_sum(a, b, value);
                }
                record!(op, value);
            }
            Code::Subf => {
                let (a, b) = (gpr!(op.b), gpr!(op.c()));
                let value = b.wrapping_sub(a);
                if op.overflows() {
                    s.overflow_of_sum(!a, b, value);
                }
                record!(op, value);
            }
            Code::Neg => {
                let a = gpr!(op.b);
                let value = a.wrapping_neg();
                if op.overflows() {
                    s.overflow_of_sum(!a, 0, value);
                }
                record!(op, value);
            }
            Code::And => record!(op, gpr!(op.b) & gpr!(op.c())),
            Code::Or => record!(op, gpr!(op.b) | gpr!(op.c())),
            Code::Xor => record!(op, gpr!(op.b) ^ gpr!(op.c())),
            Code::Nor => record!(op, !(gpr!(op.b) | gpr!(op.c()))),
            Code::Nand => record!(op, !(gpr!(op.b) & gpr!(op.c()))),
            Code::Eqv => record!(op, !(gpr!(op.b) ^ gpr!(op.c()))),
            Code::Andc => record!(op, gpr!(op.b) & !gpr!(op.c())),
            Code::Orc => record!(op, gpr!(op.b) | !gpr!(op.c())),
            Code::Mullw => {
                let value = i64::from(gpr!(op.b) as i32) * i64::from(gpr!(op.c()) as i32);
                multiply!(op, value as u64, i32::try_from(value).is_err());
            }
            Code::Mulld => {
                let (a, b) = (gpr!(op.b) as i64, gpr!(op.c()) as i64);
                multiply!(op, a.wrapping_mul(b) as u64, a.checked_mul(b).is_none());
            }
            Code::Mulhw => {
                let value = i64::from(gpr!(op.b) as i32) * i64::from(gpr!(op.c()) as i32);
                // The upper half is undefined.
                record!(op, u64::from((value >> 32) as u32));
            }
            Code::Mulhwu => {
                let value = u64::from(gpr!(op.b) as u32) * u64::from(gpr!(op.c()) as u32);
                record!(op, value >> 32);
            }
            Code::Mulhd => {
                let value = i128::from(gpr!(op.b) as i64) * i128::from(gpr!(op.c()) as i64);
                record!(op, (value >> 64) as u64);
            }
            Code::Mulhdu => {
                let value = u128::from(gpr!(op.b)) * u128::from(gpr!(op.c()));
                record!(op, (value >> 64) as u64);
            }
            Code::Divw => {
                let value = (gpr!(op.b) as i32).checked_div(gpr!(op.c()) as i32);
                multiply!(op, u64::from(value.unwrap_or(0) as u32), value.is_none());
            }
            Code::Divwu => {
                let value = (gpr!(op.b) as u32).checked_div(gpr!(op.c()) as u32);
                multiply!(op, u64::from(value.unwrap_or(0)), value.is_none());
            }
            Code::Divd => {
                let value = (gpr!(op.b) as i64).checked_div(gpr!(op.c()) as i64);
                multiply!(op, value.unwrap_or(0) as u64, value.is_none());
            }
            Code::Divdu => {
                let value = gpr!(op.b).checked_div(gpr!(op.c()));
                multiply!(op, value.unwrap_or(0), value.is_none());
            }
            Code::Addc => carry!(op, gpr!(op.b), gpr!(op.c()), false),
            Code::Adde => carry!(op, gpr!(op.b), gpr!(op.c()), s.xer.ca),
            Code::Subfc => carry!(op, !gpr!(op.b), gpr!(op.c()), true),
            Code::Subfe => carry!(op, !gpr!(op.b), gpr!(op.c()), s.xer.ca),
            Code::Addze => carry!(op, gpr!(op.b), 0, s.xer.ca),
            Code::Addme => carry!(op, gpr!(op.b), u64::MAX, s.xer.ca),
            Code::Subfze => carry!(op, !gpr!(op.b), 0, s.xer.ca),
            Code::Subfme => carry!(op, !gpr!(op.b), u64::MAX, s.xer.ca),
            Code::Extsb => record!(op, gpr!(op.b) as i8 as u64),
            Code::Extsh => record!(op, gpr!(op.b) as i16 as u64),
            Code::Extsw => record!(op, gpr!(op.b) as i32 as u64),
            Code::Cntlzw => record!(op, u64::from((gpr!(op.b) as u32).leading_zeros())),
            Code::Cntlzd => record!(op, u64::from(gpr!(op.b).leading_zeros())),
            Code::Cnttzw => record!(op, u64::from((gpr!(op.b) as u32).trailing_zeros())),
            Code::Cnttzd => record!(op, u64::from(gpr!(op.b).trailing_zeros())),
            Code::Slw => {
                let amount = gpr!(op.c()) as u32 & 63;
                let value = (gpr!(op.b) as u32).checked_shl(amount).unwrap_or(0);
                record!(op, u64::from(value));
            }
            Code::Srw => {
                let amount = gpr!(op.c()) as u32 & 63;
                let value = (gpr!(op.b) as u32).checked_shr(amount).unwrap_or(0);
                record!(op, u64::from(value));
            }
            Code::Sld => {
                let amount = gpr!(op.c()) as u32 & 127;
                record!(op, gpr!(op.b).checked_shl(amount).unwrap_or(0));
            }
            Code::Srd => {
                let amount = gpr!(op.c()) as u32 & 127;
                record!(op, gpr!(op.b).checked_shr(amount).unwrap_or(0));
            }
            Code::Sraw => {
                let amount = gpr!(op.c()) as u32 & 63;
                let value = s.shift_right_word(gpr!(op.b), amount);
                record!(op, value);
            }
            Code::Srad => {
                let amount = gpr!(op.c()) as u32 & 127;
                let value = s.shift_right_doubleword(gpr!(op.b), amount);
                record!(op, value);
            }
            Code::Srawi => {
                let value = s.shift_right_word(gpr!(op.b), u32::from(op.c()));
                record!(op, value);
            }
            Code::Sradi => {
                let value = s.shift_right_doubleword(gpr!(op.b), u32::from(op.c()));
                record!(op, value);
            }
            Code::Rlwinm => {
                let value = rotate_word(gpr!(op.b), u32::from(op.c()));
                record!(op, value & word_mask(op.imm));
            }
            Code::Rlwnm => {
                let value = rotate_word(gpr!(op.b), gpr!(op.c()) as u32 & 31);
                record!(op, value & word_mask(op.imm));
            }
            Code::Rlwimi => {
                let value = rotate_word(gpr!(op.b), u32::from(op.c()));
                let mask = word_mask(op.imm);
                record!(op, value & mask | gpr!(op.a) & !mask);
            }
            Code::Rldicl => {
                let value = gpr!(op.b).rotate_left(u32::from(op.c()));
                record!(op, value & u64::MAX >> (op.imm >> 16 & 63));
            }
            Code::Rldicr => {
                let value = gpr!(op.b).rotate_left(u32::from(op.c()));
                record!(op, value & right_mask(op.imm >> 16));
            }
            Code::Rldic => {
                let value = gpr!(op.b).rotate_left(u32::from(op.c()));
                let mask = mask(op.imm >> 16 & 63, 63 - u32::from(op.c() & 63));
                record!(op, value & mask);
            }
            Code::Rldimi => {
                let value = gpr!(op.b).rotate_left(u32::from(op.c()));
                let mask = mask(op.imm >> 16 & 63, 63 - u32::from(op.c() & 63));
                record!(op, value & mask | gpr!(op.a) & !mask);
            }
            Code::Rldcl => {
                let value = gpr!(op.b).rotate_left(gpr!(op.c()) as u32 & 63);
                record!(op, value & u64::MAX >> (op.imm >> 16 & 63));
            }
            Code::Rldcr => {
                let value = gpr!(op.b).rotate_left(gpr!(op.c()) as u32 & 63);
                record!(op, value & right_mask(op.imm >> 16));
            }
            Code::Cmpdi => compare!(op, (gpr!(op.b) as i64), op.signed()),
            Code::Cmpwi => compare!(op, (gpr!(op.b) as i32), (op.imm as i32)),
            Code::Cmpldi => compare!(op, gpr!(op.b), u64::from(op.imm)),
            Code::Cmplwi => compare!(op, (gpr!(op.b) as u32), op.imm),
            Code::Cmpd => compare!(op, (gpr!(op.b) as i64), (gpr!(op.c()) as i64)),
            Code::Cmpw => compare!(op, (gpr!(op.b) as i32), (gpr!(op.c()) as i32)),
            Code::Cmpld => compare!(op, gpr!(op.b), gpr!(op.c())),
            Code::Cmplw => compare!(op, (gpr!(op.b) as u32), (gpr!(op.c()) as u32)),
            Code::Isel => {
                let from = if s.cr_bit(op.imm >> 8) { op.b } else { op.c() };
                gpr!(op.a) = gpr!(from);
            }
            Code::B => jump!(op.signed()),
            Code::Bl => {
                s.lr = here!().wrapping_add(4) & s.ea_mask;
                jump!(op.signed());
            }
            Code::Bt => {
                if s.cr[(op.a & 7) as usize] & op.b != 0 {
                    jump!(op.signed());
                }
            }
            Code::Bf => {
                if s.cr[(op.a & 7) as usize] & op.b == 0 {
                    jump!(op.signed());
                }
            }
            Code::Bdnz => {
                s.ctr = s.ctr.wrapping_sub(1);
                if s.ctr & s.ea_mask != 0 {
                    jump!(op.signed());
                }
            }
            Code::BcAny => {
                let taken = s.branch_taken(op.a, op.b);
                let next = here!().wrapping_add(4) & s.ea_mask;
                if op.imm & Op::LINK != 0 {
                    s.lr = next;
                }
                if taken {
                    let displacement = op.signed() & !3;
                    // AA: the displacement is the address.
                    if op.imm & 2 != 0 {
                        go!(displacement as u64, 1);
                    }
                    jump!(displacement);
                }
            }
            Code::Ba => {
                if op.imm & Op::LINK != 0 {
                    s.lr = here!().wrapping_add(4) & s.ea_mask;
                }
                go!(op.signed() as u64 & !3, 1);
            }
            Code::Blr => go!(s.lr, 1),
            Code::Bctr => go!(s.ctr, 1),
            Code::Bctrl => {
                s.lr = here!().wrapping_add(4) & s.ea_mask;
                go!(s.ctr, 1);
            }
            Code::BclrAny | Code::BcctrAny | Code::BctarAny => {
                // Before CTR changes: what is not available has no effect.
                if op.code == Code::BctarAny {
                    check!(s.need_tar());
                }
                let taken = s.branch_taken(op.a, op.b);
                let to = match op.code {
                    Code::BclrAny => s.lr,
                    Code::BcctrAny => s.ctr,
                    _ => s.spr.tar,
                };
                if op.imm & Op::LINK != 0 {
                    s.lr = here!().wrapping_add(4) & s.ea_mask;
                }
                if taken {
                    go!(to, 1);
                }
            }
            Code::Mflr => gpr!(op.a) = s.lr,
            Code::Mtlr => s.lr = gpr!(op.a),
            Code::Mfctr => gpr!(op.a) = s.ctr,
            Code::Mtctr => s.ctr = gpr!(op.a),
            Code::Mfcr => gpr!(op.a) = u64::from(s.cr()),
            Code::Mtcrf => {
                let value = gpr!(op.a) as u32;
                for field in 0..8 {
                    if op.imm & 0x80 >> field != 0 {
                        s.cr[field] = (value >> (28 - 4 * field)) as u8 & 0xf;
                    }
                }
            }
            Code::Mftime | Code::Mttime => {
                let done = limit - (slack - index as i64);
                let now = bus.timebase(s.executed.wrapping_add(done as u64));
                if op.code == Code::Mftime {
                    gpr!(op.a) = check!(s.read_time(op.imm, now));
                } else {
                    check!(s.write_time(op.imm, gpr!(op.a), now));
                    // DEC may have an interrupt ready now.
                    s.pc = here!().wrapping_add(4);
                    leave!(Leave::Slice, 1)
                }
            }
            Code::Lbz => load!(op, d!(op), u8, u8),
            Code::Lbzx => load!(op, x!(op), u8, u8),
            Code::Lbzu => load!(update op, d!(op), u8, u8),
            Code::Lbzux => load!(update op, x!(op), u8, u8),
            Code::Lhz => load!(op, d!(op), u16, u16),
            Code::Lhzx => load!(op, x!(op), u16, u16),
            Code::Lhzu => load!(update op, d!(op), u16, u16),
            Code::Lhzux => load!(update op, x!(op), u16, u16),
            Code::Lha => load!(op, d!(op), u16, i16),
            Code::Lhax => load!(op, x!(op), u16, i16),
            Code::Lhau => load!(update op, d!(op), u16, i16),
            Code::Lhaux => load!(update op, x!(op), u16, i16),
            Code::Lwz => load!(op, d!(op), u32, u32),
            Code::Lwzx => load!(op, x!(op), u32, u32),
            Code::Lwzu => load!(update op, d!(op), u32, u32),
            Code::Lwzux => load!(update op, x!(op), u32, u32),
            Code::Lwa => load!(op, d!(op), u32, i32),
            Code::Lwax => load!(op, x!(op), u32, i32),
            Code::Lwaux => load!(update op, x!(op), u32, i32),
            Code::Ld => load!(op, d!(op), u64, u64),
            Code::Ldx => load!(op, x!(op), u64, u64),
            Code::Ldu => load!(update op, d!(op), u64, u64),
            Code::Ldux => load!(update op, x!(op), u64, u64),
            Code::Stb => store!(op, d!(op), u8),
            Code::Stbx => store!(op, x!(op), u8),
            Code::Stbu => store!(update op, d!(op), u8),
            Code::Stbux => store!(update op, x!(op), u8),
            Code::Sth => store!(op, d!(op), u16),
            Code::Sthx => store!(op, x!(op), u16),
            Code::Sthu => store!(update op, d!(op), u16),
            Code::Sthux => store!(update op, x!(op), u16),
            Code::Stw => store!(op, d!(op), u32),
            Code::Stwx => store!(op, x!(op), u32),
            Code::Stwu => store!(update op, d!(op), u32),
            Code::Stwux => store!(update op, x!(op), u32),
            Code::Std => store!(op, d!(op), u64),
            Code::Stdx => store!(op, x!(op), u64),
            Code::Stdu => store!(update op, d!(op), u64),
            Code::Stdux => store!(update op, x!(op), u64),
            Code::Dcbz => check!(s.zero_block(ram, x!(op))),
            Code::Nop => {}
        }
        index += 1;
    }
}
