//! A guest for the tests, with its machine around it: it makes RTAS calls as guests do, by an argument
//! buffer in RAM and the hypercall.

use std::sync::atomic::{AtomicU32, Ordering};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::config::{Cpus, Memory};
use crate::cpu::CpuModel;
use crate::hypercall::{Hypercall, Status, token};
use crate::machine::tests::TestConfig;
use crate::pci::{self, HostBridge, HostBridgeOptions, PciBus, PciPins};
use crate::platform::{
    Device, InterruptController, InterruptError, InterruptKind, Platform, PlatformBuilder, Signal,
    SourceNumber,
};
use crate::ram::GuestRam;
use crate::rtas::{EPOW, EVENT_SOURCES_ID, EventSources, StandardCalls};
use crate::smp::Mailboxes;
use crate::topology::{CpuTopology, MemoryRange, NumaNode};
use crate::vcpu::{CpuIndex, CpuState, Kick};
use crate::{NoConsole, rtas};

pub(super) const RAM_BYTES: u64 = 0x10_0000;
const BUFFER: u64 = 0x1000;
/// Where work areas and logs go.
pub(super) const AREA: u32 = 0x8000;
/// The first block of memory that can be plugged, of node 1, and behind the four of these two of
/// node 0.
pub(super) const BLOCK: u64 = 512 << 20;

pub(super) const ISOLATION: u32 = 9001;
pub(super) const ALLOCATION: u32 = 9003;

/// Counts the edges of the two interrupts: that of warnings, and that of hotplug events.
#[derive(Default)]
pub(super) struct Lines([AtomicU32; 2]);

impl InterruptController for Lines {
    fn claim(&self, _: SourceNumber, _: InterruptKind) -> Result<(), InterruptError> {
        Ok(())
    }

    fn signal(&self, source: SourceNumber, signal: Signal) {
        // Pins of functions are no lines of these.
        assert_eq!(signal, Signal::Pulse);
        self.0[(source.0 - 0x1000) as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Lines {
    /// How many hotplug interrupts there were since this was last asked.
    pub(super) fn take(&self) -> u32 {
        self.0[1].swap(0, Ordering::Relaxed)
    }
}

struct NoKick;

impl Kick for NoKick {
    fn kick(&self) {}
}

/// What the VMM hears, in the order in which it does.
#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<(&'static str, Resource)>>);

impl HotplugHost for Heard {
    fn released(&self, resource: Resource) {
        self.0.lock().unwrap().push(("released", resource));
    }
    fn kept(&self, resource: Resource) {
        self.0.lock().unwrap().push(("kept", resource));
    }
    fn taken(&self, resource: Resource) {
        self.0.lock().unwrap().push(("taken", resource));
    }
    fn returned(&self, resource: Resource) {
        self.0.lock().unwrap().push(("returned", resource));
    }
}

impl Heard {
    pub(super) fn take(&self) -> Vec<(&'static str, Resource)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

pub(super) struct Guest {
    pub(super) ram: GuestMemoryMmap,
    pub(super) platform: Platform,
    pub(super) hotplug: Hotplug,
    pub(super) cpus: Arc<Mailboxes>,
    pub(super) heard: Arc<Heard>,
    pub(super) lines: Arc<Lines>,
    pub(super) sources: Arc<EventSources>,
    /// In front of the bus of a machine with slots.
    pub(super) bridge: Option<Arc<HostBridge>>,
}

/// Of two cores with so many threads, room for four, and room for six blocks of memory.
pub(super) fn machine(threads: u32) -> Machine {
    let node = |number| NumaNode(number);
    let nodes = [0, 0, 1, 1].map(node);
    let topology = CpuTopology::new(4 * threads).with_threads(threads, threads).unwrap();
    Machine::new(&TestConfig {
        memory: Memory::of_size(BLOCK),
        ranges: vec![
            MemoryRange::ram(GuestAddress(0), BLOCK),
            MemoryRange::hotplug(GuestAddress(BLOCK), 1 << 30).on_node(node(1)),
            MemoryRange::hotplug(GuestAddress(BLOCK + (1 << 30)), BLOCK),
        ],
        cpus: Cpus::new(2 * threads, CpuModel::Power9).with_max(4 * threads),
        topology: Some(topology.with_nodes(nodes)),
        ..TestConfig::default()
    })
    .unwrap()
}

impl Guest {
    /// With cores of one thread.
    pub(super) fn new() -> Self {
        Self::of_machine(&machine(1))
    }

    pub(super) fn of_machine(machine: &Machine) -> Self {
        Self::with_bus(machine, None)
    }

    pub(super) fn with_bus(machine: &Machine, bus: Option<Arc<dyn PciBus>>) -> Self {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)]).unwrap();
        let (cpus, heard, lines) =
            (Arc::new(Mailboxes::new()), Arc::new(Heard::default()), Arc::new(Lines::default()));
        let mut builder = PlatformBuilder::new(machine, lines.clone());
        let warnings = builder.interrupt(EVENT_SOURCES_ID, EPOW, InterruptKind::Edge).unwrap();
        let events = builder.interrupt(ID, EVENTS, InterruptKind::Edge).unwrap();
        let hotplug = Hotplug::new(machine, events, cpus.clone(), heard.clone());
        let sources = Arc::new(EventSources::new(warnings, Arc::default()).with_hotplug(&hotplug));
        let calls = StandardCalls::new(machine, hotplug.cpus(), Arc::new(NoConsole));
        builder
            .add(Arc::new(hotplug.clone()))
            .add(sources.clone() as Arc<dyn Device>)
            .add_all(calls.devices());
        let bridge = bus.map(|bus| {
            let pins = PciPins::claim(&mut builder, &pci::id_of(0)).unwrap();
            let options = HostBridgeOptions::new(0, pins);
            let bridge = Arc::new(HostBridge::new(&mut builder, options, bus).unwrap());
            hotplug.add_bridge(&bridge);
            builder.add(bridge.clone());
            bridge
        });
        let platform = builder.build().unwrap();
        let guest = Self { ram, platform, hotplug, cpus, heard, lines, sources, bridge };
        machine.vcpus().for_each(|cpu| guest.make_cpu(cpu));
        // The first runs.
        guest.start(machine.vcpus().next().unwrap());
        guest
    }

    /// What a VMM does before it plugs a core: one of its CPUs, stopped.
    pub(super) fn make_cpu(&self, cpu: CpuIndex) {
        assert!(self.cpus.insert(cpu, Arc::new(NoKick)));
    }

    /// Has a CPU run, as its thread would.
    pub(super) fn start(&self, cpu: CpuIndex) {
        self.cpus.set_run_state(cpu, crate::smp::RunState::Running).unwrap();
    }

    pub(super) fn ram(&self) -> &dyn GuestRam {
        &self.ram
    }

    /// Makes a call: the status, and the other outputs.
    pub(super) fn call(&self, name: &str, inputs: &[u32], outputs: usize) -> (i32, Vec<u32>) {
        let header = [rtas::token_of(name).unwrap(), inputs.len() as u32, outputs as u32];
        for (cell, at) in [&header[..], inputs].concat().iter().zip((BUFFER..).step_by(4)) {
            self.ram().write_be_u32(GuestAddress(at), *cell).unwrap();
        }
        let mut call = Hypercall::new(token::RTAS, &[BUFFER]);
        let _ = self.platform.hypercalls().dispatch(CpuIndex(0), &self.ram, &mut call);
        assert_eq!(call.status(), Status::SUCCESS);
        let results = (BUFFER + 4 * (3 + inputs.len() as u64)..).step_by(4).take(outputs);
        let results = results.map(|at| self.ram().read_be_u32(GuestAddress(at)).unwrap());
        let mut results: Vec<u32> = results.collect();
        (results.remove(0) as i32, results)
    }

    pub(super) fn status(&self, name: &str, inputs: &[u32]) -> i32 {
        self.call(name, inputs, 1).0
    }

    pub(super) fn set(&self, indicator: u32, index: u32, state: u32) -> i32 {
        self.status("set-indicator", &[indicator, index, state])
    }

    /// The `dr-entity-sense` of a connector.
    pub(super) fn sense(&self, index: u32) -> u32 {
        let (status, value) = self.call("get-sensor-state", &[9003, index], 2);
        assert_eq!(status, 0);
        value[0]
    }

    pub(super) fn bytes(&self, at: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram().read(GuestAddress(at.into()), &mut bytes).unwrap();
        bytes
    }

    fn cell(&self, at: u32) -> u32 {
        self.ram().read_be_u32(GuestAddress(at.into())).unwrap()
    }

    fn text(&self, at: u32) -> String {
        let bytes = self.bytes(at, 256);
        String::from_utf8(bytes.split(|&byte| byte == 0).next().unwrap().to_vec()).unwrap()
    }

    /// As Linux's `dlpar_acquire_drc`: whether it worked.
    pub(super) fn acquire(&self, index: u32) -> bool {
        if self.sense(index) != 2 || self.set(ALLOCATION, index, 1) != 0 {
            return false;
        }
        let unisolated = self.set(ISOLATION, index, 1) == 0;
        if !unisolated {
            self.set(ALLOCATION, index, 0);
        }
        unisolated
    }

    /// As its `dlpar_release_drc`.
    pub(super) fn release(&self, index: u32) -> bool {
        if self.sense(index) != 1 || self.set(ISOLATION, index, 0) != 0 {
            return false;
        }
        let unallocated = self.set(ALLOCATION, index, 0) == 0;
        if !unallocated {
            self.set(ISOLATION, index, 1);
        }
        unallocated
    }

    /// As its `dlpar_configure_connector`, for one node: its name and its properties, or the status
    /// that ended it. The work area is somewhere else between two calls.
    pub(super) fn configure(&self, index: u32) -> Result<Told, i32> {
        let mut area = vec![0; 4096];
        area[..4].copy_from_slice(&index.to_be_bytes());
        let mut told = Told { name: String::new(), properties: vec![], siblings: vec![] };
        for _ in 0..100 {
            self.ram().write(GuestAddress(AREA.into()), &area).unwrap();
            let status = self.status("ibm,configure-connector", &[AREA, 0]);
            area = self.bytes(AREA, 4096);
            let (name, length, value) =
                (AREA + self.cell(AREA + 8), self.cell(AREA + 12), AREA + self.cell(AREA + 16));
            match status {
                0 => return Ok(told),
                1 => told.siblings.push(self.text(name)),
                2 => told.name = self.text(name),
                3 => {
                    let value = self.bytes(value, length as usize);
                    told.properties.push((self.text(name), value));
                }
                other => return Err(other),
            }
        }
        panic!("it has no end");
    }

    /// As its `ras_hotplug_interrupt`: the section "HP" of the event, if there is one.
    pub(super) fn event(&self) -> Option<Vec<u8>> {
        let inputs = [0x500, 0x1001, 0x1000_0000, 0, AREA, 2048];
        match self.status("check-exception", &inputs) {
            0 => {}
            1 => return None,
            other => panic!("check-exception: {other}"),
        }
        let log = self.bytes(AREA, 2048);
        assert_eq!((log[0], log[3]), (6, 0xe5));
        let end = 8 + u32::from_be_bytes(log[4..8].try_into().unwrap()) as usize;
        let mut at = 24;
        while at < end {
            let length = usize::from(u16::from_be_bytes([log[at + 2], log[at + 3]]));
            if log[at..at + 2] == *b"HP" {
                return Some(log[at + 8..at + length].to_vec());
            }
            at += length;
        }
        panic!("no section HP");
    }

    pub(super) fn cpu_state(&self, server: u32) -> (i32, u32) {
        let (status, state) = self.call("query-cpu-stopped-state", &[server], 2);
        (status, state[0])
    }

    pub(super) fn state_of(&self, cpu: CpuIndex) -> Option<CpuState> {
        self.hotplug.cpus().state(cpu)
    }
}

/// A node as `ibm,configure-connector` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) properties: Vec<(String, Vec<u8>)>,
    /// The names of nodes beside it, whose properties are behind its own.
    pub(super) siblings: Vec<String>,
}

impl Told {
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.properties.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_slice())
    }
}
