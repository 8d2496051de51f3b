//! A virtual CPU.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arch_ppc64::{CpuIndex, EntryRegisters, Hypercall, Kick, VcpuExit};
use vm_memory::GuestAddress;

use super::clock::Clock;
use super::error::VmError;
use super::lines::{Line, Lines};
use super::turns::Turns;
use super::vm::Vm;
use crate::bus::CpuBus;
use crate::cpu::Cpu;
use crate::cpu_state::{CpuState, CpuStateError};
use crate::exit::Exit;
use crate::region::RamRegion;

/// The first register of a hypercall's arguments.
const FIRST_ARGUMENT: u8 = 4;

/// A CPU and what it is connected to; for one thread at a time.
///
/// One that is dropped is gone, whatever others do: [`Vm::create_vcpu`] can make it again. To take
/// one away from a machine that goes on, [stop](Self::stop) it before.
pub struct Vcpu {
    cpu: Cpu,
    index: CpuIndex,
    vm: Arc<Vm>,
    line: Arc<Line>,
    /// The last change of the modes that this CPU took over.
    modes_seen: u64,
    open: Open,
    call: Hypercall,
    data: [u8; 8],
}

/// What is saved of a CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct VcpuState {
    /// The processor.
    pub cpu: CpuState,
    /// Somebody has prodded it (H_PROD) since it last slept.
    pub prodded: bool,
}

/// What the CPU left guest code for, and has not got the results of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Hypercall,
    Mmio,
}

struct Bus<'a> {
    regions: &'a [RamRegion<'a>],
    line: &'a Line,
    lines: &'a Lines,
    clock: &'a Clock,
    in_turns: bool,
}

impl CpuBus for Bus<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        self.regions
    }

    fn timebase(&self, instructions: u64) -> u64 {
        self.clock.timebase(instructions)
    }

    fn external_interrupt(&self) -> bool {
        self.line.external()
    }

    fn has_rung(&self, cpu: usize) {
        if let Some(line) = self.lines.at(cpu) {
            line.wake();
        }
    }

    fn rest(&self, time: Duration) {
        self.line.sleep(time, || false);
    }

    fn leaves_to_wait(&self) -> bool {
        if !self.in_turns {
            std::thread::yield_now();
        }
        self.in_turns
    }

    fn kicked(&self) -> bool {
        self.line.take_kick()
    }
}

impl Vm {
    /// Makes a CPU, stopped: the one of this index in the machine, whose interrupt server has the
    /// number that guests know it by. CPUs may be made one by one, and be dropped, also while others
    /// run. Making one costs the same however many there are.
    ///
    /// # Errors
    /// [`VmError::Refused`] for an index that the machine may not have or has already.
    pub fn create_vcpu(self: &Arc<Self>, index: CpuIndex) -> Result<Vcpu, VmError> {
        let refused = |why: String| Err(VmError::Refused(format!("{index}: {why}")));
        let number = index.0 as usize;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(is_made) = made.get_mut(number) else {
            return refused(format!("the machine has at most {} CPUs", self.topology().cpus()));
        };
        if *is_made {
            return refused("there is one already".to_owned());
        }
        let Some(line) = self.lines.of(index) else { return refused("it has no line".to_owned()) };
        *is_made = true;
        drop(made);
        self.forget(number);
        // The guest may have sent it interrupts, and set up their queues, when it was not there.
        self.reset_cpu(index);
        let mut cpu = Cpu::new(number, self.options.pvr, self.system.clone());
        cpu.stop_at_unimplemented(self.options.stops);
        cpu.set_processor_id(self.topology().server(index).0);
        Ok(Vcpu::new(cpu, index, self.clone(), line.clone()))
    }
}

impl Vcpu {
    fn new(cpu: Cpu, index: CpuIndex, vm: Arc<Vm>, line: Arc<Line>) -> Self {
        Self {
            cpu,
            index,
            vm,
            line,
            modes_seen: 0,
            open: Open::Nothing,
            call: Hypercall::default(),
            data: [0; 8],
        }
    }

    /// The machine that it is of.
    pub fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }

    /// Sets all registers for a start, or for a start after a stop. What is open is given up.
    ///
    /// # Errors
    /// None yet: as other back ends have it.
    pub fn start(&mut self, registers: &EntryRegisters) -> Result<(), VmError> {
        self.open = Open::Nothing;
        self.cpu.start(registers.pc.0, registers.is_64bit);
        // Whatever it had: it gets what the machine has.
        self.modes_seen = 0;
        for (number, value) in
            [(1, registers.r1), (3, registers.r3), (4, registers.r4), (5, registers.r5)]
        {
            self.cpu.set_gpr(number, value);
        }
        Ok(())
    }

    /// Runs guest code until something needs the VMM. What an exit lends out is to be answered
    /// before the next call, which completes it.
    ///
    /// # Errors
    /// None yet: as other back ends have it.
    pub fn run(&mut self) -> Result<VcpuExit<'_>, VmError> {
        if let Some(exit) = self.finish() {
            return Ok(self.exit(exit));
        }
        let exit = match self.vm.turns.clone() {
            None => self.run_for(u64::MAX),
            Some(turns) => self.run_in_turns(&turns),
        };
        Ok(self.exit(exit))
    }

    /// Runs guest code until something needs the VMM, or for about so many instructions.
    fn run_for(&mut self, budget: u64) -> Exit {
        self.vm.modes().apply(&mut self.cpu, &mut self.modes_seen);
        let slots = self.vm.memory.in_use();
        let bus = Bus {
            regions: slots.regions(),
            line: &self.line,
            lines: &self.vm.lines,
            clock: self.vm.clock(),
            in_turns: self.vm.turns.is_some(),
        };
        self.cpu.run(&bus, budget)
    }

    /// The same in its turns only.
    fn run_in_turns(&mut self, turns: &Turns) -> Exit {
        loop {
            let executed = self.cpu.instructions();
            let Some(end) = turns.take(self.number(), executed, &self.vm.causes()) else {
                self.line.take_kick();
                return Exit::Kicked;
            };
            match self.run_for(end.saturating_sub(executed)) {
                Exit::Budget => {
                    let executed = self.cpu.instructions();
                    turns.pass(self.number(), executed, &self.vm.causes());
                }
                exit => return exit,
            }
        }
    }

    fn number(&self) -> usize {
        self.index.0 as usize
    }

    /// Completes what the last exit left open, without running guest code: its results are in the
    /// registers then. To be called before the CPU's state is saved.
    ///
    /// `Some` is one more access of the same instruction, to be answered before this is called
    /// again.
    ///
    /// # Errors
    /// None yet: as other back ends have it.
    pub fn complete(&mut self) -> Result<Option<VcpuExit<'_>>, VmError> {
        match self.finish() {
            Some(exit) => Ok(Some(self.exit(exit))),
            None => Ok(None),
        }
    }

    /// Sleeps until an interrupt is to be taken, another CPU prods this one, or somebody kicks it
    /// (H_CEDE), whose hypercall is completed. May come back early.
    pub fn cede(&mut self) {
        // A hypercall has no more than its results.
        let _ = self.finish();
        self.cpu.enable_interrupts();
        self.cpu.sleep();
        let executed = self.cpu.instructions();
        if let Some(turns) = &self.vm.turns {
            // Kicked, it sleeps on in its next run: to the guest, nothing has happened.
            let until = self.cpu.decrementer_due_at();
            turns.sleep(self.number(), until, executed, &self.vm.causes());
            turns.take(self.number(), executed, &self.vm.causes());
            return;
        }
        let clock = self.vm.clock();
        let lines = &self.vm.lines;
        let bus = Bus { regions: &[], line: &self.line, lines, clock, in_turns: false };
        while !self.line.take_prod()
            && !self.line.is_kicked()
            && !self.cpu.interrupt_is_pending(&bus)
        {
            let now = bus.timebase(executed);
            // Before that, only a line can end the sleep.
            let wait = (self.cpu.decrementer_due_at().wrapping_sub(now) as i64).max(0) as u64;
            if let Some(time) = clock.sleep(wait) {
                self.line.sleep(time, || self.cpu.doorbell_is_rung());
            }
        }
    }

    /// The CPU has stopped itself: it does not run before the next start.
    pub fn stop(&mut self) {
        self.cpu.stop();
        if let Some(turns) = &self.vm.turns {
            turns.stop(self.number(), self.cpu.instructions(), &self.vm.causes());
        }
    }

    /// Makes it as new, stopped: for a CPU that was taken out of the machine and is plugged in
    /// again. Its interrupt server and the areas that the guest registered for it are as after a
    /// reset, too.
    pub fn reset(&mut self) {
        self.open = Open::Nothing;
        self.stop();
        // A kick was for whoever ran it.
        self.vm.forget(self.number());
        self.vm.reset_cpu(self.index);
    }

    /// A handle with which other threads get this CPU out of guest code, or of its sleep.
    pub fn kicker(&self) -> Arc<dyn Kick> {
        self.line.clone()
    }

    /// How many instructions it has executed.
    pub fn instructions(&self) -> u64 {
        self.cpu.instructions()
    }

    /// What there is to be saved. What is open has to be [completed](Self::complete) before.
    ///
    /// # Errors
    /// [`VmError::State`] while something is open.
    pub fn save(&self) -> Result<VcpuState, VmError> {
        match self.open {
            Open::Nothing => {
                Ok(VcpuState { cpu: self.cpu.state()?, prodded: self.line.is_prodded() })
            }
            Open::Hypercall => Err(VmError::Refused("a hypercall waits for its results".into())),
            Open::Mmio => Err(CpuStateError::OpenAccess.into()),
        }
    }

    /// Takes up what was saved of another one. The CPU runs on from there, in the modes of its
    /// machine, whose state is restored before. The platform is restored after all CPUs.
    ///
    /// # Errors
    /// [`VmError::State`] says what cannot be; nothing has changed then.
    pub fn restore(&mut self, state: &VcpuState) -> Result<(), VmError> {
        self.cpu.set_state(&state.cpu)?;
        self.open = Open::Nothing;
        // The modes are the state's now: what the machine has is set before it runs.
        self.modes_seen = 0;
        self.line.set_prod(state.prodded);
        Ok(())
    }

    /// Gives the CPU the results of what it left guest code for; the next access, if the
    /// instruction makes one more.
    fn finish(&mut self) -> Option<Exit> {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => None,
            Open::Hypercall => {
                self.cpu.set_gpr(3, self.call.status);
                for (number, value) in (FIRST_ARGUMENT..).zip(self.call.args) {
                    self.cpu.set_gpr(number, value);
                }
                None
            }
            Open::Mmio => self.cpu.complete_mmio(self.data),
        }
    }

    fn exit(&mut self, exit: Exit) -> VcpuExit<'_> {
        match exit {
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
        }
    }
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        self.cpu.stop();
        if let Some(turns) = &self.vm.turns {
            turns.gone(self.number());
        }
        let mut made = self.vm.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get_mut(self.number()) {
            *made = false;
        }
    }
}

impl fmt::Debug for Vcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vcpu").field("cpu", &self.cpu).finish_non_exhaustive()
    }
}
