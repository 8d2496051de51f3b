//! Which devices a machine has by now, and where.

use std::collections::BTreeMap;

use pseries_devices::host_console::HostEnd;

use super::change::{DeviceChangeError, DeviceConfig};
use super::kept::Kept;
use super::{DeviceOpenError, Needs, PlugError, open};
use crate::config::{ConsoleConfig, DeviceId, VmConfig};

/// How many slots the bus has.
const SLOTS: u8 = 32;

/// The devices, and the configuration that they are of.
#[derive(Clone)]
pub(super) struct List {
    /// With an id for each device: their numbers change when others go.
    config: VmConfig,
    pub(super) placed: Vec<Placed>,
}

/// A device in its place on the bus, which it keeps as long as it is there.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) kept: Kept,
    pub(super) slot: u8,
}

/// A device that is to come: with an id, with the configuration that it is in, and its slot.
pub(super) struct Planned {
    device: DeviceConfig,
    pub(super) config: VmConfig,
    slot: u8,
}

impl Planned {
    /// Opens what is behind it.
    pub(super) fn open(&self, needs: Needs) -> Result<Placed, DeviceOpenError> {
        // A machine that is handed over has all of its own by now.
        let kept = open::one(&self.device, Needs { handed_over: false, ..needs })?;
        Ok(Placed { kept, slot: self.slot })
    }
}

impl List {
    /// Those of a configuration, which has no more than there are slots, one behind the other.
    pub(super) fn new(config: &VmConfig, kept: Vec<Kept>) -> Self {
        let config = config.clone().with_ids();
        let placed = kept.into_iter().zip(0..).map(|(kept, slot)| Placed { kept, slot });
        Self { config, placed: placed.collect() }
    }

    pub(super) fn config(&self) -> &VmConfig {
        &self.config
    }

    /// Those that are named are in these places, and the others in what is left.
    pub(super) fn place(&mut self, places: &BTreeMap<String, u8>) -> Result<(), PlugError> {
        let mut taken: Vec<u8> = Vec::new();
        let (named, others): (Vec<_>, Vec<_>) = self
            .placed
            .iter_mut()
            .map(|placed| (places.get(placed.kept.id().as_str()).copied(), placed))
            .partition(|(place, _)| place.is_some());
        for (place, placed) in named.into_iter().chain(others) {
            let mut free = (0..SLOTS).filter(|slot| !taken.contains(slot));
            let slot = place.or_else(|| free.next());
            let is_free = |slot: &u8| *slot < SLOTS && !taken.contains(slot);
            let full = || PlugError::Full(placed.kept.id().to_string());
            placed.slot = slot.filter(is_free).ok_or_else(full)?;
            taken.push(placed.slot);
        }
        Ok(())
    }

    /// What one more device would be, and where, if it can be in one machine with the others.
    pub(super) fn plan(
        &self,
        device: DeviceConfig,
        needs: Needs,
    ) -> Result<Planned, DeviceChangeError> {
        let device = self.named(device);
        let mut config = self.config.clone();
        device.clone().add_to(&mut config);
        config.check_devices()?;
        if needs.repeatable {
            config.check_repeatable()?;
        }
        let id = device.id().map_or_else(String::new, DeviceId::to_string);
        let slot = self.free_slot().ok_or(PlugError::Full(id))?;
        Ok(Planned { device, config, slot })
    }

    /// It is there; nobody else has come meanwhile.
    pub(super) fn add(&mut self, config: VmConfig, placed: Placed) {
        self.placed.push(placed);
        self.config = config;
    }

    /// Forgets a device, which closes what is behind it unless somebody else has it yet.
    pub(super) fn remove(&mut self, id: &str) -> Option<Placed> {
        let place = self.placed.iter().position(|placed| placed.kept.id().as_str() == id)?;
        self.config.remove_device(id);
        Some(self.placed.remove(place))
    }

    /// Whether a device stays as long as the machine: its other end is not its own.
    pub(super) fn is_fixed(&self, id: &str) -> bool {
        id == ConsoleConfig::id().as_str()
    }

    pub(super) fn find(&self, id: &str) -> Option<&Placed> {
        self.placed.iter().find(|placed| placed.kept.id().as_str() == id)
    }

    fn free_slot(&self) -> Option<u8> {
        (0..SLOTS).find(|slot| self.placed.iter().all(|placed| placed.slot != *slot))
    }

    /// The same device with an id: its own, or the first of its kind that nobody has.
    fn named(&self, mut device: DeviceConfig) -> DeviceConfig {
        if let DeviceConfig::Net(net) = &mut device {
            // Without one, whoever opens it says why there is none.
            net.mac = net.mac.or_else(|| open::random_address().ok());
        }
        if device.id().is_some() {
            return device;
        }
        let count = self.placed.len();
        let is_free = |id: &DeviceId| self.find(id.as_str()).is_none();
        let free = |default: &dyn Fn(usize) -> DeviceId| (0..=count).map(default).find(is_free);
        match &mut device {
            DeviceConfig::Disk(disk) => disk.id = free(&|number| disk.id(number)),
            DeviceConfig::Net(net) => net.id = free(&|number| net.id(number)),
            DeviceConfig::Rng(rng) => rng.id = free(&|number| rng.id(number)),
            DeviceConfig::Vsock(vsock) => vsock.id = free(&|number| vsock.id(number)),
            DeviceConfig::Fs(fs) => fs.id = free(&|number| fs.id(number)),
        }
        device
    }
}

/// Opens the devices of a configuration. What is not said of them and the guest sees is said in that
/// of the list: a machine that is saved has it again.
pub(super) fn open(
    config: &VmConfig,
    console: Option<Box<dyn HostEnd>>,
    needs: Needs,
) -> Result<List, DeviceOpenError> {
    let mut config = config.clone();
    for net in config.net.iter_mut().filter(|net| net.mac.is_none()) {
        net.mac = Some(open::random_address().map_err(DeviceOpenError::Random)?);
    }
    Ok(List::new(&config, open::all(&config, console, needs)?))
}
