//! Loads and stores of what is not RAM: see [`super::device`].

use super::device::{Device, Operand, Stage};
use crate::bits::dsisr;
use crate::ram::{Ram, Word};
use crate::state::State;
use crate::trap::Trap;

/// Where the bytes of an access are.
pub(super) enum Place {
    /// In RAM, from this real address on.
    Page(u64),
    /// In RAM, up to the end of the page at the one real address, and then from the other on.
    Pages(u64, u64),
    /// Not in RAM, in the same way.
    Outside(u64, u64),
}

impl State {
    /// The answer for the part at `ea` of what an instruction loads, if it is completed right now.
    pub(super) fn answered<T: Word>(&self, ea: u64) -> Option<T> {
        let device = &self.device;
        if device.stage != Stage::Answered {
            return None;
        }
        let mut bytes = [0; 8];
        let at = ea.wrapping_sub(device.ea) & self.ea_mask;
        let size = T::BYTES as usize;
        bytes[..size].copy_from_slice(device.data.get(at as usize..)?.get(..size)?);
        Some(T::from_memory(&bytes))
    }

    /// The operand of a load is not in RAM, where one of its parts is not.
    pub(super) fn load_outside(&mut self, ram: &Ram<'_>, operand: Operand) -> Trap {
        match self.open(ram, operand, false) {
            Ok(()) => {
                self.device.stage = Stage::Open;
                Trap::Mmio
            }
            Err(trap) => trap,
        }
    }

    /// Takes the part at `ea` of what an instruction stores, if that is outside RAM. The last one
    /// leaves guest code.
    pub(super) fn store_outside<T: Word>(
        &mut self,
        ram: &Ram<'_>,
        operand: Operand,
        ea: u64,
        value: T,
    ) -> Result<(), Trap> {
        let at = (ea.wrapping_sub(operand.ea) & self.ea_mask) as usize;
        if at == 0 {
            self.open(ram, operand, true)?;
            self.device.stage = Stage::Collects;
        }
        let size = T::BYTES as usize;
        let collects = self.device.stage == Stage::Collects;
        let Some(data) = self.device.data.get_mut(at..at + size).filter(|_| collects) else {
            // The parts before are in RAM.
            return Err(self.alignment(ea));
        };
        data.copy_from_slice(&value.to_memory()[..size]);
        if ((at + size) as u64) < operand.bytes {
            return Ok(());
        }
        self.device.stage = Stage::Open;
        Err(Trap::Mmio)
    }

    /// Whether the parts that an instruction stores go to the machine.
    pub(super) fn collects(&self) -> bool {
        self.device.stage == Stage::Collects
    }

    /// Whether the machine has stored what the instruction does that is completed right now.
    pub(super) fn is_stored(&self) -> bool {
        self.device.stage == Stage::Answered
    }

    fn open(&mut self, ram: &Ram<'_>, operand: Operand, is_store: bool) -> Result<(), Trap> {
        let Operand { ea, bytes, part } = operand;
        let ea = ea & self.ea_mask;
        let Place::Outside(first, second) = self.place(ram, ea, bytes, is_store)? else {
            return Err(self.alignment(ea));
        };
        *self.device = Device::new(is_store, Operand { ea, bytes, part }, [first, second]);
        Ok(())
    }

    /// What is only done in RAM, and needs all of it: the real address.
    pub(crate) fn need_ram(
        &mut self,
        ram: &Ram<'_>,
        ea: u64,
        bytes: u64,
        is_store: bool,
    ) -> Result<u64, Trap> {
        let ea = ea & self.ea_mask;
        let real = self.real(ram, ea, is_store)?;
        if ram.has(real, bytes) {
            return Ok(real);
        }
        self.fault_address = ea;
        self.fault_dsisr = dsisr::NOT_CACHED | if is_store { dsisr::STORE } else { 0 };
        Err(Trap::DataStorage)
    }

    /// An access that must be aligned and is not, or must be of RAM and is not.
    pub(crate) fn alignment(&mut self, ea: u64) -> Trap {
        self.fault_address = ea & self.ea_mask;
        Trap::Alignment
    }
}
