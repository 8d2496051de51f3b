//! A virtual machine as its VMM uses it.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated, Support};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::hpt::{HashedPageTable, Order};
use arch_ppc64::memory_slot::{DirtyPages, MemoryFlags};
use arch_ppc64::papr::{CpuCharacteristics, DispatchCalls, ModeCalls, PaprCalls};
use arch_ppc64::platform::Device;
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::xive::XicsOrXive;
use arch_ppc64::{CpuIndex, Kick};
use vm_memory::{GuestAddress, VolatileSlice};

use super::clock::Clock;
use super::error::VmError;
use super::hash;
use super::lines::{Lines, Referee};
use super::memory::Memory;
use super::modes::Modes;
use super::ram::BoardRam;
use super::turns::{Causes, Turns};
use crate::level::Level;
use crate::page_map::{PAGE_BYTES, PageMap};
use crate::system::System;

/// A POWER9, DD 2.3.
const PVR: u32 = 0x004e_1203;

/// What a virtual machine is made with.
#[derive(Debug, Clone)]
pub struct VmOptions {
    pub(super) topology: CpuTopology,
    pub(super) pvr: u32,
    pub(super) clock: Arc<Clock>,
    pub(super) stops: bool,
    pub(super) interrupts: Support<InterruptMode>,
    pub(super) mmu: Support<Mmu>,
    pub(super) hpt_order: Order,
    pub(super) compat: Option<u32>,
}

impl VmOptions {
    /// A machine that may have these CPUs, whose timebase is that of `clock`. Where that counts
    /// instructions and there may be several CPUs, these execute in turns, and each needs a thread
    /// of its own.
    pub fn new(topology: &CpuTopology, clock: Arc<Clock>) -> Self {
        Self {
            topology: topology.clone(),
            pvr: PVR,
            clock,
            stops: false,
            interrupts: Support::Only(InterruptMode::Xics),
            mmu: Support::Only(Mmu::Radix),
            hpt_order: Order::MIN,
            compat: None,
        }
    }

    /// The same with another processor version register. Whatever it says, the processor is a
    /// POWER9.
    #[must_use]
    pub fn with_pvr(self, pvr: u32) -> Self {
        Self { pvr, ..self }
    }

    /// The same with a processor that is held to an architecture level, POWER9's or POWER8's, from
    /// the start on: what the machine says of it ([`Cpu::compat`](arch_ppc64::cpu::Cpu::compat)).
    #[must_use]
    pub fn with_compat(self, compat: Option<u32>) -> Self {
        Self { compat, ..self }
    }

    /// The same with another interrupt controller than XICS, or a choice of two: what the machine
    /// says of it ([`Machine::interrupts`](arch_ppc64::Machine::interrupts)).
    #[must_use]
    pub fn with_interrupts(self, interrupts: Support<InterruptMode>) -> Self {
        Self { interrupts, ..self }
    }

    /// The same with hashed page tables in place of radix trees, or a choice of the two: what the
    /// machine says of them ([`Machine::mmu`](arch_ppc64::Machine::mmu),
    /// [`Machine::hpt_order`](arch_ppc64::Machine::hpt_order)).
    #[must_use]
    pub fn with_mmu(self, mmu: Support<Mmu>, hpt_order: Order) -> Self {
        Self { mmu, hpt_order, ..self }
    }

    /// The same, where an instruction that the processor does not have ends the run of its CPU:
    /// see [`crate::Cpu::stop_at_unimplemented`].
    #[must_use]
    pub fn stop_at_unimplemented(self, stops: bool) -> Self {
        Self { stops, ..self }
    }
}

/// Makes a virtual machine without memory and CPUs. For a restart of the guest, make another one;
/// the clock may be the same.
pub fn create_vm(options: VmOptions) -> Arc<Vm> {
    options.clock.restart();
    let topology = &options.topology;
    let cpus = topology.cpus() as usize;
    let in_turns = options.clock.counts_instructions() && cpus > 1;
    let turns = in_turns.then(|| Arc::new(Turns::new(cpus)));
    let referee = turns.clone().map(|turns| turns as Arc<dyn Referee>);
    let lines = Arc::new(Lines::new(cpus, referee));
    let threads = topology.threads_per_core() as usize;
    let memory = Arc::new(Memory::default());
    let ram = Arc::new(BoardRam(memory.clone()));
    let system = Arc::new(System::with_threads(cpus, threads));
    let level = options.compat.and_then(level).unwrap_or_default();
    let modes = Arc::new(Modes::new(lines.clone(), options.mmu, level));
    let hash =
        options.mmu.includes(&Mmu::Hash).then(|| hash::page_table(&system, options.hpt_order));
    Arc::new(Vm {
        system,
        hash,
        interrupts: Arc::new(XicsOrXive::new(options.interrupts, topology, lines.clone(), ram)),
        modes,
        dispatch: Arc::new(DispatchCalls::new(topology, lines.clone())),
        memory,
        made: Mutex::new(vec![false; cpus]),
        lines,
        turns,
        options,
    })
}

/// A virtual machine. All of it may be called from any thread.
///
/// What is set for all of its CPUs at once, and time, is its
/// [state](arch_ppc64::platform::SaveState).
pub struct Vm {
    pub(super) options: VmOptions,
    pub(super) system: Arc<System>,
    interrupts: Arc<XicsOrXive>,
    modes: Arc<Modes>,
    /// Where guests may have one.
    hash: Option<Arc<HashedPageTable>>,
    dispatch: Arc<DispatchCalls>,
    pub(super) memory: Arc<Memory>,
    pub(super) lines: Arc<Lines>,
    /// Where CPUs do not execute all at once.
    pub(super) turns: Option<Arc<Turns>>,
    /// Which CPUs there are.
    pub(super) made: Mutex<Vec<bool>>,
}

impl Vm {
    /// Makes memory of this process the guest's, from `at` on, as slot number `slot`. Before CPUs
    /// or while they run; those that do leave guest code for it, as if they were kicked. Not to be
    /// called by a CPU's bus.
    ///
    /// What this process writes there is to be marked in [`Self::page_map`]: see
    /// [`Self::set_tracked_memory_region`].
    ///
    /// # Errors
    /// [`VmError::Refused`] when addresses or length are not whole pages of 4 KiB, the slot is in
    /// use, or overlaps another one.
    ///
    /// # Safety
    /// From `host` on, `bytes` bytes must be mapped readable and writable, and be accessed by this
    /// process only as memory that others (the guest) change at any time, until the slot is removed
    /// or the machine and its CPUs are dropped.
    #[expect(unsafe_code, reason = "memory comes as a pointer")]
    pub unsafe fn set_memory_region(
        &self,
        slot: u32,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
        flags: MemoryFlags,
    ) -> Result<(), VmError> {
        let pages = PageMap::new(bytes as usize);
        // SAFETY: says the caller.
        unsafe { self.set_tracked_memory_region(slot, at, host, bytes, flags, pages) }
    }

    /// The same with the bitmap that vm-memory's region of this memory has: what is written by it,
    /// CPUs notice.
    ///
    /// # Errors
    /// As [`Self::set_memory_region`].
    ///
    /// # Safety
    /// As [`Self::set_memory_region`].
    #[expect(unsafe_code, reason = "memory comes as a pointer")]
    pub unsafe fn set_tracked_memory_region(
        &self,
        slot: u32,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
        flags: MemoryFlags,
        pages: PageMap,
    ) -> Result<(), VmError> {
        // SAFETY: says the caller; the slice is in use no longer than the slot is there.
        let memory = unsafe { VolatileSlice::new(host.as_ptr(), bytes as usize) };
        self.memory.set(slot, at, memory, pages, || self.kick_all())?;
        if flags.log_dirty { self.set_dirty_log(slot, true) } else { Ok(()) }
    }

    /// Takes a slot's memory from the guest. When this returns, no CPU uses it.
    ///
    /// # Errors
    /// [`VmError::Refused`] when there is no such slot.
    pub fn remove_memory_region(&self, slot: u32) -> Result<(), VmError> {
        self.memory.remove(slot, || self.kick_all())
    }

    /// The bitmap of a slot: who writes to its memory without vm-memory marks that here.
    ///
    /// # Errors
    /// [`VmError::Refused`] when there is no such slot.
    pub fn page_map(&self, slot: u32) -> Result<PageMap, VmError> {
        self.memory.pages(slot)
    }

    /// Switches the dirty log of a slot on or off, while the guest runs or not. What was written
    /// before that is in no log: a first copy takes all of the slot.
    ///
    /// # Errors
    /// [`VmError::Refused`] when there is no such slot.
    pub fn set_dirty_log(&self, slot: u32, on: bool) -> Result<(), VmError> {
        let pages = self.page_map(slot)?;
        if on {
            pages.start_log();
        } else {
            pages.stop_log();
        }
        Ok(())
    }

    /// The pages of a slot that were written since this was last asked, by the guest or, through
    /// its bitmap, by this process: see [`PageMap::take_dirty`].
    ///
    /// # Errors
    /// [`VmError::Refused`] when there is no such slot, or its log is off.
    pub fn dirty_log(&self, slot: u32) -> Result<DirtyPages, VmError> {
        let pages = self.page_map(slot)?;
        if !pages.logs() {
            return Err(VmError::Refused(format!("the dirty log of slot {slot} is off")));
        }
        Ok(DirtyPages::new(PAGE_BYTES, pages.take_dirty()))
    }

    /// Has the guest's time stand still, once no CPU is in guest code: the timebase, and with it all
    /// that CPUs count from it. Again is no change. A state that is taken up meanwhile stands still, too.
    pub fn pause_clock(&self) {
        self.clock().pause();
    }

    /// Has it go on where it stood, before any CPU runs. One that goes on is not changed.
    pub fn resume_clock(&self) {
        self.clock().resume();
    }

    /// The CPUs that it may have, and how guests number them.
    pub fn topology(&self) -> &CpuTopology {
        &self.options.topology
    }

    /// The devices that only this back end can be: how interrupts are taken and where translations
    /// are, who sleeps and wakes, the interrupt controller, the hashed page table if there may be one.
    /// Before or after CPUs are made.
    pub fn devices(&self) -> Vec<Arc<dyn Device>> {
        let mut devices: Vec<Arc<dyn Device>> = vec![
            Arc::new(PaprCalls::new(self.topology(), Some(CpuCharacteristics::IN_ORDER))),
            Arc::new(ModeCalls::new(self.topology(), self.modes.clone())),
            self.dispatch.clone(),
            self.interrupts.clone(),
        ];
        devices.extend(self.hash.clone().map(|table| table as Arc<dyn Device>));
        devices
    }

    /// The interrupt controller: for devices, as one of which it is in the platform, too.
    pub fn interrupts(&self) -> &Arc<XicsOrXive> {
        &self.interrupts
    }

    /// What its CPUs make of an agreement between a guest and its platform, for
    /// [`VcpuHost::negotiated`](arch_ppc64::VcpuHost::negotiated): translation and the interrupt
    /// controller become what was agreed on, if the machine can be that
    /// ([`VmOptions::with_mmu`], [`VmOptions::with_interrupts`]). The hashed page table is made anew, in
    /// the size that was agreed on. The processor is a POWER9, and can be held to that level, which
    /// changes nothing, or to POWER8's ([`Level`]).
    pub fn negotiated(&self, decision: &Decision) -> Negotiated {
        let Some(level) = decision.compat.map_or(Some(Level::V3_0), level) else {
            return Negotiated::Refused;
        };
        let can_be = self.options.mmu.includes(&decision.mmu);
        if !can_be || !self.interrupts.switch(decision.interrupts) {
            return Negotiated::Refused;
        }
        self.modes.agree(decision.mmu, level);
        if let (Some(table), Some(order)) = (&self.hash, decision.hpt_order) {
            table.empty(order);
        }
        Negotiated::Live
    }

    /// What is kept of a CPU outside it is as at the start of the machine.
    pub(super) fn reset_cpu(&self, index: CpuIndex) {
        self.interrupts.reset_server(index);
        self.dispatch.reset_cpu(index);
    }

    pub(super) fn modes(&self) -> &Modes {
        &self.modes
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// Nothing has happened to a CPU, which does not run.
    pub(super) fn forget(&self, cpu: usize) {
        if let Some(line) = self.lines.at(cpu) {
            line.clear();
        }
        self.system.set_own_doorbell(cpu, 0);
        if let Some(turns) = &self.turns {
            turns.made(cpu);
        }
    }

    /// What ends the sleep of CPUs.
    pub(super) fn causes(&self) -> Causes<'_> {
        Causes { lines: &self.lines, system: &self.system, clock: self.clock() }
    }

    fn kick_all(&self) {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        for (line, _) in self.lines.all().zip(made.iter()).filter(|(_, made)| **made) {
            line.kick();
        }
    }
}

/// The level of a logical PVR, if a POWER9 can be held to it.
fn level(logical_pvr: u32) -> Option<Level> {
    if logical_pvr == CpuModel::Power9.logical_pvr() {
        Some(Level::V3_0)
    } else if logical_pvr == CpuModel::Power8.logical_pvr() {
        Some(Level::V2_07)
    } else {
        None
    }
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("options", &self.options)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
