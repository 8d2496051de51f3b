//! Devices on a bus, behind a host bridge, from one start of the machine to the next.

use std::sync::Arc;

use arch_ppc64::hotplug::{Hotplug, Resource};
use arch_ppc64::pci::{
    self, Doorbell, HostBridge, HostBridgeOptions, PciAddress, PciBus, PciPins, PciWindows,
};
use arch_ppc64::platform::PlatformBuilder;
use pseries_devices::pci::Bus;
use pseries_devices::virtio::{Connection, Execution, NotifyEvents, VirtioPci};

#[cfg(feature = "vof")]
use super::client_side::ClientSide;
use super::list::Placed;
use super::{PlugError, Role, role};
use crate::config::DeviceId;
use crate::ram::{Memory, Ram};

/// The machine's one bridge.
const BRIDGE: u8 = 0;

/// What the devices are connected with, besides interrupts: by default nothing.
#[derive(Clone)]
pub(crate) struct Wires {
    pub(crate) memory: Memory,
    /// What the back end does for notifications.
    pub(crate) notify_events: Option<Arc<dyn NotifyEvents>>,
}

impl Default for Wires {
    fn default() -> Self {
        Self { memory: Memory::new(Ram::new()), notify_events: None }
    }
}

/// The devices of a machine that is built. When it is dropped, nothing works for them any more.
pub(crate) struct Plugged {
    bus: Arc<Bus>,
    bridge: Arc<HostBridge>,
    sockets: Sockets,
    /// Those of the start, in their order.
    #[cfg_attr(not(feature = "vof"), expect(dead_code, reason = "there are no clients"))]
    devices: Vec<OnBus>,
}

/// A device on the bus.
#[derive(Debug, Clone)]
pub(crate) struct OnBus {
    #[cfg_attr(
        not(feature = "vof"),
        expect(dead_code, reason = "nothing is started from devices")
    )]
    pub(crate) id: DeviceId,
    /// The full path of its node.
    pub(crate) path: String,
    pub(crate) role: Role,
    #[cfg(feature = "vof")]
    pub(crate) client_side: Option<ClientSide>,
}

/// What a device is connected with in its slot.
struct Sockets {
    pins: PciPins,
    doorbell: Doorbell,
    windows: PciWindows,
    wires: Wires,
    execution: Execution,
}

impl Sockets {
    /// Puts a device on the bus, in its slot.
    fn connect(&self, device: &Placed, bus: &Bus) -> Result<PciAddress, PlugError> {
        let id = device.kept.id().as_str();
        let place = PciAddress::device_0(device.slot);
        let place = place.ok_or_else(|| PlugError::Full(id.to_owned()))?;
        let mut connection =
            Connection::new(self.pins.pin(place, 1), self.doorbell.clone(), self.windows)
                .with_execution(self.execution);
        if let Some(events) = &self.wires.notify_events {
            connection = connection.with_notify_events(events.clone());
        }
        let memory = self.wires.memory.clone();
        let function = VirtioPci::new(id, Box::new(device.kept.clone()), memory, connection)?;
        Ok(bus.add(Some(place.device()), Arc::new(function))?)
    }
}

impl Plugged {
    /// Puts the devices on a bus, and adds the bridge of it to the machine. Where devices come and go,
    /// `hotplug` does it.
    pub(super) fn new(
        devices: &[Placed],
        execution: Execution,
        builder: &mut PlatformBuilder<'_>,
        wires: Wires,
        hotplug: Option<&Hotplug>,
    ) -> Result<Self, PlugError> {
        let windows = PciWindows::of_bridge(BRIDGE);
        let pins = PciPins::claim(builder, &pci::id_of(BRIDGE))?;
        let doorbell = Doorbell::new(builder.controller().clone(), &windows);
        let sockets = Sockets { pins: pins.clone(), doorbell, windows, wires, execution };
        let bus = Bus::new(windows);
        let mut places = Vec::new();
        for device in devices {
            places.push(sockets.connect(device, &bus)?);
        }
        let bus = Arc::new(bus);
        let options = HostBridgeOptions::new(BRIDGE, pins);
        let bridge = Arc::new(HostBridge::new(builder, options, bus.clone())?);
        if let Some(hotplug) = hotplug {
            hotplug.add_bridge(&bridge);
        }
        let on_bus = |(place, Placed { kept, .. }): (_, &Placed)| {
            Some(OnBus {
                id: kept.id().clone(),
                path: bridge.path_of(place)?,
                role: kept.role(),
                #[cfg(feature = "vof")]
                client_side: kept.client_side().cloned(),
            })
        };
        let devices: Vec<_> = places.into_iter().zip(devices).filter_map(on_bus).collect();
        let roles: Vec<_> =
            devices.iter().map(|device| (device.role, device.path.as_str())).collect();
        builder.add(bridge.clone()).add(Arc::new(role::aliases(&roles)));
        Ok(Self { bus, bridge, sockets, devices })
    }

    /// The devices of the start, in their order.
    #[cfg(feature = "vof")]
    pub(crate) fn devices(&self) -> &[OnBus] {
        &self.devices
    }

    /// Puts one more on the bus while the machine runs. The guest is yet to be told.
    pub(super) fn add(&self, device: &Placed) -> Result<(), PlugError> {
        let place = self.sockets.connect(device, &self.bus)?;
        self.bridge.add(place.device()).inspect_err(|_| {
            self.bus.remove(place.device());
        })?;
        Ok(())
    }

    /// Takes one from the bus. Nothing works for it any more then.
    pub(super) fn remove(&self, device: &Placed) {
        self.bridge.remove(device.slot);
        self.bus.remove(device.slot);
    }
}

/// The slot that a device is plugged into.
pub(super) fn slot(device: u8) -> Resource {
    Resource::slot(BRIDGE, device)
}

/// As `lspci -D` shows a device: the domain of a bus is the number of its bridge.
pub(super) fn bdf(device: u8) -> String {
    format!("{BRIDGE:04x}:00:{device:02x}.0")
}

/// The CPUs have stopped. Whoever worked for the devices has ended when this is done, even if
/// somebody still has the bus.
impl Drop for Plugged {
    fn drop(&mut self) {
        self.bus.reset();
    }
}

impl std::fmt::Debug for Plugged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugged").field("bus", &self.bus).finish_non_exhaustive()
    }
}
