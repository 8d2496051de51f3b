//! A guest with a bridge: it makes calls as guests do, by argument buffers in RAM and hypercalls.

use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::mock::MockBus;
use crate::fdt::{Start, Tree};
use crate::hypercall::{Hypercall, Next, Status, token};
use crate::machine::Machine;
use crate::machine::tests::TestConfig;
use crate::pci::{HostBridge, HostBridgeError, HostBridgeOptions, PciBus, PciPins, id_of};
use crate::platform::{
    InterruptController, InterruptError, InterruptKind, Platform, PlatformBuilder, PlatformError,
    Signal, SourceNumber,
};
use crate::ram::GuestRam;
use crate::rtas::token_of;
use crate::vcpu::CpuIndex;

pub(super) const RAM_BYTES: u64 = 0x10_0000;
const BUFFER: u64 = 0x1000;
/// The number of the first bridge, as calls have it.
pub(super) const UNIT: [u32; 2] = [0x0800_0000, 0x2000_0000];

/// Remembers what was claimed.
#[derive(Default)]
pub(super) struct Controller(pub(super) Mutex<Vec<(u32, InterruptKind)>>);

impl InterruptController for Controller {
    fn claim(&self, source: SourceNumber, kind: InterruptKind) -> Result<(), InterruptError> {
        self.0.lock().unwrap().push((source.0, kind));
        Ok(())
    }

    fn signal(&self, _: SourceNumber, _: Signal) {}
}

pub(super) struct Guest<B> {
    pub(super) ram: GuestMemoryMmap,
    pub(super) platform: Platform,
    pub(super) bus: Arc<B>,
    pub(super) controller: Arc<Controller>,
}

/// A machine with a bridge for each bus.
pub(super) fn platform_of<B: PciBus + 'static>(
    buses: &[Arc<B>],
    controller: Arc<Controller>,
) -> Result<Platform, HostBridgeError> {
    let machine = Machine::new(&TestConfig::default()).unwrap();
    let mut builder = PlatformBuilder::new(&machine, controller);
    for (number, bus) in (0..).zip(buses) {
        let pins = PciPins::claim(&mut builder, &id_of(number))?;
        let options = HostBridgeOptions::new(number, pins);
        let bridge = HostBridge::new(&mut builder, options, bus.clone())?;
        builder.add(Arc::new(bridge));
    }
    builder.build().map_err(|error| match error {
        PlatformError::Interrupt(error) => error.into(),
        other => panic!("{other}"),
    })
}

impl Guest<MockBus> {
    pub(super) fn new(bus: MockBus) -> Self {
        let (bus, controller) = (Arc::new(bus), Arc::new(Controller::default()));
        let platform = platform_of(std::slice::from_ref(&bus), controller.clone()).unwrap();
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)]).unwrap();
        Self { ram, platform, bus, controller }
    }
}

impl<B> Guest<B> {
    pub(super) fn ram(&self) -> &dyn GuestRam {
        &self.ram
    }

    pub(super) fn tree(&self) -> Tree {
        self.platform.tree(&Start::new(GuestAddress(0x40_0000), [0; 32])).unwrap()
    }

    pub(super) fn hypercall(&self, token: u64, args: &[u64]) -> (Status, u64) {
        let mut call = Hypercall::new(token, args);
        let next = self.platform.hypercalls().dispatch(CpuIndex(0), &self.ram, &mut call);
        assert_eq!(next, Next::Resume);
        (call.status(), call.args[0])
    }

    /// Makes an RTAS call: its status, and its other outputs.
    pub(super) fn call(&self, name: &str, inputs: &[u32], outputs: usize) -> (i32, Vec<u32>) {
        let header = [token_of(name).unwrap(), inputs.len() as u32, outputs as u32];
        let cells = [&header, inputs, &vec![0xdead_beef; outputs]].concat();
        for (cell, at) in cells.iter().zip((BUFFER..).step_by(4)) {
            self.ram().write_be_u32(GuestAddress(at), *cell).unwrap();
        }
        assert_eq!(self.hypercall(token::RTAS, &[BUFFER]).0, Status::SUCCESS);
        let results = (BUFFER + 4 * (3 + inputs.len() as u64)..).step_by(4).take(outputs);
        let mut results: Vec<u32> =
            results.map(|at| self.ram().read_be_u32(GuestAddress(at)).unwrap()).collect();
        (results.remove(0) as i32, results)
    }

    /// `ibm,read-pci-config` of a cell: status and value.
    pub(super) fn read(&self, config_addr: u32, size: u32) -> (i32, u32) {
        let [high, low] = UNIT;
        let (status, outputs) =
            self.call("ibm,read-pci-config", &[config_addr, high, low, size], 2);
        (status, outputs[0])
    }

    pub(super) fn write(&self, config_addr: u32, size: u32, value: u32) -> i32 {
        let [high, low] = UNIT;
        self.call("ibm,write-pci-config", &[config_addr, high, low, size, value], 1).0
    }

    /// `ibm,change-msi` with four outputs: status, how many there are, their kind.
    pub(super) fn change_msi(&self, config_addr: u32, what: u32, wanted: u32) -> (i32, u32, u32) {
        let [high, low] = UNIT;
        let inputs = [config_addr, high, low, what, wanted, 1];
        let (status, outputs) = self.call("ibm,change-msi", &inputs, 4);
        (status, outputs[0], outputs[2])
    }

    /// `ibm,query-interrupt-source-number`: status, source, trigger.
    pub(super) fn source(&self, config_addr: u32, number: u32) -> (i32, u32, u32) {
        let [high, low] = UNIT;
        let inputs = [config_addr, high, low, number];
        let (status, outputs) = self.call("ibm,query-interrupt-source-number", &inputs, 3);
        (status, outputs[0], outputs[1])
    }
}

/// The cells of a property.
pub(super) fn cells(tree: &Tree, path: &str, name: &str) -> Vec<u32> {
    let value = tree.value(path, name).unwrap_or_else(|| panic!("{path} has no {name}"));
    value.chunks_exact(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
}
