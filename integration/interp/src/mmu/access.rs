//! Loads and stores at effective addresses.

use super::{Access, tlb};
use crate::bits::dsisr;
use crate::ram::{NoRam, PAGE_BYTES, PAGE_SHIFT, Ram, Word};
use crate::state::{Mmio, Reservation, State};
use crate::trap::Trap;

const OFFSET_MASK: u64 = PAGE_BYTES - 1;

impl State {
    /// Loads in the current byte order.
    #[inline(always)]
    pub(crate) fn load<T: Word>(&mut self, ram: &Ram<'_>, ea: u64) -> Result<T, Trap> {
        let ea = ea & self.ea_mask;
        let entry = &self.tlb.entries[tlb::slot(ea)];
        if entry.read == tlb::tag(ea, T::BYTES, self.tlb.context) {
            if let Ok(value) = ram.load::<T>(ea.wrapping_add(entry.to_real)) {
                return Ok(if self.big_endian { big(value) } else { value.little_endian_value() });
            }
        }
        self.load_slow(ram, ea)
    }

    /// Stores in the current byte order.
    #[inline(always)]
    pub(crate) fn store<T: Word>(&mut self, ram: &Ram<'_>, ea: u64, value: T) -> Result<(), Trap> {
        let ea = ea & self.ea_mask;
        let entry = &self.tlb.entries[tlb::slot(ea)];
        if entry.write == tlb::tag(ea, T::BYTES, self.tlb.context) {
            let value = if self.big_endian { big(value) } else { value.little_endian_value() };
            if let Ok(()) = ram.store::<T>(ea.wrapping_add(entry.to_real), value) {
                return Ok(());
            }
        }
        self.store_slow(ram, ea, value)
    }

    #[cold]
    #[inline(never)]
    fn load_slow<T: Word>(&mut self, ram: &Ram<'_>, ea: u64) -> Result<T, Trap> {
        let value = if (ea & OFFSET_MASK) + T::BYTES <= PAGE_BYTES {
            let real = self.real(ram, ea, false)?;
            match ram.load::<T>(real) {
                Ok(value) => value,
                Err(NoRam) => self.mmio_load(real, ea)?,
            }
        } else {
            let ends_at = ea.wrapping_add(T::BYTES - 1) & self.ea_mask;
            let first = self.real(ram, ea, false)?;
            let second = self.real(ram, ends_at & !OFFSET_MASK, false)?;
            let in_first = PAGE_BYTES - (ea & OFFSET_MASK);
            let mut bytes = [0; 8];
            for (at, byte) in (0..T::BYTES).zip(&mut bytes) {
                let real = if at < in_first { first + at } else { second + at - in_first };
                *byte = ram.load::<u8>(real).map_err(|NoRam| self.unaligned_mmio(ea))?;
            }
            T::from_memory(&bytes)
        };
        Ok(if self.big_endian { big(value) } else { value.little_endian_value() })
    }

    #[cold]
    #[inline(never)]
    fn store_slow<T: Word>(&mut self, ram: &Ram<'_>, ea: u64, value: T) -> Result<(), Trap> {
        let value = if self.big_endian { big(value) } else { value.little_endian_value() };
        if (ea & OFFSET_MASK) + T::BYTES <= PAGE_BYTES {
            let real = self.real(ram, ea, true)?;
            self.note_store(real);
            return match ram.store::<T>(real, value) {
                Ok(()) => Ok(()),
                Err(NoRam) => self.mmio_store(real, ea, value),
            };
        }
        let ends_at = ea.wrapping_add(T::BYTES - 1) & self.ea_mask;
        let first = self.real(ram, ea, true)?;
        let second = self.real(ram, ends_at & !OFFSET_MASK, true)?;
        if !ram.has_page(first & !OFFSET_MASK) || !ram.has_page(second) {
            return Err(self.unaligned_mmio(ea));
        }
        self.note_store(first);
        self.note_store(second);
        let in_first = PAGE_BYTES - (ea & OFFSET_MASK);
        let bytes = value.to_memory();
        for (at, byte) in (0..T::BYTES).zip(bytes) {
            let real = if at < in_first { first + at } else { second + at - in_first };
            ram.store::<u8>(real, byte).map_err(|NoRam| self.unaligned_mmio(ea))?;
        }
        Ok(())
    }

    /// The real address of `ea`, for a load or a store.
    pub(crate) fn real(&mut self, ram: &Ram<'_>, ea: u64, store: bool) -> Result<u64, Trap> {
        let offset = ea & OFFSET_MASK;
        if let Some(page) = self.tlb.find(ea, store) {
            return Ok(page | offset);
        }
        let access = if store { Access::Store } else { Access::Load };
        let page = self.translate(ram, ea, access)?;
        if ram.has_page(page.real) {
            self.tlb.insert(ea, page.real, page.may_read, page.may_write);
        }
        Ok(page.real | offset)
    }

    /// The real address of the instruction at the program counter, which is in RAM.
    pub(crate) fn code_address(&mut self, ram: &Ram<'_>) -> Result<u64, Trap> {
        let page = self.translate(ram, self.pc, Access::Fetch)?;
        if !ram.has_page(page.real) {
            self.fault_dsisr = dsisr::NOT_FOUND;
            return Err(Trap::InstructionStorage);
        }
        Ok(page.real | self.pc & OFFSET_MASK)
    }

    /// The instruction at a real address.
    pub(crate) fn code_word(&self, ram: &Ram<'_>, real: u64) -> u32 {
        let word = ram.load::<u32>(real).unwrap_or(0);
        if self.big_endian { u32::from_be(word) } else { u32::from_le(word) }
    }

    /// Sees to it that decoded code which is stored over is decoded again.
    pub(super) fn note_store(&mut self, real: u64) {
        let page = real >> PAGE_SHIFT;
        if self.tlb.is_code(page) {
            self.tlb.unmark_code(page);
            self.written.push(page);
        }
    }

    /// Loads a part of what an instruction loads; see [`Self::no_part`].
    #[inline(always)]
    pub(crate) fn load_part<T: Word>(&mut self, ram: &Ram<'_>, ea: u64) -> Result<T, Trap> {
        self.load(ram, ea).map_err(|trap| self.no_part(trap, ea))
    }

    /// Stores a part of what an instruction stores; see [`Self::no_part`].
    #[inline(always)]
    pub(crate) fn store_part<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        value: T,
    ) -> Result<(), Trap> {
        self.store(ram, ea, value).map_err(|trap| self.no_part(trap, ea))
    }

    /// The machine answers one access of an instruction, which is then executed again: one that
    /// makes several outside RAM would ask for ever. Alignment interrupts are what such
    /// instructions may cause in storage that is not cached (Book III §6.5.8).
    #[cold]
    fn no_part(&mut self, trap: Trap, ea: u64) -> Trap {
        if trap != Trap::Mmio {
            return trap;
        }
        self.mmio = Mmio::None;
        self.unaligned_mmio(ea & self.ea_mask)
    }

    /// Sixteen bytes as one register, from the first two halves in memory order.
    pub(crate) fn load_quad(&mut self, ram: &Ram<'_>, ea: u64) -> Result<u128, Trap> {
        let first = u128::from(self.load_part::<u64>(ram, ea)?);
        let second = u128::from(self.load_part::<u64>(ram, ea.wrapping_add(8))?);
        Ok(if self.big_endian { first << 64 | second } else { second << 64 | first })
    }

    /// Stores sixteen bytes.
    pub(crate) fn store_quad(&mut self, ram: &Ram<'_>, ea: u64, value: u128) -> Result<(), Trap> {
        // Both halves must be storable before one is stored.
        let second = ea.wrapping_add(8);
        self.real(ram, second.wrapping_add(7) & self.ea_mask, true)?;
        let (high, low) = ((value >> 64) as u64, value as u64);
        let halves = if self.big_endian { [high, low] } else { [low, high] };
        self.store_part(ram, ea, halves[0])?;
        self.store_part(ram, second, halves[1])
    }

    /// Loads and reserves (Book II §4.6.2).
    pub(crate) fn load_reserve<T: Word>(&mut self, ram: &Ram<'_>, ea: u64) -> Result<T, Trap> {
        let ea = ea & self.ea_mask;
        self.need_aligned(ea, T::BYTES)?;
        let value = self.load::<T>(ram, ea)?;
        let real = self.real(ram, ea, false)?;
        let kept = value.widen().into();
        self.reservation = Some(Reservation { real, bytes: T::BYTES, value: kept });
        Ok(value)
    }

    /// Stores if the reservation is still good; whether it was.
    pub(crate) fn store_conditional<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        value: T,
    ) -> Result<bool, Trap> {
        let ea = ea & self.ea_mask;
        self.need_aligned(ea, T::BYTES)?;
        let real = self.real(ram, ea, true)?;
        let Some(kept) = self.reservation.take() else { return Ok(false) };
        if kept.real != real || kept.bytes != T::BYTES {
            return Ok(false);
        }
        self.note_store(real);
        let order =
            |value: T| if self.big_endian { big(value) } else { value.little_endian_value() };
        let old = T::narrow(kept.value as u64);
        ram.exchange(real, order(old), order(value)).map_err(|NoRam| self.unaligned_mmio(ea))
    }

    pub(crate) fn need_aligned(&mut self, ea: u64, bytes: u64) -> Result<(), Trap> {
        if ea & (bytes - 1) == 0 { Ok(()) } else { Err(self.unaligned_mmio(ea)) }
    }

    /// Zeroes a block of 128 bytes, as `dcbz` does.
    pub(crate) fn zero_block(&mut self, ram: &Ram<'_>, ea: u64) -> Result<(), Trap> {
        let ea = ea & self.ea_mask & !127;
        let real = self.real(ram, ea, true)?;
        self.note_store(real);
        ram.fill_zero(real, 128).map_err(|NoRam| self.unaligned_mmio(ea))
    }

    fn mmio_load<T: Word>(&mut self, real: u64, ea: u64) -> Result<T, Trap> {
        let bytes = T::BYTES as u8;
        if ea & (T::BYTES - 1) != 0 {
            return Err(self.unaligned_mmio(ea));
        }
        match self.mmio {
            Mmio::Answered { real: at, bytes: count, value } if (at, count) == (real, bytes) => {
                self.mmio = Mmio::None;
                Ok(T::from_memory(&value.to_ne_bytes()))
            }
            _ => {
                self.mmio = Mmio::Read { real, bytes };
                Err(Trap::Mmio)
            }
        }
    }

    fn mmio_store<T: Word>(&mut self, real: u64, ea: u64, value: T) -> Result<(), Trap> {
        if ea & (T::BYTES - 1) != 0 {
            return Err(self.unaligned_mmio(ea));
        }
        match self.mmio {
            Mmio::Written { real: at } if at == real => {
                self.mmio = Mmio::None;
                Ok(())
            }
            _ => {
                let value = u64::from_ne_bytes(value.to_memory());
                self.mmio = Mmio::Write { real, bytes: T::BYTES as u8, value };
                Err(Trap::Mmio)
            }
        }
    }

    /// An access that must be aligned and is not, or must be of RAM and is not.
    pub(crate) fn unaligned_mmio(&mut self, ea: u64) -> Trap {
        self.fault_address = ea;
        Trap::Alignment
    }
}

/// The other byte order is rare: a branch, not a selection that every access waits for.
#[cold]
#[inline(never)]
fn big<T: Word>(value: T) -> T {
    value.big_endian_value()
}
