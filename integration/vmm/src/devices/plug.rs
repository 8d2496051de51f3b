//! Devices on a bus, behind a host bridge, from one start of the machine to the next.

use std::sync::Arc;

use arch_ppc64::pci::{self, Doorbell, HostBridge, HostBridgeOptions, PciBus, PciPins, PciWindows};
use arch_ppc64::platform::PlatformBuilder;
use pseries_devices::pci::Bus;
use pseries_devices::virtio::{Connection, Execution, NotifyEvents, VirtioPci};

#[cfg(feature = "vof")]
use super::client_side::ClientSide;
use super::kept::Kept;
use super::{PlugError, Role, role};
use crate::config::DeviceId;
use crate::ram::{Memory, Ram};

/// The machine's one bridge.
const BRIDGE: u8 = 0;

/// What the devices are connected with, besides interrupts: by default nothing.
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
#[derive(Debug)]
pub(crate) struct Plugged {
    bus: Arc<Bus>,
    /// In the order in which they are on the bus.
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

impl Plugged {
    /// Puts the devices on a bus, in their order, and adds the bridge of it to the machine.
    pub(super) fn new(
        devices: &[Kept],
        execution: Execution,
        builder: &mut PlatformBuilder<'_>,
        wires: Wires,
    ) -> Result<Self, PlugError> {
        let windows = PciWindows::of_bridge(BRIDGE);
        let pins = PciPins::claim(builder, &pci::id_of(BRIDGE))?;
        let doorbell = Doorbell::new(builder.controller().clone(), &windows);
        let bus = Bus::new(windows);
        let mut places = Vec::new();
        for device in devices {
            let id = device.id().as_str();
            let place = bus.next_free().ok_or_else(|| PlugError::Full(id.to_owned()))?;
            let mut connection = Connection::new(pins.pin(place, 1), doorbell.clone(), windows)
                .with_execution(execution);
            if let Some(events) = &wires.notify_events {
                connection = connection.with_notify_events(events.clone());
            }
            let memory = wires.memory.clone();
            let function = VirtioPci::new(id, Box::new(device.clone()), memory, connection)?;
            places.push(bus.add(Some(place.device()), Arc::new(function))?);
        }
        let bus = Arc::new(bus);
        let options = HostBridgeOptions::new(BRIDGE, pins);
        let bridge = HostBridge::new(builder, options, bus.clone())?;
        let on_bus = |(place, device): (_, &Kept)| {
            Some(OnBus {
                id: device.id().clone(),
                path: bridge.path_of(place)?,
                role: device.role(),
                #[cfg(feature = "vof")]
                client_side: device.client_side().cloned(),
            })
        };
        let devices: Vec<_> = places.into_iter().zip(devices).filter_map(on_bus).collect();
        let roles: Vec<_> =
            devices.iter().map(|device| (device.role, device.path.as_str())).collect();
        builder.add(Arc::new(bridge)).add(Arc::new(role::aliases(&roles)));
        Ok(Self { bus, devices })
    }

    /// The devices, in their order.
    #[cfg(feature = "vof")]
    pub(crate) fn devices(&self) -> &[OnBus] {
        &self.devices
    }
}

/// The CPUs have stopped. Whoever worked for the devices has ended when this is done, even if
/// somebody still has the bus.
impl Drop for Plugged {
    fn drop(&mut self) {
        self.bus.reset();
    }
}
