//! Devices that a running machine gets and gives back: what is asked for, and what comes of it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{DeviceOpenError, PlugError};
use crate::config::{
    DeviceError, DeviceId, DiskConfig, FsConfig, NetConfig, RngConfig, VmConfig, VsockConfig,
};

/// A device that a machine is to get while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceConfig {
    /// A disk.
    Disk(DiskConfig),
    /// A network interface.
    Net(NetConfig),
    /// A source of randomness.
    Rng(RngConfig),
    /// Sockets between guest and host.
    Vsock(VsockConfig),
    /// A folder of the host.
    Fs(FsConfig),
}

/// Makes a device of each kind's configuration.
macro_rules! from {
    ($($kind:ident($config:ident)),*) => {$(
        impl From<$config> for DeviceConfig {
            fn from(config: $config) -> Self {
                Self::$kind(config)
            }
        }
    )*};
}
from!(Disk(DiskConfig), Net(NetConfig), Rng(RngConfig), Vsock(VsockConfig), Fs(FsConfig));

impl DeviceConfig {
    /// Adds it behind those of its kind.
    pub(crate) fn add_to(self, config: &mut VmConfig) {
        match self {
            Self::Disk(disk) => config.disks.push(disk),
            Self::Net(net) => config.net.push(net),
            Self::Rng(rng) => config.rng.push(rng),
            Self::Vsock(vsock) => config.vsock.push(vsock),
            Self::Fs(fs) => config.fs.push(fs),
        }
    }

    /// What it is called, if it has been given a name.
    pub fn id(&self) -> Option<&DeviceId> {
        match self {
            Self::Disk(disk) => disk.id.as_ref(),
            Self::Net(net) => net.id.as_ref(),
            Self::Rng(rng) => rng.id.as_ref(),
            Self::Vsock(vsock) => vsock.id.as_ref(),
            Self::Fs(fs) => fs.id.as_ref(),
        }
    }
}

/// Where a device is, as Cloud Hypervisor's `vm.add-disk` and the others answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct PciDeviceInfo {
    /// What it is called: by its own id, or by the one that it was given.
    pub id: String,
    /// Domain, bus, device and function, as the guest's `lspci -D` shows them: `0000:00:03.0`.
    pub bdf: String,
}

/// A device of a running machine, and how far it is plugged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Which it is.
    #[serde(flatten)]
    pub place: PciDeviceInfo,
    /// What the guest does with it.
    pub state: DeviceState,
}

/// How far a device is plugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub enum DeviceState {
    /// It is there, and the guest has not taken it.
    Offered,
    /// The guest has it.
    InUse,
    /// The guest was asked to give it back, and has not done so. When the machine starts again, it
    /// is gone.
    AskedBack,
}

/// What came of [`Control::remove_device`](crate::resize::Control::remove_device).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// It is gone: the guest had not taken it.
    Done,
    /// The guest was asked for it.
    Asked,
}

/// Why a running machine does not get a device, or does not give one back. Nothing has changed
/// then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceChangeError {
    /// There is no machine yet, or none any more.
    #[error("no machine is running")]
    NotRunning,
    /// It starts again: to be asked again.
    #[error("the machine is starting again")]
    Restarting,
    /// Somebody else changes it at the moment, or it is on its way to another host.
    #[error("another request has the machine at the moment")]
    Busy,
    /// Its platform has no slots that devices come and go in.
    #[error("the machine has no slots for devices while it runs")]
    NoSlots,
    /// It cannot be in one machine with the others.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// There is not behind it on the host what the user says.
    #[error(transparent)]
    Open(#[from] DeviceOpenError),
    /// It cannot be plugged.
    #[error(transparent)]
    Plug(#[from] PlugError),
    /// No device has this name.
    #[error("there is no device {id}; there are: {}", list(known))]
    Unknown {
        /// The name.
        id: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// It stays as long as the machine.
    #[error("{id} cannot be removed while the machine runs")]
    Fixed {
        /// Its name.
        id: String,
    },
}

impl DeviceChangeError {
    /// Whether whoever asked is to blame, and not the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::Open(error) => error.is_the_users(),
            Self::Plug(error) => matches!(error, PlugError::Full(_)),
            _ => true,
        }
    }
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
