//! XIVE: its hypercalls with any arguments, its pages with accesses of any place, size and order,
//! and devices that signal meanwhile.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arch_ppc64::hypercall::token;
use arch_ppc64::platform::{
    Device, InterruptController, InterruptKind, MmioHandler, Signal, SourceNumber, StateValue,
};
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::xics::InterruptOutput;
use arch_ppc64::xive::Xive;
use arch_ppc64::{CpuIndex, Hypercall, HypercallHandler, Next, Status};

use crate::Reach;
use crate::bus_machine::lock;
use crate::input::Input;
use crate::ram::{WatchedRam, are_within};

/// How many steps an input makes at most.
const STEPS_MAX: usize = 256;

const RAM_END: u64 = 4 << 20;
const HOLE: Range<u64> = 0x10_0000..0x12_0000;
const QUEUE_BYTES: u64 = 1 << 16;
const PAGE: u64 = 1 << 16;

/// Two cores of two threads, whose servers have gaps.
const CPUS: u32 = 4;
const SERVERS: [u64; CPUS as usize] = [0, 1, 4, 5];

/// Sources of devices: edges, but for the last, which is a level.
const EDGES: [u32; 2] = [0x1000, 0x1001];
const LEVEL: u32 = 0x1002;

// Ranges of the handler.
const SOURCES: usize = 0;
const QUEUES: usize = 1;
const OS_PAGE: usize = 2;
const RANGES: usize = 4;

/// What is asked for, in the order of [`token::XIVE_CALLS`], and what else may come about.
const GOALS: [&str; 21] = [
    "H_INT_GET_SOURCE_INFO with success",
    "H_INT_SET_SOURCE_CONFIG with success",
    "H_INT_GET_SOURCE_CONFIG with success",
    "H_INT_GET_QUEUE_INFO with success",
    "H_INT_SET_QUEUE_CONFIG with success",
    "H_INT_GET_QUEUE_CONFIG with success",
    "H_INT_ESB with success",
    "H_INT_SYNC with success",
    "H_INT_RESET with success",
    "H_Parameter",
    "H_P2",
    "H_P3",
    "H_P4",
    "H_P5",
    "an entry of a queue",
    "an interrupt that is presented",
    "one that is accepted",
    "an event that waits for the end of another",
    "a level that comes again",
    "an entry that nobody is told of",
    "a controller that was saved",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).to_vec()
}

fn reached(reach: &mut Reach, goal: &str) {
    reach.add(GOALS.iter().position(|known| *known == goal).expect("it is a goal"));
}

/// The lines of the CPUs. Who tells of one tells of a change.
#[derive(Debug, Default)]
struct Lines(Mutex<[bool; CPUS as usize]>);

impl InterruptOutput for Lines {
    fn set_external_interrupt(&self, CpuIndex(cpu): CpuIndex, asserted: bool) {
        let line = &mut lock(&self.0)[cpu as usize];
        assert_ne!(*line, asserted, "CPU {cpu} is told of no change");
        *line = asserted;
    }
}

struct World {
    xive: Xive,
    lines: Arc<Lines>,
    ram: Arc<WatchedRam>,
    /// Where the queues are that were set, by server and priority.
    queues: BTreeMap<(u64, u64), u64>,
}

impl World {
    fn new(ram: Arc<WatchedRam>) -> Self {
        let topology = CpuTopology::new(CPUS).with_threads(2, 4).expect("it can be");
        let lines = Arc::new(Lines::default());
        let xive = Xive::new(&topology, lines.clone(), ram.clone());
        for (source, kind) in EDGES
            .map(|source| (source, InterruptKind::Edge))
            .into_iter()
            .chain([(LEVEL, InterruptKind::Level)])
        {
            xive.claim(SourceNumber(source), kind).expect("a number of a device");
        }
        Self { xive, lines, ram, queues: BTreeMap::new() }
    }

    fn state(&self) -> StateValue {
        let state = self.xive.state().expect("it has one");
        state.save().expect("it can be saved")
    }

    /// Another controller with the same state.
    fn saved(self) -> Self {
        let state = self.state();
        let other = Self { queues: self.queues.clone(), ..Self::new(self.ram.clone()) };
        let taken_up = other.xive.state().expect("it has one").restore(1, &state);
        taken_up.expect("what was saved can be");
        assert_eq!(other.state(), state);
        assert_eq!(*lock(&other.lines.0), *lock(&self.lines.0));
        other
    }

    /// A hypercall; its status, and what is in the registers from R4 on.
    fn call(&mut self, caller: CpuIndex, token: u64, args: &[u64]) -> (Status, [u64; 9]) {
        let mut call = Hypercall::new(token, args);
        let before = call.args;
        assert_eq!(self.xive.handle(caller, &*self.ram, &mut call), Next::Resume);
        let status = call.status();
        if status != Status::SUCCESS {
            assert_eq!(call.args, before, "a call that fails has no results");
            return (status, call.args);
        }
        match token {
            token::INT_SET_QUEUE_CONFIG => {
                let [_, server, priority, at, shift, ..] = before;
                match shift {
                    0 => self.queues.remove(&(server, priority)),
                    _ => self.queues.insert((server, priority), at),
                };
            }
            token::INT_RESET => self.queues.clear(),
            _ => {}
        }
        (status, call.args)
    }

    fn load(&self, cpu: u32, range: usize, offset: u64, bytes: usize) -> u64 {
        let mut data = [0; 16];
        self.xive.read_by(CpuIndex(cpu), range, offset, &mut data[..bytes]);
        data[..bytes].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// The ring of a CPU: NSR, CPPR, IPB, PIPR.
    fn ring(&self, cpu: u32) -> [u8; 4] {
        let ring = self.load(cpu, OS_PAGE, 0x10, 8).to_be_bytes();
        [ring[0], ring[1], ring[2], ring[7]]
    }

    /// P and Q of a source.
    fn bits(&self, source: u32) -> u64 {
        self.load(0, SOURCES, u64::from(source) * 2 * PAGE + 0x800, 8)
    }

    /// What holds at any time; whether something was written.
    fn check(&self, reach: &mut Reach) -> bool {
        for (cpu, line) in (0..).zip(*lock(&self.lines.0)) {
            let [nsr, cppr, pending, best] = self.ring(cpu);
            let first = if pending == 0 { 0xff } else { pending.leading_zeros() as u8 };
            assert_eq!(best, first, "CPU {cpu}");
            assert_eq!(nsr, if best < cppr { 0x80 } else { 0 }, "CPU {cpu}");
            assert_eq!(line, nsr != 0, "the line of CPU {cpu}");
            if line {
                reached(reach, "an interrupt that is presented");
            }
        }
        let (writes, work) = self.ram.take();
        assert!(work.bytes <= 4 * 2, "{work:?} for one event and a level");
        let places: Vec<Range<u64>> =
            self.queues.values().map(|at| *at..at + QUEUE_BYTES).collect();
        assert!(are_within(&writes, &places), "{writes:x?} where no queue is");
        for write in &writes {
            assert_eq!((write.start % 4, (write.end - write.start) % 4), (0, 0), "{writes:x?}");
        }
        !writes.is_empty()
    }
}

/// `data` is one step after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let mut world = World::new(Arc::new(WatchedRam::with_hole(RAM_END, HOLE)));
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let told_before = rings(&world);
        let step = input.byte() % 16;
        match step {
            0..=5 => hypercall(&mut world, &mut input, &mut reach),
            6..=8 => load(&world, &mut input, &mut reach),
            9..=11 => store(&world, &mut input),
            12..=14 => signal(&world, &mut input, &mut reach),
            _ => {
                world = world.saved();
                reached(&mut reach, "a controller that was saved");
            }
        }
        if world.check(&mut reach) {
            reached(&mut reach, "an entry of a queue");
            if rings(&world) == told_before {
                reached(&mut reach, "an entry that nobody is told of");
            }
        }
    }
    reach
}

fn rings(world: &World) -> Vec<[u8; 4]> {
    (0..CPUS).map(|cpu| world.ring(cpu)).collect()
}

/// A number that means something, or some other.
fn known(input: &mut Input<'_>, numbers: &[u64]) -> u64 {
    match input.byte() {
        kind @ 0..=0xdf => numbers[usize::from(kind) % numbers.len()],
        _ => input.number(RAM_END),
    }
}

fn source(input: &mut Input<'_>) -> u64 {
    known(input, &[0, 1, 3, 0x1000, 0x1001, 0x1002, 0x1003])
}

fn hypercall(world: &mut World, input: &mut Input<'_>, reach: &mut Reach) {
    let which = usize::from(input.byte()) % token::XIVE_CALLS.len();
    let token = token::XIVE_CALLS[which];
    let caller = CpuIndex(u32::from(input.byte()) % CPUS);
    let flags = known(input, &[0, 0, 0, 1, 2, 3]);
    let args = match token {
        token::INT_SET_SOURCE_CONFIG => [
            flags,
            source(input),
            known(input, &SERVERS),
            known(input, &[0, 5, 6, 0xff, 7]),
            known(input, &[1, 0x1234, 0x7fff_ffff, 0x8000_0000]),
        ],
        token::INT_GET_QUEUE_INFO | token::INT_SET_QUEUE_CONFIG | token::INT_GET_QUEUE_CONFIG => [
            flags,
            known(input, &SERVERS),
            known(input, &[0, 5, 6, 7]),
            known(input, &[0, 0x2_0000, 0xf_0000, 0x12_0000, RAM_END - QUEUE_BYTES, 0x2_1000]),
            known(input, &[16, 16, 16, 0, 12]),
        ],
        _ => [
            flags,
            source(input),
            known(input, &[0, 0, 0x800, 0xc00, 0xd00, 0xe00, 0xf00, 0x400]),
            input.byte().into(),
            0,
        ],
    };
    let (status, results) = world.call(caller, token, &args);
    match status {
        Status::SUCCESS => {
            let place = match token {
                token::INT_SET_OS_REPORTING_LINE | token::INT_GET_OS_REPORTING_LINE => {
                    panic!("{token:#x} is not there")
                }
                token::INT_ESB | token::INT_SYNC | token::INT_RESET => which - 2,
                _ => which,
            };
            reach.add(place);
        }
        Status::PARAMETER => reached(reach, "H_Parameter"),
        Status::P2 => reached(reach, "H_P2"),
        Status::P3 => reached(reach, "H_P3"),
        Status::P4 => reached(reach, "H_P4"),
        Status::P5 => reached(reach, "H_P5"),
        Status::FUNCTION => {}
        other => panic!("{token:#x} {args:x?} has the status {other:?}"),
    }
    if status != Status::SUCCESS {
        return;
    }
    match token {
        // What was set is told.
        token::INT_SET_SOURCE_CONFIG => {
            let (_, told) = world.call(caller, token::INT_GET_SOURCE_CONFIG, &[0, args[1]]);
            let is_off = args[3] == 0xff || args[0] & 1 != 0;
            assert_eq!(told[1], if is_off { 0xff } else { args[3] });
            if args[3] != 0xff {
                assert_eq!(told[0], args[2]);
            }
        }
        token::INT_SET_QUEUE_CONFIG => {
            let args = [1, args[1], args[2], args[3], args[4]];
            let (_, told) = world.call(caller, token::INT_GET_QUEUE_CONFIG, &args[..3]);
            let wanted = if args[4] == 0 { [0; 4] } else { [told[0] | 2, args[3], 16, 0] };
            assert_eq!(told[..4], wanted);
        }
        token::INT_GET_QUEUE_CONFIG => {
            let queue = world.queues.get(&(args[1], args[2]));
            assert_eq!(results[1], queue.copied().unwrap_or(0));
        }
        // A load there is a load of the page.
        token::INT_ESB if args[0] == 0 && args[2] & 0xfff == 0x800 => {
            assert_eq!(results[0], world.bits(args[1] as u32));
        }
        _ => {}
    }
}

/// Which CPU accesses: one that there is, or none.
fn caller(input: &mut Input<'_>) -> u32 {
    u32::from(input.byte()) % (CPUS + 1)
}

/// A page of a source that there may be, of a queue, or of threads; or any place at all.
fn place(world: &World, range: usize, input: &mut Input<'_>) -> u64 {
    let within = known(input, &[0, 0x10, 0x11, 0x810, 0x812, 0xc10, 0x800, 0xc00, 0xd00, 0xf00]);
    let bytes = world.xive.ranges()[range].bytes;
    let page = match range {
        SOURCES => source(input).wrapping_mul(2) | u64::from(input.byte() & 1),
        QUEUES => known(input, &[0, 5, 6, 8 + 6, 16 + 6, 24 + 6]),
        _ => 0,
    };
    page.wrapping_mul(PAGE).wrapping_add(within) % bytes
}

/// The range of an access, of which it is a part: the bus sees to that.
fn access(world: &World, input: &mut Input<'_>) -> (usize, u64, usize) {
    let range = usize::from(input.byte()) % RANGES;
    let offset = place(world, range, input);
    let bytes = match input.byte() {
        kind @ 0..=0xdf => [1, 2, 4, 8][usize::from(kind) % 4],
        other => 1 + u64::from(other) % 16,
    };
    let room = world.xive.ranges()[range].bytes - offset;
    (range, offset, bytes.min(room) as usize)
}

fn load(world: &World, input: &mut Input<'_>, reach: &mut Reach) {
    let (cpu, (range, offset, bytes)) = (caller(input), access(world, input));
    let before = (range == OS_PAGE && cpu < CPUS).then(|| world.ring(cpu));
    let value = world.load(cpu, range, offset, bytes);
    if let (Some([nsr, cppr, _, best]), 0x810, 2) = (before, offset, bytes) {
        let priority = if nsr != 0 { best } else { cppr };
        assert_eq!(value, u64::from(nsr) << 8 | u64::from(priority));
        if nsr != 0 {
            assert_eq!(world.ring(cpu)[1], best);
            reached(reach, "one that is accepted");
        }
    }
    let is_end = range == SOURCES && offset / PAGE == u64::from(LEVEL) * 2 && offset & 0xc00 == 0;
    if is_end && bytes == 8 && value == 1 {
        reached(reach, "a level that comes again");
    }
}

fn store(world: &World, input: &mut Input<'_>) {
    let (cpu, (range, offset, bytes)) = (caller(input), access(world, input));
    let first = known(input, &[0xff, 0, 6, 7]) as u8;
    world.xive.write_by(CpuIndex(cpu), range, offset, &[first; 16][..bytes]);
}

fn signal(world: &World, input: &mut Input<'_>, reach: &mut Reach) {
    let source = known(input, &[0x1000, 0x1001, LEVEL.into(), 0x1003, 0]) as u32;
    let signal = input.pick(&[Signal::Pulse, Signal::High, Signal::Low]);
    let is_level = source == LEVEL;
    if is_level == (signal != Signal::Pulse) {
        world.xive.signal(SourceNumber(source), signal);
    }
    if EDGES.contains(&source) && world.bits(source) == 3 {
        reached(reach, "an event that waits for the end of another");
    }
}
