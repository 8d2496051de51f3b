//! Accesses where there is no RAM: the machine makes them, each once.
//!
//! What accesses RAM is not touched by any of this. An operand that is not in RAM is accessed in
//! parts, as a bus would: by the elements of the register that it goes to, of eight bytes at most,
//! and what is not aligned of them in aligned pieces. The instruction waits meanwhile, and
//! completes when the last of them is answered, whatever has become of its translation.
//!
//! An operand of which only a part is in RAM is an alignment interrupt, as are multiple and string
//! instructions and `dcbz` there; what accesses a quadword whole, reserves, or changes memory at
//! once is a data storage interrupt (Power ISA 3.0B, Book III §6.5.8, §6.5.3: such storage is not
//! cached).

use crate::bits::dsisr;
use crate::code::Op;
use crate::mmu::PAGE_OFFSET;
use crate::ram::{PAGE_BYTES, Ram, Word};
use crate::state::State;
use crate::trap::Trap;

/// The most bytes that an operand has.
const OPERAND_MAX: usize = 16;

/// The most bytes that are accessed at once.
const PIECE_MAX: u64 = 8;

/// What an instruction loads or stores, if that may be outside RAM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    pub(super) ea: u64,
    pub(super) bytes: u64,
    /// How many of them one register or element takes.
    part: u64,
}

impl Operand {
    /// `bytes` at `ea`, 16 at most, accessed in parts of so many.
    pub(crate) fn new(ea: u64, bytes: u64, part: u64) -> Self {
        Self { ea, bytes, part }
    }
}

/// Where the bytes of an access are.
pub(super) enum Place {
    /// In RAM, from this real address on.
    Page(u64),
    /// In RAM, up to the end of the page at the one real address, and then from the other on.
    Pages(u64, u64),
    /// Not in RAM, in the same way.
    Outside(u64, u64),
}

/// The instruction that accesses what is not RAM.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    stage: Stage,
    is_store: bool,
    ea: u64,
    bytes: u64,
    part: u64,
    /// Where the two pages are that the operand may be in.
    real: [u64; 2],
    /// How many bytes of it the machine has accessed.
    done: u64,
    data: [u8; OPERAND_MAX],
    /// What completes when all is done, and what SRR1 tells if that is traced.
    op: Op,
    traced: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Idle,
    /// An instruction gives the parts that it stores.
    Collects,
    /// The machine makes the accesses.
    Open,
    /// All of them are made, and the instruction is executed with them.
    Answered,
}

/// What the machine has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceAccess {
    Load { real: u64, bytes: usize },
    Store { real: u64, bytes: usize, data: [u8; 8] },
}

impl Device {
    pub(crate) const IDLE: Self = Self {
        stage: Stage::Idle,
        is_store: false,
        ea: 0,
        bytes: 0,
        part: 1,
        real: [0; 2],
        done: 0,
        data: [0; OPERAND_MAX],
        op: Op::UNDECODED,
        traced: None,
    };

    /// The instruction that is to be completed.
    pub(crate) fn wait_with(&mut self, op: Op, traced: Option<u64>) {
        (self.op, self.traced) = (op, traced);
    }

    /// The access that the machine has to make, if an instruction waits for one.
    pub(crate) fn next(&self) -> Option<DeviceAccess> {
        if self.stage != Stage::Open {
            return None;
        }
        let (real, bytes) = self.piece();
        Some(match self.is_store {
            false => DeviceAccess::Load { real, bytes },
            true => {
                let mut data = [0; 8];
                data[..bytes].copy_from_slice(self.data_at(self.done, bytes));
                DeviceAccess::Store { real, bytes, data }
            }
        })
    }

    /// The machine has made the access. The instruction and its trace interrupt, if that was the
    /// last.
    pub(crate) fn answer(&mut self, answer: [u8; 8]) -> Option<(Op, Option<u64>)> {
        if self.stage != Stage::Open {
            return None;
        }
        let (_, bytes) = self.piece();
        if !self.is_store {
            let at = self.done as usize;
            if let Some(data) = self.data.get_mut(at..at + bytes) {
                data.copy_from_slice(&answer[..bytes]);
            }
        }
        self.done += bytes as u64;
        if self.done < self.bytes {
            return None;
        }
        self.stage = Stage::Answered;
        Some((self.op, self.traced))
    }

    /// The next aligned piece: real address and size.
    fn piece(&self) -> (u64, usize) {
        let in_first = PAGE_BYTES - (self.ea & PAGE_OFFSET);
        let real = match self.done.checked_sub(in_first) {
            None => self.real[0] + self.done,
            Some(in_second) => self.real[1] + in_second,
        };
        let left = self.part - self.done % self.part;
        let aligned = 1 << real.trailing_zeros().min(PIECE_MAX.ilog2());
        (real, aligned.min(1 << left.ilog2()) as usize)
    }

    fn data_at(&self, at: u64, bytes: usize) -> &[u8] {
        self.data.get(at as usize..at as usize + bytes).unwrap_or(&[])
    }
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
        let real = [first, second];
        *self.device = Device { is_store, ea, bytes, part, real, ..Device::IDLE };
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
