//! Hotplug: a VMM that plugs and unplugs at any moment, and a guest that makes any RTAS calls about
//! connectors, beside a plain model of where each stands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::hotplug::{self, Hotplug, HotplugHost, PlugState, Resource};
use arch_ppc64::hypercall::token;
use arch_ppc64::platform::{
    Device, InterruptController, InterruptError, InterruptKind, InterruptLine, Platform,
    PlatformBuilder, Signal, SourceNumber,
};
use arch_ppc64::rtas::{
    EPOW, ERROR_LOG_BYTES_MAX, EVENT_SOURCES_ID, EventSources, StandardCalls, token_of,
};
use arch_ppc64::topology::{CpuTopology, CpuTopologyError};
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, Hypercall, Machine, Next, NoConsole, StartError, Status,
    VcpuHost,
};

use crate::Reach;
use crate::bus_machine::lock;
use crate::input::Input;
use crate::ram::{WatchedRam, are_within};

const CALLS: [&str; 7] = [
    "get-sensor-state",
    "set-indicator",
    "ibm,configure-connector",
    "check-exception",
    "start-cpu",
    "get-power-level",
    "set-power-level",
];

const GOALS: [&str; 12] = [
    "an entity that is present",
    "an entity that is unusable",
    "an isolated one",
    "a running core that is not isolated",
    "a node to its end",
    "an event",
    "a CPU that starts",
    "released",
    "kept",
    "taken",
    "returned",
    "a machine that was saved",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).to_vec()
}

fn reached(reach: &mut Reach, goal: &str) {
    reach.add(GOALS.iter().position(|known| *known == goal).expect("it is a goal"));
}

const RAM_BYTES: u64 = 1 << 20;
/// Where argument buffers are.
const BUFFER: u64 = 0x1000;
const WORK_AREA_BYTES: u64 = 4096;
/// How many steps an input makes at most.
const STEPS_MAX: usize = 256;

const THREADS: u32 = 2;
const CORES: u32 = 3;
const BLOCK: u64 = 256 << 20;

/// One core of three is there, and one block of memory that stays; there is room for three.
struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(BLOCK).with_hotplug(3 * BLOCK)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(THREADS, Default::default()).with_max(THREADS * CORES)
    }

    fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
        CpuTopology::new(THREADS * CORES).with_threads(THREADS, 4)
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

/// Which CPUs the VMM has made, and whether they run. CPU 0 makes all calls.
#[derive(Debug, Default)]
struct HostCpus(Mutex<BTreeMap<u32, bool>>);

impl VcpuHost for HostCpus {
    fn state(&self, target: CpuIndex) -> Option<CpuState> {
        let runs = lock(&self.0).get(&target.0).copied()?;
        Some(if runs { CpuState::Running } else { CpuState::Stopped })
    }

    fn start(&self, target: CpuIndex, _: EntryRegisters) -> Result<(), StartError> {
        match lock(&self.0).get_mut(&target.0) {
            Some(runs) if !*runs => {
                *runs = true;
                Ok(())
            }
            Some(_) => Err(StartError::NotStopped),
            None => Err(StartError::NoSuchCpu),
        }
    }
}

/// Counts hotplug interrupts.
#[derive(Debug, Default)]
struct Lines(Mutex<u32>);

impl InterruptController for Lines {
    fn claim(&self, _: SourceNumber, _: InterruptKind) -> Result<(), InterruptError> {
        Ok(())
    }

    fn signal(&self, _: SourceNumber, signal: Signal) {
        assert_eq!(signal, Signal::Pulse);
        *lock(&self.0) += 1;
    }
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(&'static str, Resource)>>);

impl HotplugHost for Heard {
    fn released(&self, resource: Resource) {
        lock(&self.0).push(("released", resource));
    }
    fn kept(&self, resource: Resource) {
        lock(&self.0).push(("kept", resource));
    }
    fn taken(&self, resource: Resource) {
        lock(&self.0).push(("taken", resource));
    }
    fn returned(&self, resource: Resource) {
        lock(&self.0).push(("returned", resource));
    }
}

/// Where a connector stands: 0 nothing is plugged, 1 unusable, 2 isolated, 3 unisolated, 4 configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Connector {
    stands: u8,
    asked_back: bool,
    /// An event waits: 1 to add, 2 to remove.
    event: u8,
}

struct World {
    ram: WatchedRam,
    platform: Platform,
    hotplug: Hotplug,
    cpus: Arc<HostCpus>,
    heard: Arc<Heard>,
    lines: Arc<Lines>,
    /// By their indexes.
    model: BTreeMap<u32, (Resource, Connector)>,
}

impl World {
    fn new(machine: &Machine, cpus: Arc<HostCpus>) -> Self {
        let (heard, lines) = (Arc::new(Heard::default()), Arc::new(Lines::default()));
        let mut builder = PlatformBuilder::new(machine, lines.clone());
        let mut interrupt = |device, name| -> InterruptLine {
            builder.interrupt(device, name, InterruptKind::Edge).expect("there are numbers left")
        };
        let warnings = interrupt(EVENT_SOURCES_ID, EPOW);
        let events = interrupt(hotplug::ID, hotplug::EVENTS);
        let hotplug = Hotplug::new(machine, events, cpus.clone(), heard.clone());
        let sources = EventSources::new(warnings, Arc::default()).with_hotplug(&hotplug);
        let calls = StandardCalls::new(machine, hotplug.cpus(), Arc::new(NoConsole));
        builder.add_all([
            Arc::new(hotplug.clone()) as Arc<dyn Device>,
            Arc::new(sources) as Arc<dyn Device>,
        ]);
        builder.add_all(calls.devices());
        let platform = builder.build().expect("they are one machine");
        let model = hotplug.resources().into_iter().map(|resource| {
            let index = match resource {
                Resource::Core(cpu) => 1 << 28 | cpu.0 / THREADS,
                Resource::Memory(block) => 8 << 28 | (block.start.0 / BLOCK) as u32,
                other => panic!("{other} has a connector"),
            };
            let is_there = hotplug.state(resource) == Some(PlugState::InUse);
            let stands = if is_there { 4 } else { 0 };
            (index, (resource, Connector { stands, ..Connector::default() }))
        });
        let model = model.collect();
        Self { ram: WatchedRam::new(RAM_BYTES), platform, hotplug, cpus, heard, lines, model }
    }

    /// Makes a call: the status and the other output, if it returned with these.
    fn call(&self, name: &str, inputs: &[u32], buffers: &[std::ops::Range<u64>]) -> (i32, u32) {
        let token = token_of(name).expect("it is well known");
        let header = [token, inputs.len() as u32, outputs(name)];
        self.ram.poke_cells(BUFFER, &[&header[..], inputs, &[0x5a5a_5a5a; 2]].concat());
        let mut call = Hypercall::new(token::RTAS, &[BUFFER]);
        let next = self.platform.hypercalls().dispatch(CpuIndex(0), &self.ram, &mut call);
        assert_eq!((next, call.status()), (Next::Resume, Status::SUCCESS));
        let (writes, work) = self.ram.take();
        assert!(work.accesses <= 8 && work.bytes <= 16 << 10, "{name}: {work:?}");
        let at = BUFFER + 12 + 4 * inputs.len() as u64;
        let results = at..at + 4 * u64::from(outputs(name));
        let permitted = [&[results], buffers].concat();
        assert!(are_within(&writes, &permitted), "{name} wrote {writes:x?}, not {permitted:x?}");
        let status = self.ram.peek_cell(at) as i32;
        let value = if outputs(name) > 1 { self.ram.peek_cell(at + 4) } else { 0 };
        assert!(status >= 0 || value == 0, "{name} failed and has results");
        (status, value)
    }

    /// Whether a thread of a core runs.
    fn runs(&self, resource: Resource) -> bool {
        let Resource::Core(first) = resource else { return false };
        let cpus = lock(&self.cpus.0);
        (first.0..first.0 + THREADS).any(|cpu| cpus.get(&cpu) == Some(&true))
    }

    /// What `set-indicator` is to do, by the model: its status, and what the VMM hears.
    fn indicated(&mut self, inputs: [u32; 3]) -> (i32, Option<&'static str>) {
        let [indicator, index, state] = inputs;
        let Some(&(resource, was)) = self.model.get(&index) else { return (-3, None) };
        let runs = self.runs(resource);
        let connector = &mut self.model.get_mut(&index).expect("it is there").1;
        match (indicator, state, was.stands) {
            (9003, 0, 0 | 1) | (9003, 1, 2..) => (0, None),
            (9003, 1, 1) => {
                connector.stands = 2;
                (0, None)
            }
            (9003, 0, 2) if was.asked_back => {
                (connector.stands, connector.asked_back) = (0, false);
                (0, Some("released"))
            }
            (9003, 0, 2) => {
                connector.stands = 1;
                (0, Some("returned"))
            }
            (9001, 0, 2) => (0, None),
            (9001, 0, 3 | 4) if runs => (-9001, None),
            (9001, 0, 3 | 4) => {
                connector.stands = 2;
                (0, None)
            }
            (9001, 1, 2) => {
                connector.stands = 3;
                (0, None)
            }
            (9001, 1, 3 | 4) if was.asked_back && was.event != 2 => {
                connector.asked_back = false;
                (0, Some("kept"))
            }
            (9001, 1, 3 | 4) => (0, None),
            _ => (-3, None),
        }
    }

    /// The VMM makes ready what it plugs, and takes away what it has back.
    fn host(&mut self, plug: bool, number: usize) {
        let count = self.model.len();
        let (&index, &(resource, was)) =
            self.model.iter().nth(number % count).expect("one of them");
        if plug && was.stands == 0 {
            if let Resource::Core(first) = resource {
                lock(&self.cpus.0).extend((first.0..first.0 + THREADS).map(|cpu| (cpu, false)));
            }
        }
        let waited = self.model.values().any(|(_, connector)| connector.event != 0);
        let connector = &mut self.model.get_mut(&index).expect("it is there").1;
        let (mut heard, mut interrupts) = (None, 0);
        let mut post = |connector: &mut Connector, event| {
            interrupts = u32::from(!waited || was.event == event);
            connector.event = event;
        };
        let expected = match (plug, was.stands, was.asked_back) {
            (true, 0 | 1, _) => {
                connector.stands = 1;
                post(connector, 1);
                true
            }
            (true, _, true) => {
                connector.asked_back = false;
                connector.event = u8::from(was.event != 0);
                true
            }
            (true, 4, false) => false,
            (true, _, false) => true,
            (false, 0, _) => false,
            (false, 1, _) => {
                connector.stands = 0;
                connector.event = if was.event == 0 { 0 } else { 2 };
                heard = Some(("released", resource));
                true
            }
            (false, ..) => {
                connector.asked_back = true;
                post(connector, 2);
                true
            }
        };
        let before = *lock(&self.lines.0);
        let done = if plug { self.hotplug.plug(resource) } else { self.hotplug.unplug(resource) };
        assert_eq!(done.is_ok(), expected, "{resource}: {was:?}");
        assert_eq!(*lock(&self.lines.0) - before, interrupts, "{resource}: {was:?}");
        let told: Vec<_> = std::mem::take(&mut *lock(&self.heard.0));
        assert_eq!(told, heard.into_iter().collect::<Vec<_>>());
        self.took_away(&told);
    }

    fn took_away(&self, told: &[(&'static str, Resource)]) {
        for &(what, resource) in told {
            if let ("released", Resource::Core(first)) = (what, resource) {
                let mut cpus = lock(&self.cpus.0);
                for cpu in first.0..first.0 + THREADS {
                    assert_eq!(cpus.remove(&cpu), Some(false), "CPU {cpu} runs");
                }
            }
        }
    }

    fn check(&self) {
        for (resource, connector) in self.model.values() {
            let expected = match (connector.stands, connector.asked_back) {
                (0, _) => PlugState::Absent,
                (_, true) => PlugState::AskedBack,
                (4, false) => PlugState::InUse,
                _ => PlugState::Offered,
            };
            assert_eq!(self.hotplug.state(*resource), Some(expected), "{connector:?}");
            if let Resource::Core(first) = *resource {
                let seen = self.hotplug.cpus().state(first).is_some();
                assert_eq!(seen, connector.stands == 4, "{connector:?}");
            }
        }
    }

    /// The machine is saved, and goes on as another one.
    fn saved(self) -> Self {
        let state = self.platform.save().expect("it can be saved");
        let machine = machine().with_present(self.hotplug.plugged()).expect("it has room for them");
        let World { ram, cpus, model, .. } = self;
        let other = Self { ram, model, ..Self::new(&machine, cpus) };
        other.platform.restore(&state).expect("it is of the same machine");
        assert_eq!(*lock(&other.lines.0), 0, "the controller remembers edges");
        other
    }
}

fn machine() -> Machine {
    Machine::new(&Config).expect("it is possible")
}

fn outputs(name: &str) -> u32 {
    if ["get-sensor-state", "get-power-level", "set-power-level"].contains(&name) { 2 } else { 1 }
}

/// `data` is one step after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let cpus = HostCpus(Mutex::new((0..THREADS).map(|cpu| (cpu, cpu == 0)).collect()));
    let mut world = World::new(&machine(), Arc::new(cpus));
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            number @ 0..=6 => {
                let name = CALLS[usize::from(number)];
                guest(&mut world, name, &mut input, &mut reach);
            }
            // A node from its beginning to its end.
            7 => configure(&mut world, &mut input, &mut reach),
            8..=10 => world.host(true, input.byte().into()),
            11 | 12 => world.host(false, input.byte().into()),
            // A CPU stops itself, all but that which makes the calls.
            13 => {
                let cpu = 1 + u32::from(input.byte()) % (THREADS * CORES - 1);
                if let Some(runs) = lock(&world.cpus.0).get_mut(&cpu) {
                    *runs = false;
                }
            }
            14 => {
                let (place, len) = (input.number(RAM_BYTES), input.byte().into());
                world.ram.poke(place, input.bytes(len));
            }
            _ => {
                world = world.saved();
                reached(&mut reach, "a machine that was saved");
            }
        }
        world.check();
    }
    reach
}

/// One of the connectors, or some number.
fn index(input: &mut Input<'_>) -> u32 {
    let known = [0x1000_0000, 0x1000_0001, 0x1000_0002, 0x8000_0001, 0x8000_0002, 0x8000_0003];
    match input.byte() {
        kind @ 0..=0xdf => known[usize::from(kind) % known.len()],
        _ => input.number(RAM_BYTES) as u32,
    }
}

/// A number that the call knows, or some other.
fn known(input: &mut Input<'_>, numbers: &[u32]) -> u32 {
    match input.byte() {
        kind @ 0..=0xdf => numbers[usize::from(kind) % numbers.len()],
        _ => input.number(RAM_BYTES) as u32,
    }
}

fn guest(world: &mut World, name: &str, input: &mut Input<'_>, reach: &mut Reach) {
    match name {
        "get-sensor-state" => {
            let (sensor, index) = (known(input, &[9003]), index(input));
            let (status, value) = world.call(name, &[sensor, index], &[]);
            match world.model.get(&index).filter(|_| sensor == 9003) {
                None => assert_eq!(status, -3),
                Some((_, connector)) if connector.stands < 2 => {
                    assert_eq!((status, value), (0, 2));
                    reached(reach, "an entity that is unusable");
                }
                Some(_) => {
                    assert_eq!((status, value), (0, 1));
                    reached(reach, "an entity that is present");
                }
            }
        }
        "set-indicator" => {
            let inputs = [known(input, &[9001, 9003]), index(input), known(input, &[0, 1])];
            let (status, _) = world.call(name, &inputs, &[]);
            let (expected, heard) = world.indicated(inputs);
            assert_eq!(status, expected, "{inputs:x?}");
            let told: Vec<_> = std::mem::take(&mut *lock(&world.heard.0));
            assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), Vec::from_iter(heard));
            world.took_away(&told);
            heard.into_iter().for_each(|heard| reached(reach, heard));
            match (inputs[0], inputs[2], status) {
                (9001, 0, 0) => reached(reach, "an isolated one"),
                (.., -9001) => reached(reach, "a running core that is not isolated"),
                _ => {}
            }
        }
        "ibm,configure-connector" => {
            let area = input.number(RAM_BYTES) as u32;
            let [index, _] = [0, 4].map(|at| world.ram.peek_cell(u64::from(area) + at));
            step(world, area, index, reach);
        }
        "check-exception" => {
            let classes = known(input, &[1 << 28, u32::MAX, 1 << 30]);
            let (at, length) = (input.number(RAM_BYTES) as u32, known(input, &[2048, 64, 7]));
            let bytes = u64::from(length).min(ERROR_LOG_BYTES_MAX.into());
            let before = *lock(&world.lines.0);
            let inputs = [0x500, 0, classes, 0, at, length];
            let (status, _) = world.call(name, &inputs, &[at.into()..u64::from(at) + bytes]);
            let mut waiting: Vec<u32> = world.model.keys().copied().collect();
            waiting.retain(|index| world.model[index].1.event != 0);
            if waiting.is_empty() || classes & 1 << 28 == 0 {
                assert_eq!(status, 1);
                return;
            }
            if status != 0 {
                assert_eq!(status, -3);
                return;
            }
            reached(reach, "an event");
            let first = waiting[0];
            let event = world.model[&first].1.event;
            // Blocks that follow each other are one event where they come.
            let run = waiting.iter().zip(first..).take_while(|&(&index, expected)| {
                index == expected && world.model[&index].1.event == event
            });
            let count = if event == 1 && first >> 28 == 8 { run.count() } else { 1 };
            for index in &waiting[..count] {
                world.model.get_mut(index).expect("it is there").1.event = 0;
            }
            let more = u32::from(waiting.len() > count);
            assert_eq!(*lock(&world.lines.0) - before, more, "as many interrupts as events");
        }
        "start-cpu" => {
            let server = known(input, &[0, 1, 2, 4, 5, 8, 9]);
            let (status, _) = world.call(name, &[server, 0x100, 0], &[]);
            let (core, thread) = (server / 4, server % 4);
            let connector = world.model.get(&(1 << 28 | core)).filter(|_| core < CORES);
            let is_there = thread < THREADS && connector.is_some_and(|it| it.1.stands == 4);
            assert!(is_there || status == -3, "{server}: {status}");
            assert!([0, -1].contains(&status) || !is_there, "{server}: {status}");
            if status == 0 {
                reached(reach, "a CPU that starts");
            }
        }
        "get-power-level" => assert_eq!(world.call(name, &[known(input, &[0, !0])], &[]).0, -3),
        _ => assert_eq!(world.call(name, &[known(input, &[0, !0]), 0], &[]).0, -3),
    }
}

/// One call for the connector that a work area names; gives its status.
fn step(world: &mut World, area: u32, index: u32, reach: &mut Reach) -> i32 {
    let name = "ibm,configure-connector";
    let at = u64::from(area);
    // Where it lies over the arguments, what it names is what is there by then.
    let overlaps = at < BUFFER + 64 && BUFFER < at + WORK_AREA_BYTES;
    let (status, _) = world.call(name, &[area, 0], &[at..at + WORK_AREA_BYTES]);
    assert!([0, 2, 3, -3, -9003].contains(&status), "{status}");
    let told: Vec<_> = std::mem::take(&mut *lock(&world.heard.0));
    for (what, resource) in &told {
        assert_eq!((*what, status), ("taken", 0));
        let taken = world.model.values_mut().find(|(known, _)| known == resource);
        let connector = &mut taken.expect("it has a connector").1;
        assert_eq!(std::mem::replace(&mut connector.stands, 4), 3);
        reached(reach, "taken");
    }
    let is_ram = at + WORK_AREA_BYTES <= RAM_BYTES;
    match world.model.get(&index) {
        _ if overlaps => {}
        Some((_, connector)) if is_ram && connector.stands < 2 => assert_eq!(status, -9003),
        Some((_, connector)) if is_ram && connector.stands == 2 => assert_eq!(status, 0),
        Some(_) if is_ram => {}
        _ => assert_eq!(status, -3),
    }
    status
}

fn configure(world: &mut World, input: &mut Input<'_>, reach: &mut Reach) {
    let (area, index) = (0x8000, index(input));
    world.ram.poke_cells(area.into(), &[index, 0]);
    let mut properties = 0;
    loop {
        match step(world, area, index, reach) {
            2 => assert_eq!(properties, 0),
            3 => properties += 1,
            0 if properties > 0 => {
                reached(reach, "a node to its end");
                return;
            }
            _ => return,
        }
        assert!(properties < 64, "it has no end");
    }
}
