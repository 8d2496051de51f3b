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

use crate::op::Op;
use crate::page_map::PAGE_BYTES;

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
    pub(super) part: u64,
}

impl Operand {
    /// `bytes` at `ea`, 16 at most, accessed in parts of so many.
    pub(crate) fn new(ea: u64, bytes: u64, part: u64) -> Self {
        Self { ea, bytes, part }
    }
}

/// The instruction that accesses what is not RAM.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(super) stage: Stage,
    is_store: bool,
    pub(super) ea: u64,
    bytes: u64,
    part: u64,
    /// Where the two pages are that the operand may be in.
    real: [u64; 2],
    /// How many bytes of it the machine has accessed.
    done: u64,
    pub(super) data: [u8; OPERAND_MAX],
    /// What completes when all is done, and what SRR1 tells if that is traced.
    op: Op,
    traced: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
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

    /// An operand that is not in RAM, but at these real addresses: that of its beginning, and that of
    /// the page behind.
    pub(super) fn new(is_store: bool, operand: Operand, real: [u64; 2]) -> Self {
        let Operand { ea, bytes, part } = operand;
        Self { is_store, ea, bytes, part, real, ..Self::IDLE }
    }

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
        let in_first = PAGE_BYTES - (self.ea & (PAGE_BYTES - 1));
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
