//! Devices that come and go while the machine runs.

use std::sync::Arc;

use arch_ppc64::hotplug::{Hotplug, PciSlot, PlugState, Resource};

use super::change::{
    DeviceChangeError, DeviceConfig, DeviceInfo, DeviceState, PciDeviceInfo, Removal,
};
use super::list::Placed;
use super::{Devices, Plugged, plug};
use crate::quoted;

/// What plugs devices into a machine that runs.
pub(crate) struct Running {
    pub(crate) devices: Arc<Devices>,
    pub(crate) plugged: Arc<Plugged>,
    pub(crate) hotplug: Hotplug,
}

impl Running {
    /// Opens what is behind a device, and plugs it.
    pub(crate) fn add(&self, device: DeviceConfig) -> Result<PciDeviceInfo, DeviceChangeError> {
        // Whoever looks at the devices meanwhile does not wait for the host.
        let needs = self.devices.needs;
        let list = self.devices.list().clone();
        let planned = list.plan(device, needs)?;
        drop(list);
        let placed = planned.open(needs)?;
        self.devices.list().add(planned.config, placed.clone());
        let plugged = self.plugged.add(&placed).and_then(|()| {
            let plugged = self.hotplug.plug(plug::slot(placed.slot));
            plugged.inspect_err(|_| self.plugged.remove(&placed)).map_err(Into::into)
        });
        match plugged {
            Ok(()) => Ok(info(&placed)),
            Err(error) => {
                let gone = self.devices.list().remove(placed.kept.id().as_str());
                drop((gone, placed));
                Err(error.into())
            }
        }
    }

    /// Asks the guest for a device, or takes it away if the guest does not have it.
    pub(crate) fn remove(&self, id: &str) -> Result<Removal, DeviceChangeError> {
        let slot = {
            let list = self.devices.list();
            let Some(placed) = list.find(id) else {
                let known = list.placed.iter().map(|placed| placed.kept.id().to_string());
                let (id, known) = (quoted::text(id), known.collect());
                return Err(DeviceChangeError::Unknown { id, known });
            };
            if list.is_fixed(id) {
                return Err(DeviceChangeError::Fixed { id: id.to_owned() });
            }
            placed.slot
        };
        self.hotplug.unplug(plug::slot(slot)).map_err(super::PlugError::from)?;
        match self.hotplug.state(plug::slot(slot)) {
            Some(PlugState::Absent) => {
                self.take_away(slot);
                Ok(Removal::Done)
            }
            _ => Ok(Removal::Asked),
        }
    }

    /// The guest has given back what is in a slot, if it still has not been plugged again.
    pub(crate) fn released(&self, slot: PciSlot) {
        if self.hotplug.state(Resource::Slot(slot)) == Some(PlugState::Absent) {
            self.take_away(slot.device);
        }
    }

    /// The start is over: what the guest was asked for does not come again.
    pub(crate) fn end(&self) {
        let is_asked_for = |placed: &Placed| {
            !matches!(
                self.hotplug.state(plug::slot(placed.slot)),
                Some(PlugState::Offered | PlugState::InUse)
            )
        };
        let mut list = self.devices.list();
        let asked_for = list.placed.iter().filter(|&placed| is_asked_for(placed));
        let ids = asked_for.map(|placed| placed.kept.id().to_string()).collect::<Vec<_>>();
        let gone = ids.iter().filter_map(|id| list.remove(id)).collect::<Vec<_>>();
        // What is behind them is closed when nobody waits for the list.
        drop(list);
        drop(gone);
    }

    /// The devices, and how far each is plugged.
    pub(crate) fn infos(&self) -> Vec<DeviceInfo> {
        let placed = self.devices.list().placed.clone();
        let infos = placed.iter().filter_map(|placed| {
            let state = match self.hotplug.state(plug::slot(placed.slot))? {
                PlugState::Offered => DeviceState::Offered,
                PlugState::InUse => DeviceState::InUse,
                // What has been given back a moment ago is about to go.
                _ => DeviceState::AskedBack,
            };
            Some(DeviceInfo { place: info(placed), state })
        });
        infos.collect()
    }

    /// Which device is in a slot.
    pub(crate) fn name_of(&self, slot: PciSlot) -> Option<String> {
        let list = self.devices.list();
        let placed = list.placed.iter().find(|placed| placed.slot == slot.device)?;
        Some(placed.kept.id().to_string())
    }

    /// Nothing of the device is left: what is behind it on the host is closed.
    fn take_away(&self, slot: u8) {
        let placed = self.devices.list().placed.iter().find(|placed| placed.slot == slot).cloned();
        let Some(placed) = placed else { return };
        let id = placed.kept.id().to_string();
        #[cfg(feature = "vof")]
        if let Some(side) = placed.kept.client_side() {
            side.detach();
        }
        self.plugged.remove(&placed);
        let gone = self.devices.list().remove(&id);
        // Closed by now, and not while somebody waits for the list.
        drop((gone, placed));
        log::info!("{id} is unplugged");
    }
}

fn info(placed: &Placed) -> PciDeviceInfo {
    PciDeviceInfo { id: placed.kept.id().to_string(), bdf: plug::bdf(placed.slot) }
}
