//! A virtual CPU that is software.

use std::sync::Arc;

use arch_ppc64::{EntryRegisters, Hypercall, Kick, VcpuExit};
use interp::{Cpu, CpuBus, Exit, RamRegion};
use vm_memory::GuestAddress;

use super::board::Line;
use super::clock::Clock;
use super::modes::Modes;
use crate::ram::SoftwareRam;
use crate::vcpu::{BackendError, Vcpu};

/// The first register of a hypercall's arguments.
const FIRST_ARGUMENT: u8 = 4;

/// A CPU and what it is connected to.
pub(super) struct SoftVcpu {
    cpu: Cpu,
    board: Board,
    modes: Arc<Modes>,
    /// The last change of the modes that this CPU took over.
    modes_seen: u64,
    open: Open,
    call: Hypercall,
    data: [u8; 8],
}

/// What the CPU left guest code for, and has not got the results of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Hypercall,
    Mmio,
}

struct Board {
    ram: Arc<SoftwareRam>,
    line: Arc<Line>,
    clock: Arc<Clock>,
}

impl CpuBus for Board {
    fn ram(&self) -> &[RamRegion<'_>] {
        self.ram.regions()
    }

    fn timebase(&self, instructions: u64) -> u64 {
        self.clock.timebase(instructions)
    }

    fn external_interrupt(&self) -> bool {
        self.line.external()
    }

    fn kicked(&self) -> bool {
        self.line.take_kick()
    }
}

impl SoftVcpu {
    pub(super) fn new(
        cpu: Cpu,
        ram: Arc<SoftwareRam>,
        line: Arc<Line>,
        modes: Arc<Modes>,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            cpu,
            board: Board { ram, line, clock },
            modes,
            modes_seen: 0,
            open: Open::Nothing,
            call: Hypercall::default(),
            data: [0; 8],
        }
    }

    /// Gives the CPU the results of what it left guest code for.
    fn finish(&mut self) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Hypercall => {
                self.cpu.set_gpr(3, self.call.status);
                for (number, value) in (FIRST_ARGUMENT..).zip(self.call.args) {
                    self.cpu.set_gpr(number, value);
                }
            }
            Open::Mmio => drop(self.cpu.complete_mmio(self.data)),
        }
    }
}

impl Vcpu for SoftVcpu {
    fn start(&mut self, registers: &EntryRegisters) -> Result<(), BackendError> {
        self.open = Open::Nothing;
        self.cpu.start(registers.pc.0, registers.is_64bit);
        // Modes are those of a reset now.
        self.modes_seen = 0;
        for (number, value) in
            [(1, registers.r1), (3, registers.r3), (4, registers.r4), (5, registers.r5)]
        {
            self.cpu.set_gpr(number, value);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<VcpuExit<'_>, BackendError> {
        self.finish();
        self.modes.apply(&mut self.cpu, &mut self.modes_seen);
        Ok(match self.cpu.run(&self.board, u64::MAX) {
            Exit::Hypercall => {
                self.open = Open::Hypercall;
                let arguments = std::array::from_fn(|n| self.cpu.gpr(FIRST_ARGUMENT + n as u8));
                self.call = Hypercall { token: self.cpu.gpr(3), status: 0, args: arguments };
                VcpuExit::Hypercall(&mut self.call)
            }
            Exit::Budget | Exit::Kicked => VcpuExit::Interrupted,
            Exit::MmioRead { address, bytes } => {
                self.open = Open::Mmio;
                self.data = [0; 8];
                let bytes = bytes.min(self.data.len());
                VcpuExit::MmioRead(GuestAddress(address), &mut self.data[..bytes])
            }
            Exit::MmioWrite { address, data, bytes } => {
                self.open = Open::Mmio;
                self.data = data;
                let bytes = bytes.min(self.data.len());
                VcpuExit::MmioWrite(GuestAddress(address), &self.data[..bytes])
            }
            Exit::Unimplemented(what) => VcpuExit::Crashed(what.to_string()),
            Exit::Stuck(what) => VcpuExit::Crashed(what.to_string()),
        })
    }

    fn cede(&mut self) {
        self.finish();
        self.cpu.enable_interrupts();
        self.cpu.sleep();
        while !self.board.line.take_prod()
            && !self.board.line.is_kicked()
            && !self.cpu.interrupt_is_pending(&self.board)
        {
            let now = self.board.timebase(self.cpu.instructions());
            // Before that, only a line can end the sleep.
            let wait = (self.cpu.decrementer_due_at().wrapping_sub(now) as i64).max(0) as u64;
            if let Some(time) = self.board.clock.sleep(wait) {
                self.board.line.sleep(time);
            }
        }
    }

    fn stop(&mut self) {
        self.cpu.stop();
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.board.line.clone()
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.cpu.instructions())
    }
}
