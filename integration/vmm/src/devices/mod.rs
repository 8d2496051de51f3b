//! The devices on the machine's PCI bus: what is behind them on the host, and how they are plugged
//! into each start of the machine.

mod change;
#[cfg(feature = "vof")]
mod client_side;
mod error;
mod kept;
mod open;
mod outline;
mod plug;
mod role;

use arch_ppc64::platform::PlatformBuilder;
use pseries_devices::host_console::HostEnd;
use pseries_devices::virtio::{Execution, VirtioDevice};

use crate::config::VmConfig;

pub use change::{
    DeviceChangeError, DeviceConfig, DeviceInfo, DeviceState, PciDeviceInfo, Removal,
};
#[cfg(feature = "vof")]
pub(crate) use client_side::ClientSide;
pub use error::{DeviceOpenError, PlugError};
use kept::Kept;
#[cfg(feature = "vof")]
pub(crate) use plug::OnBus;
pub(crate) use plug::{Plugged, Wires};
pub(crate) use role::Role;

use crate::ram::Memory;

/// The devices, with what is behind them on the host open. They outlive restarts of the machine: a
/// start plugs them into a new bus, and they are reset.
#[derive(Debug)]
pub struct Devices {
    /// In the order in which they are on the bus.
    list: Vec<Kept>,
    execution: Execution,
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
        Ok(Self { list: open::all(config, console, needs)?, execution })
    }

    /// The same devices with nothing behind them, for a machine that nobody runs.
    pub(crate) fn outline(config: &VmConfig) -> Self {
        Self { list: outline::all(config), execution: Execution::Threads }
    }

    /// Memory was plugged into the machine, or taken out: tells those who have told others of it.
    pub(crate) fn memory_changed(&self, memory: &Memory) {
        for device in &self.list {
            device.clone().memory_changed(memory);
        }
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

#[cfg(test)]
mod tests;
