//! A machine with virtio functions behind a host bridge, and what holds in it whatever a guest does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory as RamConfig};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::hypercall::token;
use arch_ppc64::layout::MIN_MEMORY_BYTES;
use arch_ppc64::pci::{
    Doorbell, HostBridge, HostBridgeOptions, PciAddress, PciBus, PciPins, PciWindows, id_of,
};
use arch_ppc64::platform::{
    Device, InterruptController, InterruptError, InterruptKind, Platform, PlatformBuilder, Signal,
    SourceNumber,
};
use arch_ppc64::{CpuIndex, Hypercall, Machine, Next, Status};
use pseries_devices::pci::{Bus, PciFunction};
use pseries_devices::rng::{Rng, Source};
use pseries_devices::virtio::mock::{MockDevice, MockWorkers, Seen};
use pseries_devices::virtio::{Connection, Execution, VirtioDevice, VirtioPci};

use crate::bus_machine::lock;
use crate::device_ram::{DeviceRam, Memory};
use crate::ram::WatchedRam;

/// What vectors write to.
pub(crate) const DOORBELL: u64 = PciWindows::new().doorbell;

/// The queues of the mock device, by their sizes.
pub(crate) const MOCK_QUEUES: [u16; 3] = [16, 4, 64];

/// The devices of the two functions on the bus, and their ids.
const PLACES: [(u8, &str); 2] = [(1, "mock0"), (4, "rng0")];

/// Registers of configuration space that never change: vendor and device, revision and class,
/// header, subsystem, ROM, list of capabilities, pin.
const FIXED: [(u16, usize); 7] =
    [(0x00, 4), (0x08, 4), (0x0d, 3), (0x28, 8), (0x30, 4), (0x34, 8), (0x3d, 3)];

/// Where argument buffers are.
const BUFFER: u64 = 0x1000;

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> RamConfig {
        RamConfig::of_size(MIN_MEMORY_BYTES)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(1, CpuModel::Power9)
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

static MACHINE: LazyLock<Machine> = LazyLock::new(|| Machine::new(&Config).expect("it can be"));

/// The interrupt controller: who claimed what, and what is said.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    claimed: Mutex<BTreeMap<u32, InterruptKind>>,
    pulses: Mutex<Vec<u32>>,
    high: Mutex<BTreeSet<u32>>,
}

impl InterruptController for Wires {
    fn claim(&self, source: SourceNumber, kind: InterruptKind) -> Result<(), InterruptError> {
        let before = lock(&self.claimed).insert(source.0, kind);
        assert_eq!(before, None, "{source:?} is claimed twice");
        Ok(())
    }

    fn signal(&self, source: SourceNumber, signal: Signal) {
        if signal == Signal::Pulse {
            // Whatever the guest wrote into a table: what was not claimed is ignored.
            lock(&self.pulses).push(source.0);
            return;
        }
        assert_eq!(lock(&self.claimed).get(&source.0), Some(&InterruptKind::Level), "{source:?}");
        let mut high = lock(&self.high);
        let changed = match signal {
            Signal::High => high.insert(source.0),
            _ => high.remove(&source.0),
        };
        assert!(changed, "{source:?}: a change that is none");
    }
}

/// A function on the bus.
pub(crate) struct Function {
    pub(crate) address: PciAddress,
    pub(crate) device: Arc<VirtioPci<Memory>>,
    pub(crate) queue_sizes: Vec<u16>,
    /// Where the vectors are in its registers, and how many.
    pub(crate) table: u64,
    pub(crate) vectors: u16,
    /// Its capability for messages.
    pub(crate) msix: u16,
    /// The size of its registers.
    pub(crate) bytes: u64,
    fixed: Vec<u8>,
}

/// The machine.
pub(crate) struct PciMachine {
    pub(crate) guest: DeviceRam,
    pub(crate) platform: Platform,
    pub(crate) bus: Arc<Bus>,
    pub(crate) functions: Vec<Function>,
    pub(crate) seen: Arc<Seen>,
    bridge: Arc<HostBridge>,
    pins: PciPins,
    wires: Arc<Wires>,
    rtas_ram: WatchedRam,
    /// What messages could be sent.
    messages: BTreeSet<u32>,
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// There were messages.
    pub(crate) by_message: bool,
    /// A pin is asserted.
    pub(crate) by_pin: bool,
}

impl PciMachine {
    /// With a device that gives buffers back, and one that fills them.
    pub(crate) fn new() -> Self {
        let guest = DeviceRam::new();
        let wires = Arc::new(Wires::default());
        let mut builder = PlatformBuilder::new(&MACHINE, wires.clone());
        let pins = PciPins::claim(&mut builder, &id_of(0)).expect("numbers are left");
        let windows = PciWindows::new();
        let doorbell = Doorbell::new(wires.clone(), &windows);
        let bus = Bus::new(windows);
        let (mock, seen) = MockDevice::new(&MOCK_QUEUES, MockWorkers::Queues);
        let devices: [Box<dyn VirtioDevice<Memory>>; 2] =
            [Box::new(mock), Box::new(Rng::new(Source::fixed(1)))];
        let mut made = Vec::new();
        for ((number, id), device) in PLACES.into_iter().zip(devices) {
            let address = PciAddress::device_0(number).expect("below 32");
            let connection = Connection::new(pins.pin(address, 1), doorbell.clone(), windows)
                .with_execution(Execution::Inline);
            let queue_sizes = device.queue_sizes().to_vec();
            let function = VirtioPci::new(id, device, guest.memory().clone(), connection);
            let function = Arc::new(function.expect("a function"));
            bus.add(Some(number), function.clone()).expect("there is room");
            made.push((address, function, queue_sizes));
        }
        let bus = Arc::new(bus);
        let options = HostBridgeOptions::new(0, pins.clone());
        let bridge = HostBridge::new(&mut builder, options, bus.clone()).expect("a bridge");
        let bridge = Arc::new(bridge);
        builder.add(bridge.clone());
        let platform = builder.build().expect("a machine");
        let functions = made
            .into_iter()
            .map(|(address, device, sizes)| Function::new(&bus, address, device, sizes))
            .collect();
        Self {
            guest,
            platform,
            bus,
            functions,
            seen,
            bridge,
            pins,
            wires,
            rtas_ram: WatchedRam::new(1 << 20),
            messages: BTreeSet::new(),
        }
    }

    /// The machine starts again.
    pub(crate) fn reset(&self) {
        Device::reset(&*self.bridge);
    }

    /// Makes an RTAS call: its status, and the other outputs.
    pub(crate) fn rtas(&self, token: u32, inputs: &[u32], outputs: u32) -> (i32, Vec<u32>) {
        let mut cells = vec![token, inputs.len() as u32, outputs];
        cells.extend(inputs);
        let results = BUFFER + 4 * cells.len() as u64;
        cells.extend((0..outputs).map(|_| 0x5a5a_5a5a));
        self.rtas_ram.poke_cells(BUFFER, &cells);
        let mut call = Hypercall::new(token::RTAS, &[BUFFER]);
        let next = self.platform.hypercalls().dispatch(CpuIndex(0), &self.rtas_ram, &mut call);
        assert_eq!((next, call.status()), (Next::Resume, Status::SUCCESS));
        let cell = |number: u32| self.rtas_ram.peek_cell(results + 4 * u64::from(number));
        (cell(0) as i32, (1..outputs).map(cell).collect())
    }

    /// Has a guest do something, and sees that what always holds does so afterwards.
    ///
    /// A message is what an entry of a table says before or after it.
    pub(crate) fn step<R>(&mut self, action: impl FnOnce(&Self) -> R) -> (R, Told) {
        self.learn_messages();
        let result = action(self);
        for function in &self.functions {
            assert!(function.fixed == fixed(&self.bus, function.address), "an identity changes");
        }
        let pulses = std::mem::take(&mut *lock(&self.wires.pulses));
        let before = std::mem::take(&mut self.messages);
        self.learn_messages();
        for pulse in &pulses {
            let is_message = before.contains(pulse) || self.messages.contains(pulse);
            assert!(is_message, "{pulse:#x} is no message of anybody");
        }
        let by_pin = self.check_pins();
        (result, Told { by_message: !pulses.is_empty(), by_pin })
    }

    fn learn_messages(&mut self) {
        self.messages.clear();
        for function in &self.functions {
            let entries = function.entries().into_iter();
            self.messages.extend(entries.filter(|entry| entry.0 == DOORBELL).map(|entry| entry.1));
        }
    }

    /// A line is high as long as any pin on it is asserted; gives whether one is.
    fn check_pins(&self) -> bool {
        let asserted = self.functions.iter().filter(|function| function.is_pin_asserted(&self.bus));
        let lines = asserted.map(|function| self.pins.specifier(function.address.device(), 1)[0]);
        let lines: BTreeSet<u32> = lines.collect();
        assert_eq!(*lock(&self.wires.high), lines);
        !lines.is_empty()
    }

    /// Which source numbers the bridge claimed as messages.
    pub(crate) fn is_message_source(&self, source: u32) -> bool {
        lock(&self.wires.claimed).get(&source) == Some(&InterruptKind::Edge)
    }
}

impl Function {
    fn new(
        bus: &Bus,
        address: PciAddress,
        device: Arc<VirtioPci<Memory>>,
        queue_sizes: Vec<u16>,
    ) -> Self {
        let number = |register| config(bus, address, register);
        let mut at = number(0x34) as u16 & 0xff;
        let mut msix = 0;
        while at != 0 {
            let head = number(at);
            if head & 0xff == 0x11 {
                msix = at;
            }
            at = (head >> 8) as u16 & 0xff;
        }
        assert_ne!(msix, 0, "{address} has no messages");
        let bytes = {
            let before = number(0x10);
            bus.write_config(address, 0x10, &u32::MAX.to_le_bytes());
            let mask = number(0x10) & !0xf;
            bus.write_config(address, 0x10, &before.to_le_bytes());
            u64::from(mask & mask.wrapping_neg())
        };
        Self {
            fixed: fixed(bus, address),
            address,
            device,
            queue_sizes,
            table: u64::from(number(msix + 4) & !7),
            vectors: (number(msix) >> 16) as u16 % 0x800 + 1,
            msix,
            bytes,
        }
    }

    /// Where its registers are on the bus, by configuration space: nowhere while they do not answer.
    pub(crate) fn place(&self, bus: &Bus) -> Option<u64> {
        let answers = config(bus, self.address, 4) & 2 != 0;
        let start = self.base(bus);
        let is_seen = bus.windows().real(start, self.bytes).is_some();
        (answers && is_seen).then_some(start)
    }

    /// What its base address register says.
    pub(crate) fn base(&self, bus: &Bus) -> u64 {
        let [low, high] = [0x10, 0x14].map(|register| config(bus, self.address, register));
        u64::from(high) << 32 | u64::from(low & !0xf)
    }

    /// Address, data and control of each vector.
    pub(crate) fn entries(&self) -> Vec<(u64, u32, u32)> {
        let entry = |vector: u16| {
            let mut data = [0; 16];
            self.device.read_bar(0, self.table + 16 * u64::from(vector), &mut data);
            let number = |at: usize| {
                data[at..at + 4].iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
            };
            (u64::from(number(4)) << 32 | u64::from(number(0)), number(8), number(12))
        };
        (0..self.vectors).map(entry).collect()
    }

    /// By STATUS and COMMAND (PCI Local Bus Specification 3.0, §6.2.2, §6.2.3).
    fn is_pin_asserted(&self, bus: &Bus) -> bool {
        let register = config(bus, self.address, 4);
        register & 1 << 19 != 0 && register & 1 << 10 == 0
    }
}

/// Four bytes of configuration space.
pub(crate) fn config(bus: &Bus, function: PciAddress, register: u16) -> u32 {
    let mut data = [0; 4];
    bus.read_config(function, register, &mut data);
    u32::from_le_bytes(data)
}

fn fixed(bus: &Bus, function: PciAddress) -> Vec<u8> {
    let registers = FIXED.into_iter().flat_map(|(start, count)| start..start + count as u16);
    let byte = |register| {
        let mut data = [0];
        bus.read_config(function, register, &mut data);
        data[0]
    };
    registers.map(byte).collect()
}
