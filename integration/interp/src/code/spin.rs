//! Loops in which a CPU waits for another one.

use crate::op::{Code, Op, PAGE_OPS};

/// `or rx,rx,rx` that say that the program has nothing better to do: priority low, very low, and
/// `yield` (Power ISA 3.0B, Book II §3.2).
const IDLE_HINTS: [u32; 3] = [0x7c21_0b78, 0x7fff_fb78, 0x7f7b_db78];

/// Such loops are short.
const LOOP_OPS: usize = 8;

/// Whether the code from `first` on only waits: it says so itself, or loads, compares and branches
/// back to `first`.
pub(crate) fn waits(ops: &[Op; PAGE_OPS], first: usize) -> bool {
    let mut does_more = false;
    for (index, op) in ops.iter().enumerate().skip(first).take(LOOP_OPS) {
        match op.code {
            Code::Call if IDLE_HINTS.contains(&op.imm) => return true,
            Code::B | Code::Bt | Code::Bf => {
                let to = index as i64 + (op.signed() >> 2);
                return !does_more && to == first as i64;
            }
            Code::Lbz | Code::Lhz | Code::Lwz | Code::Ld => does_more |= op.a == op.b,
            Code::Cmpdi | Code::Cmpwi | Code::Cmpldi | Code::Cmplwi => {}
            Code::Cmpd | Code::Cmpw | Code::Cmpld | Code::Cmplw | Code::Nop => {}
            Code::Undecoded | Code::Ba | Code::Blr | Code::Bctr => return false,
            // A hint may still come.
            _ => does_more = true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits_in(words: &[u32], first: usize) -> bool {
        let mut ops = [Op::UNDECODED; PAGE_OPS];
        for (op, word) in ops.iter_mut().zip(words) {
            *op = crate::isa::decode(*word);
        }
        waits(&ops, first)
    }

    #[test]
    fn loops_that_wait_are_told_from_those_that_work() {
        // b .
        assert!(waits_in(&[0x4800_0000], 0));
        // 1: ld r12,0(r4); cmpdi r12,0; beq 1b
        assert!(waits_in(&[0xe984_0000, 0x2c2c_0000, 0x4182_fff8], 0));
        // 1: or 1,1,1; lwz r4,0(r5); cmpwi r4,0; beq 1b, and from the second instruction on
        let low = [0x7c21_0b78, 0x8085_0000, 0x2c04_0000, 0x4182_fff4];
        assert!(waits_in(&low, 0));
        assert!(!waits_in(&low, 1));
        // 1: mftb r5; or 31,31,31; cmpd r5,r6; blt 1b
        assert!(waits_in(&[0x7cac_42a6, 0x7fff_fb78, 0x7c25_3000, 0x4180_fff4], 0));
        // It follows a list: 1: ld r4,0(r4); cmpdi r4,0; bne 1b
        assert!(!waits_in(&[0xe884_0000, 0x2c24_0000, 0x4082_fff8], 0));
        // It counts: 1: addi r5,r5,1; ld r6,0(r4); cmpdi r6,0; beq 1b
        assert!(!waits_in(&[0x38a5_0001, 0xe8c4_0000, 0x2c26_0000, 0x4182_fff4], 0));
        assert!(!waits_in(&[], 0));
    }
}
