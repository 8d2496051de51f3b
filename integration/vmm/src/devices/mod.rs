//! The devices on the machine's PCI bus: what is behind them on the host, and how they are plugged
//! into each start of the machine.

mod change;
#[cfg(feature = "vof")]
mod client_side;
mod error;
#[allow(dead_code, reason = "migration is to come")]
mod held;
#[allow(dead_code, reason = "migration is to come")]
mod kept;
mod open;
mod outline;
mod plug;
mod role;

use arch_ppc64::platform::PlatformBuilder;
use pseries_devices::host_console::HostEnd;
use pseries_devices::virtio::{Execution, VirtioDevice};

use crate::config::{DeviceId, VmConfig};

pub use change::{
    DeviceChangeError, DeviceConfig, DeviceInfo, DeviceState, PciDeviceInfo, Removal,
};
#[cfg(feature = "vof")]
pub(crate) use client_side::ClientSide;
pub use error::{DeviceOpenError, PlugError};
pub use held::HeldError;
pub(crate) use held::{Held, HeldNvram};
use kept::Kept;
#[cfg(feature = "vof")]
pub(crate) use plug::OnBus;
pub(crate) use plug::{Plugged, Wires};
pub(crate) use role::Role;

use crate::ram::Memory;

/// The devices, with what is behind them on the host open. They outlive restarts of the machine: a
/// start plugs them into a new bus, and they are reset.
pub struct Devices {
    /// In the order in which they are on the bus.
    list: Vec<Kept>,
    execution: Execution,
    /// What the machine has besides its devices, that is handed over with them.
    others: Vec<Box<dyn Held>>,
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
        let execution = if needs.repeatable { Execution::Inline } else { Execution::Threads };
        Ok(Self { list: open::all(config, console, needs)?, execution, others: Vec::new() })
    }

    /// The same devices with nothing behind them, for a machine that nobody runs.
    pub(crate) fn outline(config: &VmConfig) -> Self {
        let list = outline::all(config);
        Self { list, execution: Execution::Threads, others: Vec::new() }
    }

    /// The same with something else that is handed over with them.
    pub(crate) fn with_held(mut self, other: impl Held + 'static) -> Self {
        self.others.push(Box::new(other));
        self
    }

    /// Memory was plugged into the machine, or taken out: tells those who have told others of it.
    pub(crate) fn memory_changed(&self, memory: &Memory) {
        for device in &self.list {
            device.clone().memory_changed(memory);
        }
    }

    /// What each of them has done, by its id; those are left out of which nobody counts.
    pub(crate) fn counts(&self) -> Vec<(DeviceId, Vec<(&'static str, u64)>)> {
        let counts = |device: &Kept| Some((device.id().clone(), device.counts()?));
        self.list.iter().filter_map(counts).collect()
    }

    /// Plugs them into a machine that is about to start; `None` where there are none, as such a
    /// machine has no bridge.
    pub(crate) fn plug(
        &self,
        builder: &mut PlatformBuilder<'_>,
        wires: Wires,
    ) -> Result<Option<Plugged>, PlugError> {
        if self.list.is_empty() {
            return Ok(None);
        }
        Plugged::new(&self.list, self.execution, builder, wires).map(Some)
    }
}

#[allow(dead_code, reason = "migration is to come")]
impl Devices {
    /// All that only one machine may have.
    fn held(&self) -> impl Iterator<Item = &dyn Held> {
        let disks = self.list.iter().filter_map(Kept::held);
        disks.chain(self.others.iter().map(|other| &**other))
    }

    /// Takes the locks of all files that only one machine may have: all of them, or none.
    ///
    /// # Errors
    /// [`HeldError`] names one that somebody else has.
    pub(crate) fn lock_files(&self) -> Result<(), HeldError> {
        let locked = self.held().try_for_each(Held::lock);
        if locked.is_err() {
            self.unlock_files();
        }
        locked
    }

    /// Lets go of them: another process is to have the machine, or nobody.
    pub(crate) fn unlock_files(&self) {
        self.held().for_each(Held::unlock);
    }

    /// Has what was written seen by others, also on other hosts.
    ///
    /// # Errors
    /// [`HeldError`] names one of which something may be lost.
    pub(crate) fn flush_files(&self) -> Result<(), HeldError> {
        self.held().try_for_each(Held::flush)
    }

    /// The first device that writes to RAM without taking note of it, if there is one: nobody can copy
    /// the RAM while it works.
    pub(crate) fn writes_unseen(&self) -> Option<&str> {
        self.list.iter().find_map(Kept::writes_unseen)
    }
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Devices").field("list", &self.list).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
