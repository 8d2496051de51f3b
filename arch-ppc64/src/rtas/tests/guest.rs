//! A guest for the tests, with its machine around it: it makes calls as guests do, by an argument
//! buffer in RAM and the hypercall.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use vm_memory::GuestMemoryMmap;

use crate::platform::{
    InterruptController, InterruptError, InterruptKind, InterruptLine, Signal, SourceNumber,
};
use crate::rtas::*;
use crate::topology::CpuTopology;
use crate::vcpu::{CpuState, EntryRegisters, StartError, VcpuHost};
use crate::{Console, HypercallBus};

pub(super) const RAM_BYTES: u64 = 0x10_0000;
pub(super) const BUFFER: GuestAddress = GuestAddress(0x1000);
pub(super) const DATA: u32 = 0x8000;
/// What output cells hold before a call.
pub(super) const UNTOUCHED: u32 = 0xdead_beef;

/// Two CPUs: 0 runs, 1 is stopped, until it is started.
#[derive(Default)]
pub(super) struct TwoCpus {
    pub(super) started: Mutex<Vec<(CpuIndex, GuestAddress, u64)>>,
}

impl VcpuHost for TwoCpus {
    fn state(&self, target: CpuIndex) -> Option<CpuState> {
        match target.0 {
            0 => Some(CpuState::Running),
            1 if self.started.lock().unwrap().is_empty() => Some(CpuState::Stopped),
            1 => Some(CpuState::InTransition),
            _ => None,
        }
    }

    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let EntryRegisters { pc: entry, r3, .. } = registers;
        match self.state(target) {
            Some(CpuState::Stopped) => {}
            Some(_) => return Err(StartError::NotStopped),
            None => return Err(StartError::NoSuchCpu),
        }
        self.started.lock().unwrap().push((target, entry, r3));
        Ok(())
    }
}

/// The interrupt of EPOW events.
pub(super) const EPOW: SourceNumber = SourceNumber(0x1001);

/// Counts the edges of [`EPOW`].
#[derive(Default)]
pub(super) struct Line(AtomicU32);

impl Line {
    /// How many there were since this was last asked.
    pub(super) fn take(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl InterruptController for Line {
    fn claim(&self, _: SourceNumber, _: InterruptKind) -> Result<(), InterruptError> {
        Ok(())
    }

    fn signal(&self, source: SourceNumber, signal: Signal) {
        assert_eq!((source, signal), (EPOW, Signal::Pulse));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A console with room for some bytes.
pub(super) struct Page(pub(super) Mutex<(Vec<u8>, usize)>);

impl Console for Page {
    fn write(&self, text: &[u8]) -> usize {
        let (shown, room) = &mut *self.0.lock().unwrap();
        let taken = text.len().min(*room);
        *room -= taken;
        shown.extend_from_slice(&text[..taken]);
        taken
    }
}

pub(super) struct FixedTime;

impl HostTime for FixedTime {
    fn now(&self) -> Duration {
        // 2024-02-29 12:34:56.000000789 UTC.
        Duration::new(1_709_210_096, 789)
    }
}

/// Two CPUs, room for eight, 512 MiB.
pub(super) fn parameters() -> SystemParameters {
    SystemParameters::new(2, &CpuTopology::new(8), 512 << 20)
}

/// A guest with its machine around it.
pub(super) struct Guest {
    pub(super) ram: GuestMemoryMmap,
    pub(super) bus: HypercallBus,
    pub(super) cpus: Arc<TwoCpus>,
    pub(super) page: Arc<Page>,
    pub(super) clock: Arc<RealTimeClock>,
    pub(super) line: Arc<Line>,
    pub(super) events: Arc<EventSources>,
}

impl Guest {
    pub(super) fn new() -> Self {
        Self::with(parameters(), AfterOsTerm::Stop)
    }

    pub(super) fn with(parameters: SystemParameters, after_os_term: AfterOsTerm) -> Self {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)]).unwrap();
        let cpus = Arc::new(TwoCpus::default());
        let page = Arc::new(Page(Mutex::new((Vec::new(), 100))));
        let clock = Arc::new(RealTimeClock::new(Box::new(FixedTime)));
        let calls = StandardCalls::new(parameters, cpus.clone(), page.clone())
            .with_clock(clock.clone())
            .after_os_term(after_os_term);
        let line = Arc::new(Line::default());
        let interrupt = InterruptLine::new(line.clone(), EPOW, InterruptKind::Edge);
        let events = Arc::new(EventSources::new(interrupt, clock.clone()));
        let mut devices = calls.devices();
        devices.push(events.clone());
        let rtas = Rtas::new(&devices).unwrap();
        let bus = HypercallBus::new(vec![Arc::new(rtas)]).unwrap();
        Self { ram, bus, cpus, page, clock, line, events }
    }

    pub(super) fn ram(&self) -> &dyn GuestRam {
        &self.ram
    }

    pub(super) fn hypercall(&self, buffer: u64) -> (Next, Status) {
        let mut call = Hypercall::new(token::RTAS, &[buffer]);
        let next = self.bus.dispatch(CpuIndex(0), &self.ram, &mut call);
        (next, call.status())
    }

    /// Makes a call by its token; returns what the CPU does next and the output cells.
    pub(super) fn raw(&self, token: u32, inputs: &[u32], outputs: usize) -> (Next, Vec<u32>) {
        let header = [token, inputs.len() as u32, outputs as u32];
        let untouched = vec![UNTOUCHED; outputs];
        let cells = [header.as_slice(), inputs, untouched.as_slice()].concat();
        for (cell, at) in cells.iter().zip((BUFFER.0..).step_by(4)) {
            self.ram().write_be_u32(GuestAddress(at), *cell).unwrap();
        }
        let (next, status) = self.hypercall(BUFFER.0);
        assert_eq!(status, Status::SUCCESS);
        let first = BUFFER.0 + 4 * (3 + inputs.len() as u64);
        let results = (first..).step_by(4).take(outputs);
        (next, results.map(|at| self.ram().read_be_u32(GuestAddress(at)).unwrap()).collect())
    }

    /// Makes a call by its name, which is to return; returns the status and the other outputs.
    pub(super) fn call(&self, name: &str, inputs: &[u32], outputs: usize) -> (i32, Vec<u32>) {
        let (next, mut results) = self.raw(token_of(name).unwrap(), inputs, outputs);
        assert_eq!(next, Next::Resume);
        let status = results.remove(0) as i32;
        (status, results)
    }

    pub(super) fn status(&self, name: &str, inputs: &[u32]) -> i32 {
        self.call(name, inputs, 1).0
    }

    pub(super) fn bytes(&self, at: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram().read(GuestAddress(at.into()), &mut bytes).unwrap();
        bytes
    }
}
