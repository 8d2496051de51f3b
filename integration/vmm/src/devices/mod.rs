//! The devices on the machine's PCI bus: what is behind them on the host, and how they are plugged
//! into each start of the machine.

mod change;
#[cfg(feature = "vof")]
mod client_side;
#[cfg(feature = "vof")]
mod detachable;
mod error;
mod held;
mod kept;
mod list;
mod open;
mod outline;
mod plug;
mod role;
mod running;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arch_ppc64::hotplug::Hotplug;
use arch_ppc64::platform::PlatformBuilder;
use pseries_devices::host_console::HostEnd;
use pseries_devices::virtio::{Execution, VirtioDevice};

use crate::config::{DeviceId, VmConfig};
use crate::locks::lock;

pub use change::{
    DeviceChangeError, DeviceConfig, DeviceInfo, DeviceState, PciDeviceInfo, Removal,
};
#[cfg(feature = "vof")]
pub(crate) use client_side::ClientSide;
pub use error::{DeviceOpenError, PlugError};
pub use held::HeldError;
pub(crate) use held::{Held, HeldNvram};
use list::{List, Placed};
#[cfg(feature = "vof")]
pub(crate) use plug::OnBus;
pub(crate) use plug::{Plugged, Wires};
pub(crate) use role::Role;
pub(crate) use running::Running;

use crate::ram::Memory;

/// The devices, with what is behind them on the host open. They outlive restarts of the machine: a
/// start plugs them into a new bus, and they are reset.
pub struct Devices {
    list: Mutex<List>,
    needs: Needs,
    /// What the machine has besides its devices, that is handed over with them.
    others: Vec<Arc<dyn Held>>,
}

/// What the run of a machine needs of its devices.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// It is to be the same each time: they work on the threads of the CPUs, and randomness is not
    /// random.
    pub repeatable: bool,
    /// What writes to RAM has to take note of it there, as the CPUs keep what they have decoded:
    /// other processes do not.
    pub notes_of_writes: bool,
    /// Another process has the machine's files, and hands them over: their locks are taken later.
    pub handed_over: bool,
}

impl Devices {
    /// Opens what is behind the devices of `config`, whose second console has its other end already:
    /// `console`.
    ///
    /// # Errors
    /// [`DeviceOpenError`] names the device, the file and the reason.
    pub fn open(
        config: &VmConfig,
        console: Option<Box<dyn HostEnd>>,
        needs: Needs,
    ) -> Result<Self, DeviceOpenError> {
        let list = list::open(config, console, needs)?;
        Ok(Self { list: Mutex::new(list), needs, others: Vec::new() })
    }

    /// The same devices with nothing behind them, for a machine that nobody runs.
    pub(crate) fn outline(config: &VmConfig) -> Self {
        let list = List::new(config, outline::all(config));
        Self { list: Mutex::new(list), needs: Needs::default(), others: Vec::new() }
    }

    /// The same with something else that is handed over with them.
    pub(crate) fn with_held(mut self, other: impl Held + 'static) -> Self {
        self.others.push(Arc::new(other));
        self
    }

    /// The same in the [places](Self::places) that those of another machine have, which they are to be
    /// in the place of.
    ///
    /// # Errors
    /// [`PlugError::Full`] for places that cannot be: it names a device that has none.
    pub fn at_places(self, places: &BTreeMap<String, u8>) -> Result<Self, PlugError> {
        self.move_to(places)?;
        Ok(self)
    }

    /// The same of those that somebody has already, before the machine starts.
    pub(crate) fn move_to(&self, places: &BTreeMap<String, u8>) -> Result<(), PlugError> {
        self.list().place(places)
    }

    /// In which slot of the bus each device is, by its id: where it stays as long as it is there.
    pub fn places(&self) -> BTreeMap<String, u8> {
        let list = self.list();
        list.placed.iter().map(|placed| (placed.kept.id().to_string(), placed.slot)).collect()
    }

    /// The same machine with the devices that there are by now, each with its id.
    pub fn configured(&self, config: VmConfig) -> VmConfig {
        let VmConfig { disks, net, rng, vsock, fs, .. } = self.list().config().clone();
        VmConfig { disks, net, rng, vsock, fs, ..config }
    }

    /// Memory was plugged into the machine, or taken out: tells those who have told others of it.
    pub(crate) fn memory_changed(&self, memory: &Memory) {
        let placed = self.list().placed.clone();
        for mut device in placed {
            device.kept.memory_changed(memory);
        }
    }

    /// What each of them has done, by its id; those are left out of which nobody counts.
    pub(crate) fn counts(&self) -> Vec<(DeviceId, Vec<(&'static str, u64)>)> {
        let counts = |Placed { kept, .. }: &Placed| Some((kept.id().clone(), kept.counts()?));
        self.list().placed.iter().filter_map(counts).collect()
    }

    /// Plugs them into a machine that is about to start; `None` where there are none and none can
    /// come, as such a machine has no bridge. Where devices come and go, `hotplug` does it.
    pub(crate) fn plug(
        &self,
        builder: &mut PlatformBuilder<'_>,
        wires: Wires,
        hotplug: Option<&Hotplug>,
    ) -> Result<Option<Plugged>, PlugError> {
        let placed = self.list().placed.clone();
        if placed.is_empty() && !builder.machine().has_slots() {
            return Ok(None);
        }
        let execution = match self.needs.repeatable {
            true => Execution::Inline,
            false => Execution::Threads,
        };
        Plugged::new(&placed, execution, builder, wires, hotplug).map(Some)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        lock(&self.list)
    }
}

impl Devices {
    /// All that only one machine may have.
    fn held(&self) -> Vec<Arc<dyn Held>> {
        let list = self.list();
        let disks = list.placed.iter().filter_map(|placed| placed.kept.held());
        disks.chain(self.others.iter().cloned()).collect()
    }

    /// Takes the locks of all files that only one machine may have: all of them, or none.
    ///
    /// # Errors
    /// [`HeldError`] names one that somebody else has.
    pub(crate) fn lock_files(&self) -> Result<(), HeldError> {
        let locked = self.held().iter().try_for_each(|held| held.lock());
        if locked.is_err() {
            self.unlock_files();
        }
        locked
    }

    /// Lets go of them: another process is to have the machine, or nobody.
    pub(crate) fn unlock_files(&self) {
        self.held().iter().for_each(|held| held.unlock());
    }

    /// Has what was written seen by others, also on other hosts.
    ///
    /// # Errors
    /// [`HeldError`] names one of which something may be lost.
    pub(crate) fn flush_files(&self) -> Result<(), HeldError> {
        self.held().iter().try_for_each(|held| held.flush())
    }

    /// The first device that writes to RAM without taking note of it, if there is one: nobody can copy
    /// the RAM while it works.
    pub(crate) fn writes_unseen(&self) -> Option<String> {
        let list = self.list();
        list.placed.iter().find_map(|placed| placed.kept.writes_unseen().map(str::to_owned))
    }
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Devices").field("places", &self.places()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
