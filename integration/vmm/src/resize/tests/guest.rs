//! A machine whose CPUs run nothing, and a guest that makes its RTAS calls.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use arch_ppc64::hotplug::{self, HotplugHost};
use arch_ppc64::platform::{InterruptKind, NoInterrupts, Platform, PlatformBuilder};
use arch_ppc64::rtas::{EPOW, EVENT_SOURCES_ID, EventSources, StandardCalls};
use arch_ppc64::smp::Mailboxes;
use arch_ppc64::{
    CpuIndex, EntryRegisters, GuestRam, Hypercall, Kick, Machine, NoConsole, VcpuExit, VcpuHost,
};
use vm_memory::GuestAddress;

use super::*;
use crate::boot::MachineRam;
use crate::boot::plain_ram;
use crate::config::VmConfig;
use crate::cpu_thread;
use crate::cpus::Cpus;
use crate::devices::{Devices, Needs, Wires};
use crate::end::End;
use crate::ram::HostRam;
use crate::stats::Stats;
use crate::vcpu::{BackendError, Vcpu, Vm};

const H_RTAS: u64 = 0xf000;
const ARGUMENTS: u64 = 0x1000;
const BUFFER: u64 = 0x2000;
const WORK_AREA: u64 = 0x4000;

// Connectors and what they can be told (LoPAPR §13.5.3).
pub(super) const CORE: u32 = 1 << 28;
pub(super) const BLOCK: u32 = 8 << 28;
pub(super) const SLOT: u32 = 4 << 28;
const ISOLATION_STATE: u32 = 9001;
pub(super) const ALLOCATION_STATE: u32 = 9003;

/// What the back end was asked for, and whether it does it.
#[derive(Default)]
pub(super) struct FakeVm {
    pub(super) done: Mutex<Vec<String>>,
    pub(super) fails: AtomicBool,
    ram: Option<Arc<MachineRam>>,
}

impl FakeVm {
    fn does(&self, what: String) -> Result<(), BackendError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(BackendError::Unsuitable(format!("no room for: {what}")));
        }
        lock(&self.done).push(what);
        Ok(())
    }

    /// Takes what was done since this was last asked.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.done))
    }
}

/// The handle of a back end, which has a log that all CPUs write to.
struct Handle(Arc<FakeVm>);

impl Vm for Handle {
    fn create_vcpu(&self, index: CpuIndex) -> Result<Box<dyn Vcpu>, BackendError> {
        self.0.does(format!("create {index}"))?;
        Ok(Box::new(FakeVcpu { index, vm: self.0.clone(), kicks: Arc::default() }))
    }

    fn add_memory(&self, start: GuestAddress) -> Result<(), BackendError> {
        // It is there by then.
        let region = self.0.ram.as_ref().and_then(|ram| ram.region(start)).unwrap();
        self.0.does(format!("add {} MiB at {} MiB", region.bytes >> 20, start.0 >> 20))
    }

    fn remove_memory(&self, start: GuestAddress) -> Result<(), BackendError> {
        self.0.does(format!("remove {} MiB", start.0 >> 20))
    }
}

#[derive(Default)]
struct Kicks {
    kicked: Mutex<bool>,
    changed: Condvar,
}

impl Kick for Kicks {
    fn kick(&self) {
        *lock(&self.kicked) = true;
        self.changed.notify_all();
    }
}

/// A CPU that runs until it is kicked.
struct FakeVcpu {
    index: CpuIndex,
    vm: Arc<FakeVm>,
    kicks: Arc<Kicks>,
}

impl Vcpu for FakeVcpu {
    fn start(&mut self, _: &EntryRegisters) -> Result<(), BackendError> {
        lock(&self.vm.done).push(format!("start {}", self.index));
        Ok(())
    }

    fn run(&mut self) -> Result<VcpuExit<'_>, BackendError> {
        let mut kicked = lock(&self.kicks.kicked);
        while !std::mem::take(&mut *kicked) {
            kicked = self.kicks.changed.wait(kicked).unwrap();
        }
        Ok(VcpuExit::Interrupted)
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        self.vm.does(format!("reset {}", self.index))
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.kicks.clone()
    }
}

/// A machine that runs, and its guest.
pub(super) struct Guest {
    pub(super) control: Control,
    pub(super) vm: Arc<FakeVm>,
    pub(super) ram: Arc<MachineRam>,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) hotplug: Option<Hotplug>,
    /// Who hears of what it does.
    pub(super) host: Arc<dyn HotplugHost>,
    /// Connectors that it will not give up.
    pub(super) keeps: BTreeSet<u32>,
    /// It says nothing about those.
    pub(super) is_silent: bool,
    platform: Platform,
    cpus: Arc<Cpus>,
    resizer: Option<Resizer>,
}

impl Guest {
    pub(super) fn new(config: &str) -> Self {
        let config: VmConfig = serde_json::from_str(config).unwrap();
        Self::of(Machine::new(&config).unwrap(), Control::new(), None)
    }

    /// The first start of a machine, or another one with RAM that it has.
    pub(super) fn of(machine: Machine, control: Control, ram: Option<Arc<MachineRam>>) -> Self {
        let devices = Devices::open(&VmConfig::default(), None, Needs::default()).unwrap();
        Self::with_devices(machine, control, ram, Arc::new(devices))
    }

    /// The same with devices.
    pub(super) fn with_devices(
        machine: Machine,
        control: Control,
        ram: Option<Arc<MachineRam>>,
        devices: Arc<Devices>,
    ) -> Self {
        let ram = ram.unwrap_or_else(|| Arc::new(plain_ram(&machine)));
        let vm = Arc::new(FakeVm { ram: Some(ram.clone()), ..FakeVm::default() });
        let handle: Arc<dyn Vm> = Arc::new(Handle(vm.clone()));
        let mailboxes = Arc::new(Mailboxes::new());
        let notes = Notes::new();
        let host = notes.host();
        let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
        let warnings = builder.interrupt(EVENT_SOURCES_ID, EPOW, InterruptKind::Edge).unwrap();
        let mut events = EventSources::new(warnings, Arc::default());
        let mut hotplug = None;
        let mut seen: Arc<dyn VcpuHost> = mailboxes.clone();
        if machine.has_room() {
            let plugs =
                builder.interrupt(hotplug::ID, hotplug::EVENTS, InterruptKind::Edge).unwrap();
            let device = Hotplug::new(&machine, plugs, mailboxes.clone(), host.clone());
            events = events.with_hotplug(&device);
            seen = device.cpus();
            builder.add(Arc::new(device.clone()));
            hotplug = Some(device);
        }
        let calls = StandardCalls::new(&machine, seen, Arc::new(NoConsole));
        builder.add(Arc::new(events)).add_all(calls.devices());
        let wires = Wires { memory: ram.memory().clone(), notify_events: None };
        let plugged = devices.plug(&mut builder, wires, hotplug.as_ref()).unwrap().map(Arc::new);
        let platform = builder.build().unwrap();
        let shared = cpu_thread::Shared {
            bus: platform.hypercalls().clone(),
            mmio: platform.mmio().clone(),
            ram: ram.clone(),
            mailboxes: mailboxes.clone(),
            end: Arc::new(End::new().unwrap()),
            all_stats: Arc::new(Mutex::new(Stats::default())),
        };
        let cpus = Arc::new(Cpus::new(shared, Some(handle.clone())));
        for index in machine.vcpus() {
            cpus.plug(index).unwrap();
        }
        vm.take();
        let parts = Parts {
            control: control.clone(),
            machine,
            hotplug: hotplug.clone(),
            cpus: cpus.clone(),
            ram: ram.clone(),
            vm: Some(handle),
            devices,
            plugged,
        };
        let resizer = Some(Resizer::start(parts, notes).unwrap());
        let (keeps, is_silent) = (BTreeSet::new(), false);
        Self {
            control,
            vm,
            ram,
            mailboxes,
            hotplug,
            host,
            keeps,
            is_silent,
            platform,
            cpus,
            resizer,
        }
    }

    /// The machine starts again, or ends.
    pub(super) fn end(&mut self) {
        self.cpus.end();
        if let Some(resizer) = self.resizer.take() {
            resizer.end();
        }
        self.cpus.join();
    }

    /// An RTAS call: its status, and its other results.
    pub(super) fn rtas(&self, name: &str, inputs: &[u32], outputs: usize) -> (i32, Vec<u32>) {
        let calls = self.platform.rtas_calls();
        let (_, token) = calls.iter().find(|(known, _)| *known == name).unwrap();
        let ram: &dyn GuestRam = &*self.ram;
        let header = [*token, inputs.len() as u32, outputs as u32];
        for (at, cell) in (ARGUMENTS..).step_by(4).zip(header.iter().chain(inputs)) {
            ram.write_be_u32(GuestAddress(at), *cell).unwrap();
        }
        let mut call = Hypercall::new(H_RTAS, &[ARGUMENTS]);
        let _ = self.platform.hypercalls().dispatch(CpuIndex(0), ram, &mut call);
        assert_eq!(call.status, 0, "{name}");
        let results = ARGUMENTS + 4 * (3 + inputs.len() as u64);
        let cell = |n: usize| ram.read_be_u32(GuestAddress(results + 4 * n as u64)).unwrap();
        (cell(0) as i32, (1..outputs).map(cell).collect())
    }

    /// An event: whether something is to be taken, and the connectors.
    pub(super) fn event(&self) -> Option<(bool, std::ops::Range<u32>)> {
        let inputs = [0x500, 0, 1 << 28, 0, BUFFER as u32, 2048];
        let (status, _) = self.rtas("check-exception", &inputs, 1);
        if status != 0 {
            return None;
        }
        let ram: &dyn GuestRam = &*self.ram;
        let mut log = [0; 116];
        ram.read(GuestAddress(BUFFER), &mut log).unwrap();
        assert_eq!(&log[96..98], b"HP");
        let cell = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
        let connectors = match log[106] {
            2 => cell(108)..cell(108) + 1,
            4 => cell(112)..cell(112) + cell(108),
            other => panic!("an event that names by {other}"),
        };
        Some((log[105] == 1, connectors))
    }

    fn set(&self, indicator: u32, connector: u32, state: u32) -> i32 {
        self.rtas("set-indicator", &[indicator, connector, state], 1).0
    }

    /// Takes what is plugged into a connector.
    pub(super) fn take(&self, connector: u32) {
        assert!(self.try_take(connector), "{connector:#x}");
    }

    fn try_take(&self, connector: u32) -> bool {
        // What is in a slot is not allocated.
        let is_slot = connector >> 28 == SLOT >> 28;
        if !is_slot && self.set(ALLOCATION_STATE, connector, 1) != 0
            || self.set(ISOLATION_STATE, connector, 1) != 0
        {
            return false;
        }
        let ram: &dyn GuestRam = &*self.ram;
        ram.write(GuestAddress(WORK_AREA), &[0; 4096]).unwrap();
        ram.write_be_u32(GuestAddress(WORK_AREA), connector).unwrap();
        let configure = || self.rtas("ibm,configure-connector", &[WORK_AREA as u32, 0], 1).0;
        let mut pieces = 0;
        loop {
            match configure() {
                0 => break,
                1..=5 => pieces += 1,
                _ => return false,
            }
        }
        pieces > 1
    }

    /// Gives it back.
    pub(super) fn give(&self, connector: u32) {
        assert!(self.try_give(connector), "{connector:#x}");
    }

    fn try_give(&self, connector: u32) -> bool {
        let is_slot = connector >> 28 == SLOT >> 28;
        self.set(ISOLATION_STATE, connector, 0) == 0
            && (is_slot || self.set(ALLOCATION_STATE, connector, 0) == 0)
    }

    /// Does what events say, as long as there are some.
    pub(super) fn obey(&self) {
        assert!(self.try_obey());
    }

    /// The same while others change their minds; whether all could be done.
    pub(super) fn try_obey(&self) -> bool {
        let mut all = true;
        while let Some((takes, connectors)) = self.event() {
            for connector in connectors {
                all &= match takes {
                    true => self.try_take(connector),
                    false if !self.keeps.contains(&connector) => self.try_give(connector),
                    false if self.is_silent => true,
                    // Linux's way to say no.
                    false => self.set(ISOLATION_STATE, connector, 1) == 0,
                };
            }
        }
        all
    }

    /// What the machine has once nothing is under way, the guest doing all that it is told.
    pub(super) fn settled(&self) -> Info {
        // Whoever hears of the guest may ask for more.
        let until = Instant::now() + HANGS;
        loop {
            // There may be an event of what was there and was not taken.
            self.try_obey();
            let info = self.control.wait(Duration::from_millis(10)).unwrap();
            if !info.is_pending() && self.is_quiet() {
                return info;
            }
            assert!(Instant::now() < until, "{info:?}");
        }
    }

    /// Whoever plugs has dealt with all that it was told.
    fn is_quiet(&self) -> bool {
        let before = self.control.info().unwrap();
        self.control.resize(None, None).unwrap() == before
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end();
    }
}
