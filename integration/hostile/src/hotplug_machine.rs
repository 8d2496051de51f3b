//! A machine whose VMM plugs and unplugs, and a plain model of where each of its connectors stands.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::hotplug::{self, Hotplug, HotplugHost, PlugState, Resource};
use arch_ppc64::hypercall::token;
use arch_ppc64::pci::{self, HostBridge, HostBridgeOptions, PciPins, PciWindows};
use arch_ppc64::platform::{
    Device, InterruptController, InterruptError, InterruptKind, InterruptLine, Platform,
    PlatformBuilder, SaveState, Signal, SourceNumber, StateError, StateValue,
};
use arch_ppc64::rtas::{EPOW, EVENT_SOURCES_ID, EventSources, StandardCalls, token_of};
use arch_ppc64::topology::{CpuTopology, CpuTopologyError};
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, Hypercall, Machine, Next, NoConsole, StartError, Status,
    VcpuHost,
};

use pseries_devices::pci::{BarPlace, Bus, ConfigSpace, Identity, PciFunction};

use crate::bus_machine::lock;
use crate::ram::{WatchedRam, are_within};

/// The indexes of the connectors of the first core and of the first slot, and of the first block's,
/// which has none.
pub(crate) const FIRST_CORE: u32 = 0x1000_0000;
pub(crate) const FIRST_SLOT: u32 = 0x4000_0000;
const FIRST_BLOCK: u32 = 0x8000_0000;

pub(crate) const RAM_BYTES: u64 = 1 << 20;
/// Where argument buffers are.
pub(crate) const BUFFER: u64 = 0x1000;
pub(crate) const WORK_AREA_BYTES: u64 = 4096;

pub(crate) const THREADS: u32 = 2;
pub(crate) const CORES: u32 = 3;
const BLOCK: u64 = 256 << 20;
/// How many slots are used, of those that there are.
const SLOTS_USED: u8 = 3;

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

    fn has_slots(&self) -> bool {
        true
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
pub(crate) struct HostCpus(pub(crate) Mutex<BTreeMap<u32, bool>>);

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
pub(crate) struct Lines(pub(crate) Mutex<u32>);

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
pub(crate) struct Heard(pub(crate) Mutex<Vec<(&'static str, Resource)>>);

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

/// What is plugged into slots: configuration space, and no more.
struct Card(String, Mutex<ConfigSpace>);

impl Card {
    fn new(device: u8) -> Arc<Self> {
        let config = ConfigSpace::new(Identity::new(0x1234, 1, 0xff_0000));
        Arc::new(Self(format!("card{device}"), Mutex::new(config)))
    }
}

impl PciFunction for Card {
    fn id(&self) -> &str {
        &self.0
    }
    fn read_config(&self, register: u16, data: &mut [u8]) {
        lock(&self.1).read(register, data);
    }
    fn write_config(&self, register: u16, data: &[u8]) -> bool {
        lock(&self.1).write(register, data);
        true
    }
    fn bars(&self) -> Vec<BarPlace> {
        Vec::new()
    }
    fn read_bar(&self, _: usize, _: u64, _: &mut [u8]) {}
    fn write_bar(&self, _: usize, _: u64, _: &[u8]) {}
    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
    fn reset(&self) {
        lock(&self.1).reset();
    }
}

impl SaveState for Card {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&lock(&self.1).state())
    }
    fn restore(&self, _: u32, state: &StateValue) -> Result<(), StateError> {
        let bytes: Vec<u8> = state.get()?;
        let mut config = lock(&self.1);
        *config = config.with_state(&bytes)?;
        Ok(())
    }
}

/// Where a connector stands: 0 nothing is plugged, 1 unusable, 2 isolated, 3 unisolated, 4 configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Connector {
    pub(crate) stands: u8,
    pub(crate) asked_back: bool,
    /// An event waits: 1 to add, 2 to remove.
    pub(crate) event: u8,
}

pub(crate) struct World {
    pub(crate) ram: WatchedRam,
    platform: Platform,
    hotplug: Hotplug,
    bus: Arc<Bus>,
    bridge: Arc<HostBridge>,
    pub(crate) cpus: Arc<HostCpus>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) lines: Arc<Lines>,
    /// By their indexes.
    pub(crate) model: BTreeMap<u32, (Resource, Connector)>,
}

impl World {
    /// A machine with these devices in its slots.
    pub(crate) fn new(machine: &Machine, cpus: Arc<HostCpus>, devices: &[u8]) -> Self {
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
        let bus = Arc::new(Bus::new(PciWindows::of_bridge(0)));
        for &device in devices {
            bus.add(Some(device), Card::new(device)).expect("there is room");
        }
        let pins = PciPins::claim(&mut builder, &pci::id_of(0)).expect("there are numbers left");
        let options = HostBridgeOptions::new(0, pins);
        let bridge = HostBridge::new(&mut builder, options, bus.clone()).expect("a bridge");
        let bridge = Arc::new(bridge);
        hotplug.add_bridge(&bridge);
        builder.add(bridge.clone());
        let platform = builder.build().expect("they are one machine");
        let is_used = |resource: &Resource| !matches!(resource, Resource::Slot(slot) if slot.device >= SLOTS_USED);
        let resources = hotplug.resources().into_iter().filter(is_used);
        let model = resources.map(|resource| {
            let index = match resource {
                Resource::Core(cpu) => FIRST_CORE + cpu.0 / THREADS,
                Resource::Memory(block) => FIRST_BLOCK + (block.start.0 / BLOCK) as u32,
                Resource::Slot(slot) => FIRST_SLOT + u32::from(slot.device),
                other => panic!("{other} has a connector"),
            };
            let is_there = hotplug.state(resource) == Some(PlugState::InUse);
            let stands = if is_there { 4 } else { 0 };
            (index, (resource, Connector { stands, ..Connector::default() }))
        });
        let model = model.collect();
        let ram = WatchedRam::new(RAM_BYTES);
        Self { ram, platform, hotplug, bus, bridge, cpus, heard, lines, model }
    }

    /// Makes a call: the status and the other output, if it returned with these.
    pub(crate) fn call(
        &self,
        name: &str,
        inputs: &[u32],
        buffer: Option<Range<u64>>,
    ) -> (i32, u32) {
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
        let permitted: Vec<_> = [results].into_iter().chain(buffer).collect();
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
    pub(crate) fn indicated(&mut self, inputs: [u32; 3]) -> (i32, Option<&'static str>) {
        let [indicator, index, state] = inputs;
        let Some(&(resource, was)) = self.model.get(&index) else { return (-3, None) };
        let runs = self.runs(resource);
        let connector = &mut self.model.get_mut(&index).expect("it is there").1;
        if matches!(resource, Resource::Slot(_)) {
            return match (indicator, state, was.stands) {
                (9002, 0..=3, _) | (9001, 0, 0 | 2) => (0, None),
                (9001, 0, _) if was.asked_back => {
                    (connector.stands, connector.asked_back) = (0, false);
                    (0, Some("released"))
                }
                (9001, 0, _) => {
                    connector.stands = 2;
                    (0, Some("returned"))
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
            };
        }
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
    pub(crate) fn host(&mut self, plug: bool, number: usize) {
        let count = self.model.len();
        let (&index, &(resource, was)) =
            self.model.iter().nth(number % count).expect("one of them");
        if plug && was.stands == 0 {
            if let Resource::Core(first) = resource {
                lock(&self.cpus.0).extend((first.0..first.0 + THREADS).map(|cpu| (cpu, false)));
            }
            if let Resource::Slot(slot) = resource {
                let place = self.bus.add(Some(slot.device), Card::new(slot.device));
                place.expect("it is empty");
                self.bridge.add(slot.device).expect("it is on the bus");
            }
        }
        // What is plugged and not taken: in a slot it is isolated, elsewhere unusable.
        let offered = if matches!(resource, Resource::Slot(_)) { 2 } else { 1 };
        let waited = self.model.values().any(|(_, connector)| connector.event != 0);
        let connector = &mut self.model.get_mut(&index).expect("it is there").1;
        let (mut heard, mut interrupts) = (None, 0);
        let mut post = |connector: &mut Connector, event| {
            interrupts = u32::from(!waited || was.event == event);
            connector.event = event;
        };
        let expected = match (plug, was.stands, was.asked_back) {
            (true, stands, false) if stands == 0 || stands == offered => {
                connector.stands = offered;
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
            (false, stands, _) if stands == offered => {
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

    pub(crate) fn took_away(&self, told: &[(&'static str, Resource)]) {
        for &(what, resource) in told {
            if let ("released", Resource::Slot(slot)) = (what, resource) {
                self.bridge.remove(slot.device);
                assert!(self.bus.remove(slot.device), "{resource} is on the bus");
            }
            if let ("released", Resource::Core(first)) = (what, resource) {
                let mut cpus = lock(&self.cpus.0);
                for cpu in first.0..first.0 + THREADS {
                    assert_eq!(cpus.remove(&cpu), Some(false), "CPU {cpu} runs");
                }
            }
        }
    }

    pub(crate) fn check(&self) {
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
    pub(crate) fn saved(self) -> Self {
        let state = self.platform.save().expect("it can be saved");
        let machine = machine().with_present(self.hotplug.plugged()).expect("it has room for them");
        let World { ram, cpus, model, .. } = self;
        let in_slots = model.values().filter_map(|(resource, connector)| match resource {
            Resource::Slot(slot) if connector.stands != 0 => Some(slot.device),
            _ => None,
        });
        let devices: Vec<u8> = in_slots.collect();
        let other = Self { ram, model, ..Self::new(&machine, cpus, &devices) };
        other.platform.restore(&state).expect("it is of the same machine");
        assert_eq!(*lock(&other.lines.0), 0, "the controller remembers edges");
        other
    }
}

/// Whether a connector is that of a slot.
pub(crate) const fn is_slot(index: u32) -> bool {
    index >> 28 == FIRST_SLOT >> 28
}

pub(crate) fn machine() -> Machine {
    Machine::new(&Config).expect("it is possible")
}

fn outputs(name: &str) -> u32 {
    if ["get-sensor-state", "get-power-level", "set-power-level"].contains(&name) { 2 } else { 1 }
}
