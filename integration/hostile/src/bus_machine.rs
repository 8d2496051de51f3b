//! The host's side of a machine: consoles that take a part, CPUs that are there or not, lines.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arch_ppc64::papr::{ProcessTable, ProcessorModes, Prod, ResetTargets};
use arch_ppc64::xics::InterruptOutput;
use arch_ppc64::{Console, CpuIndex, CpuState, EntryRegisters, StartError, Status, VcpuHost};
use vm_memory::GuestAddress;

/// How many CPUs there are; of those, the first two run.
pub(crate) const CPUS: u32 = 4;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A console of little room, on which somebody types.
#[derive(Debug)]
pub(crate) struct HostConsole {
    shown: Mutex<Vec<u8>>,
    typed: Mutex<u32>,
    /// The most that one write takes.
    room: usize,
}

impl HostConsole {
    /// Takes up to `room` bytes at a time, and has as many typed ones.
    pub(crate) fn new(room: usize) -> Self {
        Self { shown: Mutex::default(), typed: Mutex::new(64), room }
    }

    /// All that was shown.
    pub(crate) fn shown(&self) -> Vec<u8> {
        lock(&self.shown).clone()
    }
}

impl Console for HostConsole {
    fn write(&self, text: &[u8]) -> usize {
        let taken = text.len().min(self.room);
        lock(&self.shown).extend_from_slice(&text[..taken]);
        taken
    }

    fn read(&self, buf: &mut [u8]) -> usize {
        let mut typed = lock(&self.typed);
        let count = buf.len().min(*typed as usize).min(self.room);
        buf[..count].fill(b'k');
        *typed -= count as u32;
        count
    }
}

/// The CPUs of a machine, and their lines.
#[derive(Debug, Default)]
pub(crate) struct HostCpus {
    started: Mutex<Vec<(CpuIndex, GuestAddress, u64)>>,
    lines: Mutex<[bool; CPUS as usize]>,
    tables: Mutex<Vec<ProcessTable>>,
}

impl HostCpus {
    /// What was started, where, and with what in r3.
    pub(crate) fn started(&self) -> Vec<(CpuIndex, GuestAddress, u64)> {
        lock(&self.started).clone()
    }

    /// Whether the controller has an interrupt for a CPU.
    pub(crate) fn line(&self, cpu: u32) -> bool {
        lock(&self.lines)[cpu as usize]
    }

    /// The process tables that were set.
    pub(crate) fn tables(&self) -> Vec<ProcessTable> {
        lock(&self.tables).clone()
    }
}

impl VcpuHost for HostCpus {
    fn state(&self, target: CpuIndex) -> Option<CpuState> {
        let started = lock(&self.started).iter().any(|(cpu, ..)| *cpu == target);
        match target.0 {
            0 | 1 => Some(CpuState::Running),
            2..CPUS if started => Some(CpuState::InTransition),
            2..CPUS => Some(CpuState::Stopped),
            _ => None,
        }
    }

    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let EntryRegisters { pc: entry, r3, .. } = registers;
        match self.state(target) {
            Some(CpuState::Stopped) => {
                assert!(entry.0 % 4 == 0, "{target} starts at {:#x}", entry.0);
                lock(&self.started).push((target, entry, r3));
                Ok(())
            }
            Some(_) => Err(StartError::NotStopped),
            None => Err(StartError::NoSuchCpu),
        }
    }
}

impl InterruptOutput for HostCpus {
    fn set_external_interrupt(&self, cpu: CpuIndex, asserted: bool) {
        let mut lines = lock(&self.lines);
        let line = &mut lines[cpu.0 as usize];
        assert_ne!(*line, asserted, "{cpu}: a change that is none");
        *line = asserted;
    }
}

impl Prod for HostCpus {
    fn prod(&self, target: CpuIndex) -> bool {
        target.0 < CPUS
    }
}

impl ProcessorModes for HostCpus {
    fn set_interrupt_endianness(&self, _little: bool) -> Status {
        Status::SUCCESS
    }

    fn set_interrupt_location(&self, ail: u8) -> Status {
        assert!(matches!(ail, 0 | 2 | 3), "interrupts at {ail}");
        Status::SUCCESS
    }

    fn set_process_table(&self, table: &ProcessTable) -> Status {
        lock(&self.tables).push(*table);
        Status::SUCCESS
    }

    fn set_breakpoint(&self, _caller: CpuIndex, ciabr: u64) -> Status {
        assert_ne!(ciabr & 3, 3, "a match in hypervisor state");
        Status::SUCCESS
    }

    fn set_watchpoint(&self, _caller: CpuIndex, number: u8, dawr: u64, dawrx: u64) -> Status {
        // Bit 61, HYP: a match in hypervisor state.
        assert!(number < 2 && dawr % 8 == 0 && dawrx & 4 == 0);
        Status::SUCCESS
    }

    fn system_reset(&self, _caller: CpuIndex, targets: ResetTargets) -> Status {
        match targets {
            ResetTargets::One(cpu) if cpu.0 >= CPUS => Status::PARAMETER,
            _ => Status::SUCCESS,
        }
    }
}
