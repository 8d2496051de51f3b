//! The controller as a guest, its devices and its CPUs see it.

mod calls;
mod either;
mod model;
mod pages;
#[cfg(feature = "serde")]
mod saved;

use std::ops::Range;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::controller::ENTRIES;
use super::*;
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::layout::{XIVE_OS_PAGE, XIVE_SOURCES};
use crate::platform::{
    Device, InterruptController, InterruptKind, MmioHandler, Signal, SourceNumber,
};

const SERVERS: u32 = 3;
/// Edges, but for the last, which is a level.
const DEVICES: Range<u32> = 0x1000..0x1004;
const FIRST: u32 = DEVICES.start;
const LEVEL: u32 = DEVICES.end - 1;

const RAM_BYTES: u64 = 0x20_0000;
const QUEUE_BYTES: u64 = 1 << 16;

// Ranges of the handler.
const SOURCES: usize = 0;
const QUEUES: usize = 1;
const OS_PAGE: usize = 2;
const USER_PAGE: usize = 3;

/// Lines that insist on being told of changes, and of nothing else.
#[derive(Default)]
struct Lines(Mutex<[bool; SERVERS as usize]>);

impl InterruptOutput for Lines {
    fn set_external_interrupt(&self, cpu: CpuIndex, asserted: bool) {
        let line = &mut self.0.lock().unwrap()[cpu.0 as usize];
        assert_ne!(*line, asserted, "{cpu}: no change");
        *line = asserted;
    }
}

struct Guest {
    xive: Xive,
    lines: Arc<Lines>,
    ram: Arc<dyn GuestRam>,
}

impl Guest {
    fn new() -> Self {
        let lines = Arc::new(Lines::default());
        let memory: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)]).unwrap();
        let ram: Arc<dyn GuestRam> = Arc::new(memory);
        let xive = Xive::new(&CpuTopology::new(SERVERS), lines.clone(), ram.clone());
        for source in DEVICES {
            let is_level = source == LEVEL;
            let kind = if is_level { InterruptKind::Level } else { InterruptKind::Edge };
            xive.claim(SourceNumber(source), kind).unwrap();
        }
        Self { xive, lines, ram }
    }

    /// All CPUs have queues of all priorities and take any interrupt; the sources of devices go to
    /// CPU 0 with priority 5.
    fn ready() -> Self {
        let guest = Self::new();
        for cpu in 0..SERVERS {
            for priority in 0..=6 {
                guest.queue(cpu, priority);
            }
            guest.cppr(cpu, 0xff);
        }
        for source in DEVICES {
            guest.assign(source, 0, 5, source);
            guest.load(source, 0xc00);
        }
        guest
    }

    fn call(&self, token: u64, args: &[u64]) -> Hypercall {
        let mut call = Hypercall::new(token, args);
        assert_eq!(self.xive.handle(CpuIndex(0), &*self.ram, &mut call), Next::Resume);
        call
    }

    fn status(&self, token: u64, args: &[u64]) -> Status {
        self.call(token, args).status()
    }

    /// Where the tests have a queue.
    fn queue_at(cpu: u32, priority: u8) -> u64 {
        (u64::from(cpu) * 7 + u64::from(priority) + 1) * QUEUE_BYTES
    }

    /// Sets a queue, in memory that is all zeros.
    fn queue(&self, cpu: u32, priority: u8) {
        let at = Self::queue_at(cpu, priority);
        self.ram.write(GuestAddress(at), &[0; QUEUE_BYTES as usize]).unwrap();
        let args = [1, cpu.into(), priority.into(), at, 16];
        assert_eq!(self.status(token::INT_SET_QUEUE_CONFIG, &args), Status::SUCCESS);
    }

    fn assign(&self, source: u32, cpu: u32, priority: u8, data: u32) {
        let args = [2, source.into(), cpu.into(), priority.into(), data.into()];
        assert_eq!(self.status(token::INT_SET_SOURCE_CONFIG, &args), Status::SUCCESS);
    }

    /// A load of eight bytes, by a CPU.
    fn load_page(&self, cpu: u32, range: usize, offset: u64) -> u64 {
        let mut data = [0; 8];
        self.xive.read_by(CpuIndex(cpu), range, offset, &mut data);
        u64::from_be_bytes(data)
    }

    /// A load of a source's management page.
    fn load(&self, source: u32, offset: u64) -> u64 {
        self.load_page(2, SOURCES, u64::from(source) * 0x2_0000 + offset)
    }

    /// An event by a store to a source's page.
    fn store(&self, source: u32) {
        let offset = u64::from(source) * 0x2_0000 + 0x1_0000;
        self.xive.write_by(CpuIndex(2), SOURCES, offset, &[0; 8]);
    }

    fn signal(&self, source: u32, signal: Signal) {
        self.xive.signal(SourceNumber(source), signal);
    }

    fn cppr(&self, cpu: u32, cppr: u8) {
        self.xive.write_by(CpuIndex(cpu), OS_PAGE, 0x11, &[cppr]);
    }

    /// NSR and CPPR.
    fn accept(&self, cpu: u32) -> [u8; 2] {
        let mut data = [0; 2];
        self.xive.read_by(CpuIndex(cpu), OS_PAGE, 0x810, &mut data);
        data
    }

    fn ring(&self, cpu: u32) -> [u8; 8] {
        self.load_page(cpu, OS_PAGE, 0x10).to_be_bytes()
    }

    fn entry(&self, cpu: u32, priority: u8, index: u32) -> u32 {
        let at = Self::queue_at(cpu, priority) + 4 * u64::from(index);
        self.ram.read_be_u32(GuestAddress(at)).unwrap()
    }

    fn lines(&self) -> [bool; SERVERS as usize] {
        *self.lines.0.lock().unwrap()
    }
}

#[test]
fn an_edge_is_one_interrupt_and_another_waits_for_its_end() {
    let guest = Guest::ready();
    for _ in 0..3 {
        guest.signal(FIRST, Signal::Pulse);
    }
    assert_eq!(guest.lines(), [true, false, false]);
    assert_eq!(guest.accept(0), [0x80, 5]);
    assert_eq!(guest.lines(), [false; 3]);
    assert_eq!((guest.entry(0, 5, 0), guest.entry(0, 5, 1)), (0x8000_1000, 0));
    // What Linux does with a message: bits to 0, and an event where there was another.
    assert_eq!(guest.load(FIRST, 0xc00), 3);
    assert_eq!(guest.entry(0, 5, 1), 0);
    guest.store(FIRST);
    assert_eq!(guest.entry(0, 5, 1), 0x8000_1000);
    // It waits for the CPU.
    assert_eq!(guest.lines(), [false; 3]);
    guest.cppr(0, 0xff);
    assert_eq!(guest.lines(), [true, false, false]);
    // The end by one load.
    guest.signal(FIRST, Signal::Pulse);
    assert_eq!((guest.load(FIRST, 0x800), guest.load(FIRST, 0)), (3, 1));
    assert_eq!((guest.load(FIRST, 0x800), guest.load(FIRST, 0)), (2, 0));
    assert_eq!((guest.load(FIRST, 0x800), guest.entry(0, 5, 2)), (0, 0x8000_1000));
    assert_eq!(guest.entry(0, 5, 3), 0);
}

#[test]
fn a_level_comes_again_while_it_is_asserted() {
    let guest = Guest::ready();
    let end = |offset| {
        let call = guest.call(token::INT_ESB, &[0, LEVEL.into(), offset, 0]);
        assert_eq!(call.status(), Status::SUCCESS);
        call.args[0]
    };
    guest.signal(LEVEL, Signal::High);
    guest.signal(LEVEL, Signal::High);
    for index in 0..3 {
        assert_eq!(guest.entry(0, 5, index), 0x8000_0000 | LEVEL);
        assert_eq!(guest.entry(0, 5, index + 1), 0);
        assert_eq!(end(0), 1);
    }
    guest.signal(LEVEL, Signal::Low);
    assert_eq!((end(0x800), end(0)), (2, 0));
    assert_eq!((end(0x800), guest.entry(0, 5, 4)), (0, 0));
    // Masked by its bits, and asserted again meanwhile: it comes when it is unmasked.
    assert_eq!(end(0xd00), 0);
    guest.signal(LEVEL, Signal::High);
    assert_eq!((end(0x800), guest.entry(0, 5, 4)), (1, 0));
    assert_eq!(end(0xc00), 1);
    assert_eq!((end(0x800), guest.entry(0, 5, 4)), (2, 0x8000_0000 | LEVEL));
}

#[test]
fn an_edge_of_a_source_that_is_off_is_lost() {
    let guest = Guest::ready();
    assert_eq!(guest.load(FIRST, 0xd00), 0);
    guest.signal(FIRST, Signal::Pulse);
    assert_eq!(guest.load(FIRST, 0xc00), 1);
    assert_eq!((guest.lines(), guest.entry(0, 5, 0)), ([false; 3], 0));
}

#[test]
fn cpus_interrupt_each_other() {
    let guest = Guest::ready();
    // The numbers below the devices' are as many as CPUs.
    for source in 0..SERVERS {
        guest.assign(source, source, 6, 0x7000_0000 + source);
        assert_eq!(guest.load(source, 0xc00), 1);
    }
    guest.store(1);
    guest.store(2);
    assert_eq!(guest.lines(), [false, true, true]);
    assert_eq!(guest.entry(1, 6, 0), 0xf000_0001);
    assert_eq!(guest.accept(1), [0x80, 6]);
    assert_eq!(guest.accept(0), [0, 0xff]);
    assert_eq!(guest.lines(), [false, false, true]);
    guest.store(SERVERS);
    guest.store(u32::MAX / 2);
    assert_eq!(guest.load(SERVERS, 0x800), u64::MAX);
}

#[test]
fn more_favoured_interrupts_nest() {
    let guest = Guest::ready();
    guest.assign(FIRST + 1, 0, 3, 1);
    guest.signal(FIRST, Signal::Pulse);
    assert_eq!(guest.accept(0), [0x80, 5]);
    guest.signal(FIRST + 2, Signal::Pulse);
    assert!(!guest.lines()[0]);
    guest.signal(FIRST + 1, Signal::Pulse);
    assert!(guest.lines()[0]);
    assert_eq!(guest.ring(0), [0x80, 5, 0x14, 0, 0, 0, 0, 3]);
    assert_eq!(guest.accept(0), [0x80, 3]);
    // A CPU that takes less is not interrupted any more.
    guest.cppr(0, 0xff);
    assert!(guest.lines()[0]);
    guest.cppr(0, 5);
    assert!(!guest.lines()[0]);
    assert_eq!(guest.accept(0), [0, 5]);
    guest.cppr(0, 6);
    assert_eq!(guest.accept(0), [0x80, 5]);
    assert_eq!(guest.ring(0), [0, 5, 0, 0, 0, 0, 0, 0xff]);
}

/// "Upon return from the hcall(), no additional interrupts will be directed to the old EQ."
#[test]
fn sources_and_queues_move() {
    let guest = Guest::ready();
    guest.assign(FIRST, 2, 1, 9);
    guest.signal(FIRST, Signal::Pulse);
    assert_eq!(guest.lines(), [false, false, true]);
    assert_eq!((guest.entry(0, 5, 0), guest.entry(2, 1, 0)), (0, 0x8000_0009));
    // Another queue begins at its begin; the old one stays as it is.
    let other = RAM_BYTES - QUEUE_BYTES;
    let args = [1, 2, 1, other, 16];
    assert_eq!(guest.status(token::INT_SET_QUEUE_CONFIG, &args), Status::SUCCESS);
    guest.load(FIRST, 0xc00);
    guest.signal(FIRST, Signal::Pulse);
    assert_eq!(guest.ram.read_be_u32(GuestAddress(other)), Ok(0x8000_0009));
    assert_eq!(guest.entry(2, 1, 1), 0);
    // Without a queue, and masked, events are dropped; the bits are set all the same.
    let args = [0, 2, 1, 0, 0];
    assert_eq!(guest.status(token::INT_SET_QUEUE_CONFIG, &args), Status::SUCCESS);
    guest.accept(2);
    guest.cppr(2, 0xff);
    for flags in [2, 3] {
        guest.load(FIRST, 0xc00);
        let args = [flags, FIRST.into(), 2, 1, 9];
        assert_eq!(guest.status(token::INT_SET_SOURCE_CONFIG, &args), Status::SUCCESS);
        guest.signal(FIRST, Signal::Pulse);
        assert_eq!((guest.load(FIRST, 0x800), guest.lines()), (2, [false; 3]));
    }
}

/// Memory that is no RAM any more takes no entry, and nobody is told of one.
#[test]
fn queue_may_lose_its_memory() {
    let lines = Arc::new(Lines::default());
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    let xive = Xive::new(&CpuTopology::new(1), lines.clone(), Arc::new(memory));
    let guest = Guest { xive, lines, ram: Guest::new().ram };
    guest.xive.claim(SourceNumber(FIRST), InterruptKind::Edge).unwrap();
    guest.queue(0, 5);
    guest.assign(FIRST, 0, 5, 1);
    guest.cppr(0, 0xff);
    guest.load(FIRST, 0xc00);
    guest.signal(FIRST, Signal::Pulse);
    assert_eq!((guest.load(FIRST, 0x800), guest.lines()[0]), (2, false));
}

#[test]
fn reset_keeps_levels_and_nothing_else() {
    let guest = Guest::ready();
    guest.signal(LEVEL, Signal::High);
    guest.signal(FIRST, Signal::Pulse);
    assert!(guest.lines()[0]);
    Device::reset(&guest.xive);
    assert_eq!(guest.lines(), [false; 3]);
    assert_eq!(guest.ring(0), [0, 0, 0, 0, 0, 0, 0, 0xff]);
    for source in (0..SERVERS).chain(DEVICES) {
        assert_eq!(guest.load(source, 0x800), 1);
        let call = guest.call(token::INT_GET_SOURCE_CONFIG, &[0, source.into()]);
        assert_eq!(call.args[..3], [0, 0xff, source.into()]);
    }
    assert_eq!(guest.call(token::INT_GET_QUEUE_CONFIG, &[0, 0, 5]).args[..4], [0; 4]);
    guest.queue(0, 5);
    guest.cppr(0, 0xff);
    guest.assign(LEVEL, 0, 5, LEVEL);
    guest.load(LEVEL, 0xc00);
    assert!(guest.lines()[0]);
}

/// A CPU that is plugged in where another one was has nothing of that one.
#[test]
fn one_server_is_reset_alone() {
    let guest = Guest::ready();
    guest.assign(FIRST, 1, 5, 1);
    for source in [FIRST, FIRST + 1] {
        guest.signal(source, Signal::Pulse);
    }
    guest.xive.reset_server(CpuIndex(1));
    guest.xive.reset_server(CpuIndex(SERVERS));
    assert_eq!(guest.lines(), [true, false, false]);
    assert_eq!(guest.ring(1), [0, 0, 0, 0, 0, 0, 0, 0xff]);
    assert_eq!(guest.call(token::INT_GET_QUEUE_CONFIG, &[0, 1, 5]).args[..4], [0; 4]);
    assert_eq!(guest.call(token::INT_GET_SOURCE_CONFIG, &[0, FIRST.into()]).args[0], 1);
}

/// However many entries a guest leaves unread.
#[test]
fn a_full_queue_goes_round() {
    let guest = Guest::ready();
    for index in 0..ENTRIES + 2 {
        guest.signal(FIRST, Signal::Pulse);
        guest.load(FIRST, 0xc00);
        let generation = if index < ENTRIES { 0x8000_0000 } else { 0 };
        assert_eq!(guest.entry(0, 5, index % ENTRIES), generation | FIRST);
    }
    assert_eq!(guest.entry(0, 5, 2), 0x8000_0000 | FIRST);
}

#[test]
fn devices_have_numbers_of_their_own() {
    let guest = Guest::new();
    for number in [0, SERVERS - 1, 0x1_1000, u32::MAX] {
        assert!(guest.xive.claim(SourceNumber(number), InterruptKind::Edge).is_err());
        guest.signal(number, Signal::High);
    }
    guest.xive.claim(SourceNumber(0x1_0fff), InterruptKind::Edge).unwrap();
    guest.signal(0x2000, Signal::Pulse);
}

/// What is known of the largest machine fits where its description says.
#[test]
fn largest_machine_takes_half_a_megabyte() {
    use crate::layout::MAX_CPUS;
    let servers = MAX_CPUS as usize * size_of::<Server>();
    let sources = MAX_CPUS as usize * 2 * size_of::<(u32, state::Source)>();
    assert!(servers + sources < 512 << 10, "{servers} + {sources}");
}
