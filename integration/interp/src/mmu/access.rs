//! Loads and stores at effective addresses.

use super::device::{Operand, Stage};
use super::outside::Place;
use super::{Access, PAGE_OFFSET, tlb};
use crate::bits::dsisr;
use crate::ram::{NoRam, PAGE_BYTES, PAGE_SHIFT, Ram, Word};
use crate::state::{Reservation, State};
use crate::trap::Trap;

impl State {
    /// Loads in the current byte order.
    #[inline(always)]
    pub(crate) fn load<T: Word>(&mut self, ram: &Ram<'_>, ea: u64) -> Result<T, Trap> {
        self.load_ordered(ram, ea, self.big_endian)
    }

    /// Loads in the current byte order, which the caller knows: nothing is left to be found out.
    #[inline(always)]
    pub(crate) fn load_ordered<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        big_endian: bool,
    ) -> Result<T, Trap> {
        let ea = ea & self.ea_mask;
        let entry = &self.tlb.entries[tlb::slot(ea)];
        if entry.read == tlb::tag(ea, T::BYTES, self.tlb.context) {
            if let Ok(value) = ram.load_first::<T>(entry.at(ea)) {
                return Ok(value.ordered(big_endian));
            }
        }
        self.load_slow(ram, ea)
    }

    /// Loads a part of an operand.
    #[inline(always)]
    pub(crate) fn load_part<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        operand: Operand,
        ea: u64,
    ) -> Result<T, Trap> {
        let ea = ea & self.ea_mask;
        let entry = &self.tlb.entries[tlb::slot(ea)];
        if entry.read == tlb::tag(ea, T::BYTES, self.tlb.context) {
            if let Ok(value) = ram.load_first::<T>(entry.at(ea)) {
                return Ok(value.ordered(self.big_endian));
            }
        }
        self.load_of(ram, ea, operand)
    }

    /// Loads from RAM; elsewhere it is an alignment interrupt.
    pub(crate) fn load_cached<T: Word>(&mut self, ram: &Ram<'_>, ea: u64) -> Result<T, Trap> {
        self.need_cached(ram, ea, T::BYTES, false)?;
        self.load(ram, ea)
    }

    /// Stores in the current byte order.
    #[inline(always)]
    pub(crate) fn store<T: Word>(&mut self, ram: &Ram<'_>, ea: u64, value: T) -> Result<(), Trap> {
        self.store_ordered(ram, ea, value, self.big_endian)
    }

    /// Stores in the current byte order, which the caller knows.
    #[inline(always)]
    pub(crate) fn store_ordered<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        value: T,
        big_endian: bool,
    ) -> Result<(), Trap> {
        let ea = ea & self.ea_mask;
        let entry = &self.tlb.entries[tlb::slot(ea)];
        if entry.write == tlb::tag(ea, T::BYTES, self.tlb.context) {
            if let Ok(()) = ram.store_first::<T>(entry.at(ea), value.ordered(big_endian)) {
                return Ok(());
            }
        }
        self.store_slow(ram, ea, value)
    }

    /// Stores a part of an operand. The parts are stored in the order of their addresses.
    #[inline(always)]
    pub(crate) fn store_part<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        operand: Operand,
        ea: u64,
        value: T,
    ) -> Result<(), Trap> {
        let ea = ea & self.ea_mask;
        let entry = &self.tlb.entries[tlb::slot(ea)];
        if entry.write == tlb::tag(ea, T::BYTES, self.tlb.context) {
            let value = value.ordered(self.big_endian);
            if let Ok(()) = ram.store_first::<T>(entry.at(ea), value) {
                return Ok(());
            }
        }
        self.store_of(ram, ea, value, operand)
    }

    /// Stores to RAM; elsewhere it is an alignment interrupt.
    pub(crate) fn store_cached<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        value: T,
    ) -> Result<(), Trap> {
        self.need_cached(ram, ea, T::BYTES, true)?;
        self.store(ram, ea, value)
    }

    #[cold]
    #[inline(never)]
    fn load_slow<T: Word>(&mut self, ram: &Ram<'_>, ea: u64) -> Result<T, Trap> {
        if self.is_plain(ea, T::BYTES) {
            let loaded = match self.tlb.find(ea, false) {
                Some(at) => ram.load_at::<T>(at),
                None => ram.load::<T>(self.real(ram, ea, false)?),
            };
            if let Ok(value) = loaded {
                return Ok(value.ordered(self.big_endian));
            }
        }
        self.load_of(ram, ea, Operand::new(ea, T::BYTES, T::BYTES))
    }

    #[cold]
    #[inline(never)]
    fn store_slow<T: Word>(&mut self, ram: &Ram<'_>, ea: u64, value: T) -> Result<(), Trap> {
        if self.is_plain(ea, T::BYTES) {
            let ordered = value.ordered(self.big_endian);
            let stored = match self.tlb.find(ea, true) {
                Some(at) => ram.store_at::<T>(at, ordered),
                None => {
                    let real = self.real(ram, ea, true)?;
                    self.note_store(real);
                    ram.store::<T>(real, ordered)
                }
            };
            if let Ok(()) = stored {
                return Ok(());
            }
        }
        self.store_of(ram, ea, value, Operand::new(ea, T::BYTES, T::BYTES))
    }

    /// Whether these bytes are in one page, and no access outside RAM is at work.
    fn is_plain(&self, ea: u64, bytes: u64) -> bool {
        (ea & PAGE_OFFSET) + bytes <= PAGE_BYTES && self.device.stage == Stage::Idle
    }

    #[cold]
    #[inline(never)]
    fn load_of<T: Word>(&mut self, ram: &Ram<'_>, ea: u64, operand: Operand) -> Result<T, Trap> {
        let value = match self.answered(ea) {
            Some(answer) => answer,
            None => match self.place(ram, ea, T::BYTES, false)? {
                Place::Page(real) => ram.load::<T>(real).map_err(|NoRam| self.alignment(ea))?,
                Place::Pages(first, second) => {
                    let in_first = PAGE_BYTES - (ea & PAGE_OFFSET);
                    let mut bytes = [0; 8];
                    for (at, byte) in (0..T::BYTES).zip(&mut bytes) {
                        let real = if at < in_first { first + at } else { second + at - in_first };
                        *byte = ram.load::<u8>(real).map_err(|NoRam| self.alignment(ea))?;
                    }
                    T::from_memory(&bytes)
                }
                Place::Outside(..) => return Err(self.load_outside(ram, operand)),
            },
        };
        Ok(value.ordered(self.big_endian))
    }

    #[cold]
    #[inline(never)]
    fn store_of<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        value: T,
        operand: Operand,
    ) -> Result<(), Trap> {
        if self.is_stored() {
            return Ok(());
        }
        let value = value.ordered(self.big_endian);
        if self.collects() {
            return self.store_outside(ram, operand, ea, value);
        }
        match self.place(ram, ea, T::BYTES, true)? {
            Place::Page(real) => {
                self.note_store(real);
                ram.store::<T>(real, value).map_err(|NoRam| self.alignment(ea))
            }
            Place::Pages(first, second) => {
                self.note_store(first);
                self.note_store(second);
                let in_first = PAGE_BYTES - (ea & PAGE_OFFSET);
                for (at, byte) in (0..T::BYTES).zip(value.to_memory()) {
                    let real = if at < in_first { first + at } else { second + at - in_first };
                    ram.store::<u8>(real, byte).map_err(|NoRam| self.alignment(ea))?;
                }
                Ok(())
            }
            Place::Outside(..) => self.store_outside(ram, operand, ea, value),
        }
    }

    /// Where so many bytes are, which are in two pages at most. An alignment interrupt, where only
    /// a part of them is in RAM.
    pub(super) fn place(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        bytes: u64,
        store: bool,
    ) -> Result<Place, Trap> {
        let first = self.real(ram, ea, store)?;
        let in_first = PAGE_BYTES - (ea & PAGE_OFFSET);
        if bytes <= in_first {
            return match ram.part(first, bytes) {
                Some(true) => Ok(Place::Page(first)),
                Some(false) => Ok(Place::Outside(first, first)),
                None => Err(self.alignment(ea)),
            };
        }
        let ends_in = ea.wrapping_add(in_first) & self.ea_mask;
        let second = self.real(ram, ends_in, store)?;
        match (ram.part(first, in_first), ram.part(second, bytes - in_first)) {
            (Some(true), Some(true)) => Ok(Place::Pages(first, second)),
            (Some(false), Some(false)) => Ok(Place::Outside(first, second)),
            _ => Err(self.alignment(ea)),
        }
    }

    /// What multiple and string instructions access has to be RAM.
    fn need_cached(&mut self, ram: &Ram<'_>, ea: u64, bytes: u64, store: bool) -> Result<(), Trap> {
        let ea = ea & self.ea_mask;
        match self.place(ram, ea, bytes, store)? {
            Place::Outside(..) => Err(self.alignment(ea)),
            Place::Page(_) | Place::Pages(..) => Ok(()),
        }
    }

    /// The real address of `ea`, for a load or a store.
    pub(crate) fn real(&mut self, ram: &Ram<'_>, ea: u64, store: bool) -> Result<u64, Trap> {
        let offset = ea & PAGE_OFFSET;
        if let Some(at) = self.tlb.find(ea, store) {
            return Ok(ram.real(at));
        }
        let access = if store { Access::Store } else { Access::Load };
        let page = self.translate(ram, ea, access)?;
        if let Some(at) = ram.find(page.real, PAGE_BYTES) {
            self.tlb.insert(ea, page.real, at, page.may_read, page.may_write);
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
        Ok(page.real | self.pc & PAGE_OFFSET)
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

    /// Sixteen bytes as one register, from the first two halves in memory order.
    pub(crate) fn load_quad(&mut self, ram: &Ram<'_>, ea: u64) -> Result<u128, Trap> {
        let operand = Operand::new(ea, 16, 8);
        let first = u128::from(self.load_part::<u64>(ram, operand, ea)?);
        let second = u128::from(self.load_part::<u64>(ram, operand, ea.wrapping_add(8))?);
        Ok(if self.big_endian { first << 64 | second } else { second << 64 | first })
    }

    /// Stores sixteen bytes.
    pub(crate) fn store_quad(&mut self, ram: &Ram<'_>, ea: u64, value: u128) -> Result<(), Trap> {
        let operand = Operand::new(ea, 16, 8);
        self.need_storable(ram, operand)?;
        let (high, low) = ((value >> 64) as u64, value as u64);
        let halves = if self.big_endian { [high, low] } else { [low, high] };
        self.store_part(ram, operand, ea, halves[0])?;
        self.store_part(ram, operand, ea.wrapping_add(8), halves[1])
    }

    /// All of what is stored in parts must be storable before the first is.
    pub(crate) fn need_storable(&mut self, ram: &Ram<'_>, operand: Operand) -> Result<(), Trap> {
        if self.is_stored() {
            return Ok(());
        }
        self.place(ram, operand.ea & self.ea_mask, operand.bytes, true).map(drop)
    }

    /// Loads and reserves (Book II §4.6.2).
    pub(crate) fn load_reserve<T: Word>(&mut self, ram: &Ram<'_>, ea: u64) -> Result<T, Trap> {
        let ea = ea & self.ea_mask;
        self.need_aligned(ea, T::BYTES)?;
        let real = self.need_ram(ram, ea, T::BYTES, false)?;
        let value = self.load::<T>(ram, ea)?;
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
        let real = self.need_ram(ram, ea, T::BYTES, true)?;
        let Some(kept) = self.reservation.take() else { return Ok(false) };
        if kept.real != real || kept.bytes != T::BYTES {
            return Ok(false);
        }
        self.note_store(real);
        let order = |value: T| value.ordered(self.big_endian);
        let old = T::narrow(kept.value as u64);
        ram.exchange(real, order(old), order(value)).map_err(|NoRam| self.alignment(ea))
    }

    pub(crate) fn need_aligned(&mut self, ea: u64, bytes: u64) -> Result<(), Trap> {
        if ea & (bytes - 1) == 0 { Ok(()) } else { Err(self.alignment(ea)) }
    }

    /// Zeroes a block of 128 bytes, as `dcbz` does. Out of the core's loop, which has no register
    /// left for what it needs.
    #[inline(never)]
    pub(crate) fn zero_block(&mut self, ram: &Ram<'_>, ea: u64) -> Result<(), Trap> {
        let ea = ea & self.ea_mask & !127;
        let real = self.real(ram, ea, true)?;
        self.note_store(real);
        ram.fill_zero(real, 128).map_err(|NoRam| self.alignment(ea))
    }
}
