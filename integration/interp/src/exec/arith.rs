//! What the loop's instructions reckon with: carries, overflow, masks, shifts.

use crate::bits::{mask, msr};
use crate::state::State;

/// The word in both halves of a doubleword, rotated left (Book I §3.3.14, ROTL32).
#[inline(always)]
pub(super) fn rotate_word(value: u64, amount: u32) -> u64 {
    let word = u64::from((value as u32).rotate_left(amount));
    word << 32 | word
}

/// The mask of a word rotate, its begin and end in the upper bytes of `imm`.
#[inline(always)]
pub(super) fn word_mask(imm: u32) -> u64 {
    mask((imm >> 16 & 31) + 32, (imm >> 24 & 31) + 32)
}

/// Ones from bit 0 to bit `end`.
#[inline(always)]
pub(super) fn right_mask(end: u32) -> u64 {
    u64::MAX << (63 - (end & 63))
}

impl State {
    /// Whether a conditional branch is taken; counts CTR down if it says so (Book I §2.4).
    pub(super) fn branch_taken(&mut self, bo: u8, bi: u8) -> bool {
        if bo & 4 == 0 {
            self.ctr = self.ctr.wrapping_sub(1);
        }
        let counted = bo & 4 != 0 || (self.ctr & self.ea_mask != 0) != (bo & 2 != 0);
        let condition = bo & 16 != 0 || self.cr_bit(u32::from(bi)) == (bo & 8 != 0);
        counted && condition
    }

    /// a + b + carry, setting CA, and OV if wanted (Book I §3.3.9).
    #[inline(always)]
    pub(crate) fn add_carrying(&mut self, a: u64, b: u64, carry: bool, overflow: bool) -> u64 {
        let (sum, first) = a.overflowing_add(b);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        // Carries into a bit show in the sum; so the carry out of the low word is the one into
        // bit 31.
        self.xer.ca32 = (a ^ b ^ sum) >> 32 & 1 != 0;
        self.xer.ca = first | second;
        if self.msr() & msr::SF == 0 {
            self.xer.ca = self.xer.ca32;
        }
        if overflow {
            self.overflow_of_sum(a, b, sum);
        }
        sum
    }

    /// OV of a sum: both operands have the sign that it does not have.
    pub(crate) fn overflow_of_sum(&mut self, a: u64, b: u64, sum: u64) {
        let differs = (a ^ sum) & (b ^ sum);
        let (long, short) = (differs >> 63 != 0, differs >> 31 & 1 != 0);
        let is_64bit = self.msr() & msr::SF != 0;
        self.overflow(if is_64bit { long } else { short }, short);
    }

    /// Arithmetic shift of a word; CA tells of ones that a negative number lost (§3.3.14.2).
    pub(super) fn shift_right_word(&mut self, value: u64, amount: u32) -> u64 {
        let word = value as i32;
        let lost =
            if amount > 31 { word != 0 } else { word & ((1i32 << amount).wrapping_sub(1)) != 0 };
        self.xer.ca = word < 0 && lost;
        self.xer.ca32 = self.xer.ca;
        (word >> amount.min(31)) as u64
    }

    /// The same of a doubleword.
    pub(super) fn shift_right_doubleword(&mut self, value: u64, amount: u32) -> u64 {
        let long = value as i64;
        let lost =
            if amount > 63 { long != 0 } else { long & ((1i64 << amount).wrapping_sub(1)) != 0 };
        self.xer.ca = long < 0 && lost;
        self.xer.ca32 = self.xer.ca;
        (long >> amount.min(63)) as u64
    }
}
