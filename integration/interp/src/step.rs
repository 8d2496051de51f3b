//! One instruction at a time: for debuggers, and where the guest traces (Power ISA 3.0B, Book III,
//! trace interrupt).

use std::sync::Arc;

use crate::bits::{msr, srr1};
use crate::bus::CpuBus;
use crate::code::Cache;
use crate::cpu::{Cpu, InGuest};
use crate::exec::{self, Leave};
use crate::exit::Exit;
use crate::interrupt::vector;
use crate::isa::{self, Kind};
use crate::mmu::Device;
use crate::op::Op;
use crate::ram::{PAGE_SHIFT, Ram};
use crate::region::RamRegion;
use crate::room::Room;
use crate::trap::Trap;

impl Cpu {
    /// Executes one instruction, or takes one interrupt, for debuggers; what would make
    /// [`Self::run`] return is returned.
    pub fn step(&mut self, bus: &dyn CpuBus) -> Option<Exit> {
        if let Some(exit) = self.open_access() {
            return Some(exit);
        }
        let interrupts = self.state.stats.interrupts;
        self.take_interrupts(bus);
        if self.state.stats.interrupts != interrupts {
            return None;
        }
        let ram = Ram::new(bus.ram());
        self.know(&ram);
        let cpu = InGuest(self);
        cpu.0.state.follow();
        cpu.0.drop_written();
        cpu.0.execute_one(&ram, bus)
    }

    /// Executes one instruction, and takes the interrupt that it causes or that traces it.
    pub(crate) fn execute_one(&mut self, ram: &Ram<'_>, bus: &dyn CpuBus) -> Option<Exit> {
        let s = &mut self.state;
        let real = match s.code_address(ram) {
            Ok(real) => real,
            Err(trap) => return self.not_fetched(trap),
        };
        let word = s.code_word(ram, real);
        let traced = isa::kind(word).is_traced(s.msr());
        // On a page where nothing else is decoded, execution ends behind the one instruction.
        let one = self.one.get_or_insert_with(|| Cache::new(Arc::new(Room::of_one_page())));
        one.clear();
        let page = one.find(real >> PAGE_SHIFT, s.reading())?;
        one.decode_one(ram, page, real);
        let trap = match exec::run(s, ram, one, bus, page, 1) {
            Leave::Trap(Trap::Mmio, page) => {
                let op = one.op(page, s.pc);
                return self.wait_for_machine(op, traced);
            }
            Leave::Trap(trap, _) => Some(trap),
            Leave::Slice | Leave::Unmapped | Leave::Undecoded(_) => None,
        };
        // Before the interrupts that may have waited for the end of the instruction.
        if let (None | Some(Trap::Resync), Some(cause)) = (trap, traced) {
            s.interrupt(vector::TRACE, cause);
        }
        trap.and_then(|trap| self.trapped(ram, bus, trap))
    }

    /// Executes an instruction whose accesses outside RAM the machine has made.
    pub(crate) fn complete(&mut self, op: Op, traced: Option<u64>) {
        let s = &mut self.state;
        let one = self.one.get_or_insert_with(|| Cache::new(Arc::new(Room::of_one_page())));
        one.clear();
        if let Some(page) = one.find(0, s.reading()) {
            one.put(page, s.pc, op);
            // It has its operand, and needs nothing of the machine.
            exec::run(s, &Ram::new(&[]), one, &Nowhere, page, 1);
        }
        *s.device = Device::IDLE;
        if let Some(cause) = traced {
            s.interrupt(vector::TRACE, cause);
        }
    }
}

/// What an instruction is connected to that has all it needs.
struct Nowhere;

impl CpuBus for Nowhere {
    fn ram(&self) -> &[RamRegion<'_>] {
        &[]
    }

    fn timebase(&self, _: u64) -> u64 {
        0
    }
}

impl Kind {
    /// What SRR1 tells of an instruction that completes while MSR has this value, if that is a
    /// trace interrupt.
    fn is_traced(self, msr: u64) -> Option<u64> {
        let traced = match self {
            Self::Return => false,
            Self::Branch => msr & msr::TE != 0,
            Self::Load | Self::Store | Self::Other => msr & msr::SE != 0,
        };
        let access = match self {
            Self::Load => srr1::TRACED_LOAD,
            Self::Store => srr1::TRACED_STORE,
            _ => 0,
        };
        traced.then_some(srr1::TRACED | access)
    }
}
