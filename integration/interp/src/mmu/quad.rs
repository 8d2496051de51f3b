//! Quadwords that are accessed whole, and pairs of words that are changed together.
//!
//! `lq`, `stq`, `lqarx` and `stqcx.` access an aligned quadword as a whole (Power ISA 3.0B, Book II
//! §1.4). The host's safe atomics end at eight bytes: what is done here to sixteen is done under
//! one lock of the machine, and so whole to all who come this way.
//!
//! Other stores do not take the lock. Both halves are compared before the first is stored, so a
//! store that fails is seen by nobody. What remains is a store of another CPU into the second half
//! in the few nanoseconds between: the first half is taken back then, but a load may have seen it,
//! and who stored the same value there meanwhile finds the old one.

use crate::ram::{Ram, Word};
use crate::state::{Reservation, State};
use crate::trap::Trap;

const BYTES: u64 = 16;

impl State {
    /// Loads an aligned quadword whole.
    pub(crate) fn load_aligned_quad(&mut self, ram: &Ram<'_>, ea: u64) -> Result<u128, Trap> {
        self.need_aligned(ea, BYTES)?;
        self.need_ram(ram, ea, BYTES, false)?;
        let system = self.system.clone();
        let _whole = system.whole();
        self.load_quad(ram, ea)
    }

    /// Stores an aligned quadword whole.
    pub(crate) fn store_aligned_quad(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        value: u128,
    ) -> Result<(), Trap> {
        self.need_aligned(ea, BYTES)?;
        self.need_ram(ram, ea, BYTES, true)?;
        let system = self.system.clone();
        let _whole = system.whole();
        self.store_quad(ram, ea, value)
    }

    /// Loads a quadword and reserves it (Book II §4.6.2).
    pub(crate) fn load_reserve_quad(&mut self, ram: &Ram<'_>, ea: u64) -> Result<u128, Trap> {
        let ea = ea & self.ea_mask;
        let value = self.load_aligned_quad(ram, ea)?;
        let real = self.real(ram, ea, false)?;
        self.reservation = Some(Reservation { real, bytes: BYTES, value });
        Ok(value)
    }

    /// Stores a quadword if the reservation is still good; whether it was.
    pub(crate) fn store_conditional_quad(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        value: u128,
    ) -> Result<bool, Trap> {
        let ea = ea & self.ea_mask;
        self.need_aligned(ea, BYTES)?;
        let real = self.need_ram(ram, ea, BYTES, true)?;
        let Some(kept) = self.reservation.take() else { return Ok(false) };
        if kept.real != real || kept.bytes != BYTES {
            return Ok(false);
        }
        let (old, new) = (self.halves(kept.value), self.halves(value));
        self.exchange_pair(ram, (ea, real), (ea, real + 8), old, new)
    }

    /// A quadword as two doublewords in the order of memory.
    fn halves(&self, value: u128) -> [u64; 2] {
        let (high, low) = ((value >> 64) as u64, value as u64);
        if self.big_endian { [high, low] } else { [low, high] }
    }

    /// Stores two aligned words that are known to be storable, given by effective and real
    /// address, if `old` is there; whether it was.
    pub(crate) fn exchange_pair<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        first: (u64, u64),
        second: (u64, u64),
        old: [T; 2],
        new: [T; 2],
    ) -> Result<bool, Trap> {
        self.note_store(first.1);
        let [old, new] = [old, new].map(|pair| pair.map(|value| value.ordered(self.big_endian)));
        let system = self.system.clone();
        let _whole = system.whole();
        for ((ea, real), old) in [first, second].into_iter().zip(old) {
            match ram.load::<T>(real) {
                Ok(now) if now == old => {}
                Ok(_) => return Ok(false),
                Err(_) => return Err(self.alignment(ea)),
            }
        }
        let exchange = |(_, real): (u64, u64), old, new| ram.exchange(real, old, new);
        let Ok(taken) = exchange(first, old[0], new[0]) else {
            return Err(self.alignment(first.0));
        };
        if !taken {
            return Ok(false);
        }
        match exchange(second, old[1], new[1]) {
            Ok(true) => Ok(true),
            other => {
                // Unless somebody has stored something else there in between, which then counts.
                let _ = exchange(first, new[0], old[0]);
                if other.is_err() { Err(self.alignment(second.0)) } else { Ok(false) }
            }
        }
    }
}
