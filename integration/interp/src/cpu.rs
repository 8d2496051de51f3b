//! A CPU as its machine uses it.

mod waiting;

use std::fmt;
use std::sync::Arc;

use crate::bits::msr;
use crate::bus::CpuBus;
use crate::code::{Cache, Outcome};
use crate::disasm::disassemble;
use crate::exec::{self, Leave};
use crate::exit::{Exit, Stuck, Unimplemented};
use crate::interrupt::vector;
use crate::level::Level;
use crate::mmu::{Device, DeviceAccess};
use crate::op::Op;
use crate::page_map::Watch;
use crate::ram::{PAGE_BYTES, PAGE_SHIFT, Ram};
use crate::region::RamRegion;
use crate::registers::Registers;
use crate::state::{ProcessTable, State, Stats};
use crate::system::System;
use crate::trap::Trap;

/// Instructions between two looks at the outside: interrupts, what others changed, the clock. A power of
/// two; slices end where the number of executed instructions is a multiple of it, so that it does
/// not matter to the guest who else made the core return.
const SLICE: u64 = 4096;

/// What DEC starts with: as late as can be.
const DEC_START: u64 = 0x7fff_ffff;

/// One CPU: its registers, its translations and its decoded code.
pub struct Cpu {
    pub(crate) state: State,
    cache: Cache,
    /// Room for the one instruction of [`Self::step`], once it was needed.
    pub(crate) one: Option<Cache>,
    /// What this core has not ends the run.
    stops: bool,
    /// DEC has to be set when the time is known.
    pub(crate) starts: bool,
    /// The processor version, for [`Self::start`].
    pvr: u32,
}

impl Cpu {
    /// CPU number `id` of `system`, with this processor version register. It starts nowhere
    /// before [`Self::start`].
    pub fn new(id: usize, pvr: u32, system: Arc<System>) -> Self {
        let cache = Cache::new(system.room().clone());
        let state = State::new(id, pvr, system);
        Self { state, cache, one: None, stops: false, starts: true, pvr }
    }

    /// Sets all registers to what they are when a CPU starts: real mode, big-endian, at `pc`,
    /// everything else zero. What belongs to the partition stays: the interrupt modes, how
    /// addresses are translated and by which table, and the level.
    pub fn start(&mut self, pc: u64, is_64bit: bool) {
        let old = &self.state;
        let mut state = State::new(old.id, self.pvr, old.system.clone());
        state.executed = old.executed;
        state.spr.pir = old.spr.pir;
        state.system.set_own_doorbell(state.id, 0);
        state.stats = old.stats;
        state.spr.ile = old.spr.ile;
        state.spr.ail = old.spr.ail;
        state.spr.process_table = old.spr.process_table;
        state.spr.hash = old.spr.hash;
        state.spr.pcr = old.spr.pcr;
        state.set_msr(msr::ME | if is_64bit { msr::SF } else { 0 });
        state.pc = pc & state.ea_mask & !3;
        self.state = state;
        self.cache.clear();
        self.starts = true;
    }

    /// To be called when the CPU stops: it uses no decoded code any more.
    pub fn stop(&mut self) {
        self.one = None;
        self.drop_all_code();
    }

    /// To be called before the CPU sleeps: other CPUs get the room of its decoded code if there is
    /// no more. Nobody can ask for it meanwhile.
    pub fn sleep(&mut self) {
        if self.cache.is_wanted_of_sleeper() {
            self.drop_all_code();
        }
    }

    /// Whether an instruction that this core does not have ends the run
    /// ([`Exit::Unimplemented`]), whoever executes it, and what is no instruction when a kernel
    /// does: for those who debug either. Without it, both are the interrupt that the architecture
    /// names.
    pub fn stop_at_unimplemented(&mut self, stops: bool) {
        self.stops = stops;
    }

    /// Executes instructions until the machine is needed, or about `budget` have been executed.
    ///
    /// While an access outside RAM is not [completed](Self::complete_mmio), it is asked for again.
    pub fn run(&mut self, bus: &dyn CpuBus, budget: u64) -> Exit {
        if let Some(exit) = self.open_access() {
            return exit;
        }
        let ram = Ram::new(bus.ram());
        self.know(&ram);
        self.state.system.is_used(self.state.id);
        InGuest(self).0.run_slices(&ram, bus, budget)
    }

    /// Looks whether RAM is where it was.
    pub(crate) fn know(&mut self, ram: &Ram<'_>) {
        let s = &mut self.state;
        if ram.is(&s.regions) {
            return;
        }
        s.regions = ram.regions().iter().map(RamRegion::identity).collect();
        let watch: Arc<dyn Watch> = s.system.clone();
        for region in ram.regions() {
            if let Some(pages) = region.pages() {
                pages.watch(region.start().0, &Arc::downgrade(&watch));
            }
        }
        s.tlb.set_page_maps(ram.regions().iter().map(|region| region.pages().cloned()).collect());
        self.drop_all_code();
    }

    fn run_slices(&mut self, ram: &Ram<'_>, bus: &dyn CpuBus, budget: u64) -> Exit {
        let end = self.state.executed.saturating_add(budget);
        let mut waited = 0_u32;
        loop {
            self.state.stats.polls += 1;
            if bus.kicked() {
                return Exit::Kicked;
            }
            if self.state.system.lacks_cores() {
                self.state.use_no_translations();
                self.state.system.give_way();
            }
            if self.cache.is_wanted_back() {
                self.drop_all_code();
            }
            self.take_interrupts(bus);
            let executed = self.state.executed;
            if executed >= end {
                return Exit::Budget;
            }
            let slice_end = (executed / SLICE + 1) * SLICE;
            if let Some(exit) = self.run_slice(ram, bus, slice_end.min(end)) {
                return exit;
            }
            // Here, and not before a slice: whoever makes the core return changes nothing.
            if self.state.system.is_smp() {
                waited = if self.waits_for_others() { waited + 1 } else { 0 };
                if waited > 0 && self.let_others(bus, waited) {
                    return Exit::Budget;
                }
            }
        }
    }

    /// Executes to `end`, or until the outside has to be looked at.
    fn run_slice(&mut self, ram: &Ram<'_>, bus: &dyn CpuBus, end: u64) -> Option<Exit> {
        while self.state.executed < end {
            self.state.follow();
            self.drop_written();
            // Whatever sets these bits leaves the loop, which so need not know of them.
            if self.state.msr() & msr::TE != 0 {
                if let Some(exit) = self.execute_one(ram, bus) {
                    return Some(exit);
                }
                continue;
            }
            let found = match self.state.tlb.find_code(self.state.pc) {
                Some(page) => Ok(page),
                None => self.map(ram),
            };
            let page = match found {
                Ok(page) => page,
                Err(trap) => {
                    if let Some(exit) = self.not_fetched(trap) {
                        return Some(exit);
                    }
                    continue;
                }
            };
            let limit = (end - self.state.executed) as i64;
            let leave = exec::run(&mut self.state, ram, &self.cache, bus, page, limit);
            match leave {
                Leave::Slice => return None,
                Leave::Unmapped => {}
                Leave::Undecoded(page) => self.decode(ram, page),
                Leave::Trap(Trap::Mmio, page) => {
                    let op = self.cache.op(page, self.state.pc);
                    return self.wait_for_machine(op, None);
                }
                Leave::Trap(trap, _) => {
                    if let Some(exit) = self.trapped(ram, bus, trap) {
                        return Some(exit);
                    }
                }
            }
        }
        None
    }

    /// Takes the interrupt of an instruction that could not be fetched. It costs something, so
    /// that no guest gets here for ever.
    pub(crate) fn not_fetched(&mut self, trap: Trap) -> Option<Exit> {
        self.state.executed += 1;
        self.take_or_stick(trap)
    }

    /// Takes an interrupt that comes from what is at an address, unless it leads to where it came
    /// from: then nothing is to come any more.
    fn take_or_stick(&mut self, trap: Trap) -> Option<Exit> {
        let before = (self.state.pc, self.state.msr());
        self.state.take(trap);
        (before == (self.state.pc, self.state.msr()))
            .then(|| Exit::Stuck(Box::new(Stuck { registers: self.registers() })))
    }

    /// Takes the interrupt that ended the run, or leaves guest code.
    pub(crate) fn trapped(&mut self, ram: &Ram<'_>, bus: &dyn CpuBus, trap: Trap) -> Option<Exit> {
        match trap {
            Trap::Resync => {
                if let Some(cpu) = self.state.rung.take() {
                    bus.has_rung(cpu);
                }
                self.state.branch_on_event();
                // An interrupt may have waited for EE.
                if self.state.msr() & msr::EE != 0 {
                    self.take_interrupts(bus);
                }
            }
            Trap::Hypercall => {
                self.state.pc = self.state.pc.wrapping_add(4) & self.state.ea_mask;
                return Some(Exit::Hypercall);
            }
            Trap::Unimplemented if self.stops => return Some(self.unimplemented(ram)),
            // A kernel does not execute what is no instruction: one may be missing here.
            Trap::Illegal if self.stops && self.state.msr() & msr::PR == 0 => {
                return Some(self.unimplemented(ram));
            }
            Trap::Unimplemented | Trap::Illegal => return self.take_or_stick(trap),
            trap => self.state.take(trap),
        }
        None
    }

    /// Finds the decoded page of the program counter.
    fn map(&mut self, ram: &Ram<'_>) -> Result<u32, Trap> {
        let s = &mut self.state;
        let real_page = s.code_address(ram)? >> PAGE_SHIFT;
        let page = match self.cache.find(real_page, s.reading()) {
            Some(page) => page,
            None => {
                self.drop_all_code();
                // Empty, it has room.
                let page = self.cache.find(real_page, self.state.reading());
                page.ok_or(Trap::InstructionStorage)?
            }
        };
        self.cache.check(ram, page);
        let s = &mut self.state;
        s.tlb.insert_code(s.pc, page);
        Ok(page)
    }

    fn decode(&mut self, ram: &Ram<'_>, page: u32) {
        let s = &mut self.state;
        let real_page = self.cache.real_page(page);
        s.tlb.mark_code(real_page, ram.find(real_page << PAGE_SHIFT, PAGE_BYTES));
        ram.mark_code(real_page << PAGE_SHIFT);
        let real = real_page << PAGE_SHIFT | s.pc & 0xfff;
        match self.cache.decode(ram, page, real) {
            Outcome::Decoded => s.stats.decodes += 1,
            Outcome::Shared => {}
            // Empty, it has room.
            Outcome::NoRoom => self.drop_all_code(),
        }
    }

    /// Drops decoded code that was written to.
    pub(crate) fn drop_written(&mut self) {
        let s = &mut self.state;
        if s.written.is_empty() {
            return;
        }
        match s.written.take() {
            Some(pages) => {
                for page in pages {
                    s.stats.pages_dropped += u64::from(self.cache.drop_page(page));
                    s.tlb.unmark_code(page);
                }
            }
            None => self.drop_all_code(),
        }
    }

    fn drop_all_code(&mut self) {
        self.cache.clear();
        self.state.tlb.flush_code();
        self.state.tlb.unmark_all_code();
    }

    pub(crate) fn take_interrupts(&mut self, bus: &dyn CpuBus) {
        let s = &mut self.state;
        if self.starts {
            s.spr.dec_zero_at = bus.timebase(s.executed).wrapping_add(DEC_START);
            self.starts = false;
        }
        if s.msr() & msr::EE == 0 {
            return;
        }
        if bus.external_interrupt() {
            s.interrupt(vector::EXTERNAL, 0);
        } else if s.decrementer_is_due(bus.timebase(s.executed)) {
            s.interrupt(vector::DECREMENTER, 0);
        } else if s.system.is_rung(s.id) {
            s.system.set_own_doorbell(s.id, 0);
            s.interrupt(vector::DOORBELL, 0);
        }
    }

    /// The instruction at the program counter waits until the machine has made its accesses.
    pub(crate) fn wait_for_machine(&mut self, op: Op, traced: Option<u64>) -> Option<Exit> {
        // It is counted when it completes.
        self.state.executed = self.state.executed.wrapping_sub(1);
        self.state.device.wait_with(op, traced);
        self.open_access()
    }

    /// The access that the machine has to make, if the instruction at the program counter waits for
    /// one.
    pub(crate) fn open_access(&self) -> Option<Exit> {
        Some(match self.state.device.next()? {
            DeviceAccess::Load { real, bytes } => Exit::MmioRead { address: real, bytes },
            DeviceAccess::Store { real, bytes, data } => {
                Exit::MmioWrite { address: real, data, bytes }
            }
        })
    }

    /// Completes [`Exit::MmioRead`] with bytes in memory order, or [`Exit::MmioWrite`], whose data
    /// does not matter. No guest code is executed but the instruction that made the access: it
    /// completes, once, whatever interrupts are pending. One that makes several accesses asks for
    /// the next instead, which is returned.
    ///
    /// When no access is open, nothing happens.
    pub fn complete_mmio(&mut self, data: [u8; 8]) -> Option<Exit> {
        match self.state.device.answer(data) {
            Some((op, traced)) => {
                self.complete(op, traced);
                None
            }
            None => self.open_access(),
        }
    }

    fn unimplemented(&mut self, ram: &Ram<'_>) -> Exit {
        let s = &mut self.state;
        let word = s.code_address(ram).map_or(0, |real| s.code_word(ram, real));
        Exit::Unimplemented(Box::new(Unimplemented {
            word,
            disassembly: disassemble(word),
            registers: self.registers(),
        }))
    }

    /// General register `number`, 0 to 31.
    pub fn gpr(&self, number: u8) -> u64 {
        self.state.gpr[usize::from(number & 31)]
    }

    /// Sets a general register.
    pub fn set_gpr(&mut self, number: u8, value: u64) {
        self.state.gpr[usize::from(number & 31)] = value;
    }

    /// All registers of the user, and those that tell how the CPU got where it is.
    pub fn registers(&self) -> Registers {
        let s = &self.state;
        let mut gpr = [0; 32];
        gpr.copy_from_slice(&s.gpr[..32]);
        Registers {
            gpr,
            vsr: s.vsr,
            pc: s.pc,
            msr: s.msr(),
            lr: s.lr,
            ctr: s.ctr,
            cr: s.cr(),
            xer: s.xer.get(),
            fpscr: s.fpscr,
            vscr: s.vscr,
            srr0: s.spr.srr0,
            srr1: s.spr.srr1,
            dar: s.spr.dar,
            dsisr: s.spr.dsisr,
        }
    }

    /// Sets all of them. An access outside RAM that is open is given up.
    pub fn set_registers(&mut self, registers: &Registers) {
        let s = &mut self.state;
        *s.device = Device::IDLE;
        s.gpr[..32].copy_from_slice(&registers.gpr);
        s.vsr = registers.vsr;
        s.set_msr(registers.msr);
        s.pc = registers.pc & s.ea_mask & !3;
        s.lr = registers.lr;
        s.ctr = registers.ctr;
        s.set_cr(registers.cr);
        s.xer.set(registers.xer);
        s.fpscr = registers.fpscr;
        s.summarise();
        s.vscr = registers.vscr;
        s.spr.srr0 = registers.srr0;
        s.spr.srr1 = registers.srr1;
        s.spr.dar = registers.dar;
        s.spr.dsisr = registers.dsisr;
    }

    /// LPCR.ILE: the byte order in which interrupts are taken.
    pub fn set_interrupt_endianness(&mut self, little: bool) {
        self.state.spr.ile = little;
    }

    /// LPCR.AIL: where interrupts are taken that come while translation is on; 0, 2 or 3.
    pub fn set_interrupt_location(&mut self, ail: u8) {
        self.state.spr.ail = ail;
    }

    /// Holds programs to a level of the architecture (PCR), or lets go of them.
    pub fn set_level(&mut self, level: Level) {
        self.state.spr.pcr = level.pcr();
        self.state.tlb.flush();
    }

    /// Where the guest's process table is; without one, there is no translation.
    pub fn set_process_table(&mut self, table: Option<ProcessTable>) {
        self.state.spr.process_table = table;
        self.state.tlb.flush();
    }

    /// Whether translation is by segments and the hashed page table of the [`System`], or by radix
    /// trees, as at first.
    pub fn use_hash(&mut self, hash: bool) {
        self.state.spr.hash = hash;
        self.state.tlb.flush();
    }

    /// Sets MSR.EE, as H_CEDE does.
    pub fn enable_interrupts(&mut self) {
        let msr = self.state.msr() | msr::EE;
        self.state.set_msr(msr);
    }

    /// Whether an interrupt would be taken if the CPU ran now: what ends the sleep of H_CEDE.
    pub fn interrupt_is_pending(&self, bus: &dyn CpuBus) -> bool {
        bus.external_interrupt()
            || self.doorbell_is_rung()
            || self.state.decrementer_is_due(bus.timebase(self.state.executed))
    }

    /// Whether a sibling has rung this thread's doorbell (`msgsndp`), whose interrupt was not taken
    /// yet.
    pub fn doorbell_is_rung(&self) -> bool {
        self.state.system.is_rung(self.state.id)
    }

    /// Sets the processor identification register: by default, it is the number that the CPU was
    /// made with.
    pub fn set_processor_id(&mut self, number: u32) {
        self.state.spr.pir = number.into();
    }

    /// The timebase value at which the decrementer interrupt becomes pending.
    pub fn decrementer_due_at(&self) -> u64 {
        self.state.spr.dec_zero_at.wrapping_add(1)
    }

    /// Takes a system reset interrupt. An access outside RAM must be completed before.
    pub fn system_reset(&mut self) {
        self.state.interrupt(vector::SYSTEM_RESET, 0);
    }

    /// Instructions executed since the CPU was made.
    pub fn instructions(&self) -> u64 {
        self.state.executed
    }

    /// What it did.
    pub fn stats(&self) -> Stats {
        self.state.stats
    }
}

/// A CPU while it executes. However that ends, even by a panic of the machine's: nobody has to
/// wait for it any more.
pub(crate) struct InGuest<'a>(pub(crate) &'a mut Cpu);

impl Drop for InGuest<'_> {
    fn drop(&mut self) {
        self.0.state.leave_guest();
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu").field("registers", &self.registers()).finish_non_exhaustive()
    }
}
