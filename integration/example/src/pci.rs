//! The VMM's own PCI bus. The host bridge asks no more of it than what `PciBus` says; this one gives
//! each of its devices a place for registers, and finds the device that is at an address.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arch_ppc64::pci::{
    self, Doorbell, HostBridge, HostBridgeOptions, PciAddress, PciBus, PciPins, PciWindow,
    PciWindows,
};
use arch_ppc64::platform::{PlatformBuilder, SaveState, StateError, StateValue};
use pseries_devices::pci::PciFunction;
use pseries_devices::rng::{Rng, Source};
use pseries_devices::virtio::{Connection, VirtioPci};

use crate::Error;
use crate::memory::Ram;

/// The number of the first device, and how far the registers of one are from those of the next.
const FIRST_DEVICE: u8 = 1;
const REGISTERS_BYTES: u64 = 1 << 20;

/// The first base address register, of 64 bits, in configuration space.
const BAR_0: u16 = 0x10;

/// Adds a host bridge, and behind it an entropy device whose randomness comes from a file.
pub(crate) fn add_entropy(
    builder: &mut PlatformBuilder<'_>,
    ram: &Arc<Ram>,
    source: &Path,
) -> Result<(), Error> {
    let windows = PciWindows::of_bridge(0);
    let pins = PciPins::claim(builder, &pci::id_of(0))?;
    let doorbell = Doorbell::new(builder.controller().clone(), &windows);
    let address = PciAddress::device_0(FIRST_DEVICE).ok_or("no such device")?;
    let device = Box::new(Rng::new(Source::open(source)?));
    let connection = Connection::new(pins.pin(address, 1), doorbell, windows);
    let entropy = VirtioPci::new("entropy", device, ram.clone(), connection)?;
    let bus = Segment { window: windows.memory_64, devices: vec![Box::new(entropy)] };
    let options = HostBridgeOptions::new(0, pins);
    let bridge = HostBridge::new(builder, options, Arc::new(bus))?;
    builder.add(Arc::new(bridge));
    Ok(())
}

/// The bus.
struct Segment {
    /// Where its devices have their registers.
    window: PciWindow,
    devices: Vec<Box<dyn PciFunction>>,
}

impl Segment {
    fn numbered(&self) -> impl Iterator<Item = (PciAddress, &dyn PciFunction)> {
        let numbers = (FIRST_DEVICE..).map_while(PciAddress::device_0);
        numbers.zip(&self.devices).map(|(address, device)| (address, &**device))
    }

    fn device(&self, at: PciAddress) -> Option<&dyn PciFunction> {
        self.numbered().find(|(address, _)| *address == at).map(|(_, device)| device)
    }

    /// The device that has registers there; which of its BARs, and where in that.
    fn registers(&self, at: u64, bytes: usize) -> Option<(&dyn PciFunction, usize, u64)> {
        self.numbered().find_map(|(_, device)| {
            let bars = device.bars().into_iter();
            let mut places = bars.filter_map(|bar| Some((bar, at.checked_sub(bar.start)?)));
            let is_in =
                |bar_bytes: u64, offset| bar_bytes.checked_sub(offset) >= Some(bytes as u64);
            let (bar, offset) = places.find(|(bar, offset)| is_in(bar.bytes, *offset))?;
            Some((device, bar.bar, offset))
        })
    }
}

impl PciBus for Segment {
    fn functions(&self) -> Vec<PciAddress> {
        self.numbered().map(|(address, _)| address).collect()
    }
    fn read_config(&self, function: PciAddress, register: u16, data: &mut [u8]) {
        match self.device(function) {
            Some(device) => device.read_config(register, data),
            None => data.fill(0xff),
        }
    }
    fn write_config(&self, function: PciAddress, register: u16, data: &[u8]) {
        if let Some(device) = self.device(function) {
            // Places are looked up at each access: a change of them needs nothing.
            let _ = device.write_config(register, data);
        }
    }
    fn read_memory(&self, at: u64, data: &mut [u8]) {
        match self.registers(at, data.len()) {
            Some((device, bar, offset)) => device.read_bar(bar, offset, data),
            None => data.fill(0xff),
        }
    }
    fn write_memory(&self, at: u64, data: &[u8]) {
        if let Some((device, bar, offset)) = self.registers(at, data.len()) {
            device.write_bar(bar, offset, data);
        }
    }
    fn reset(&self) {
        for (address, device) in self.numbered() {
            device.reset();
            let place = self.window.bus + u64::from(address.device()) * REGISTERS_BYTES;
            device.write_config(BAR_0, &(place as u32).to_le_bytes());
            device.write_config(BAR_0 + 4, &((place >> 32) as u32).to_le_bytes());
        }
    }
    fn pause(&self, until: Instant) -> Result<(), StateError> {
        let paused = self.devices.iter().try_for_each(|device| device.pause(until));
        // Where one does not come to rest, all go on.
        paused.inspect_err(|_| drop(self.resume()))
    }
    fn resume(&self) -> Result<(), StateError> {
        self.devices.iter().try_for_each(|device| device.resume())
    }
    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

/// The states of its devices, in their order, with their versions.
impl SaveState for Segment {
    fn save(&self) -> Result<StateValue, StateError> {
        let state = |device: &dyn PciFunction| {
            let state =
                device.state().ok_or_else(|| StateError::Unsupported(device.id().into()))?;
            Ok::<_, StateError>((state.version(), state.save()?))
        };
        let states = self.devices.iter().map(|device| state(&**device));
        StateValue::of(&states.collect::<Result<Vec<_>, _>>()?)
    }
    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let saved: Vec<(u32, StateValue)> = state.get()?;
        if saved.len() != self.devices.len() {
            return Err(StateError::Value(format!("{} devices on the PCI bus", saved.len())));
        }
        self.devices.iter().zip(saved).try_for_each(|(device, (version, saved))| {
            let state =
                device.state().ok_or_else(|| StateError::Unsupported(device.id().into()))?;
            state.restore(version, &saved).map_err(|error| error.of(device.id()))
        })
    }
}
