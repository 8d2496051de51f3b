//! What can go wrong with devices.

use std::error::Error;
use std::io;

use arch_ppc64::pci::HostBridgeError;
use arch_ppc64::platform::InterruptError;
use pseries_devices::disk::{DiskError, DiskFault};
use pseries_devices::pci::AddError;
use pseries_devices::rng::SourceError;
use pseries_devices::vhost_user::VhostUserError;
use pseries_devices::vhost_user::fs::FsError;
use pseries_devices::virtio::VirtioPciError;
use pseries_devices::vsock::VsockError;

use crate::host_file;

/// A device that cannot be had, as there is not behind it on the host what the user says. It is
/// named as on the command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceOpenError {
    /// A file cannot be a disk.
    #[error("{device}")]
    Disk {
        /// Which device.
        device: String,
        /// What is wrong with the file.
        #[source]
        source: DiskFault,
    },
    /// A file gives no randomness.
    #[error("{device}")]
    Rng {
        /// Which device.
        device: String,
        /// What is wrong with the file.
        #[source]
        source: SourceError,
    },
    /// There is no such network.
    #[error("{device}")]
    Net {
        /// Which device.
        device: String,
        /// The reason.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no address to be made up.
    #[error("cannot get randomness for an address from /dev/urandom")]
    Random(#[source] io::Error),
    /// The host's kernel does not carry the frames of a network.
    #[error("{device}: cannot use /dev/vhost-net")]
    VhostNet {
        /// Which device.
        device: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// There is no socket that a guest's could be.
    #[error("{device}")]
    Vsock {
        /// Which device.
        device: String,
        /// The reason.
        #[source]
        source: VsockError,
    },
    /// There cannot be such a file system.
    #[error("{device}")]
    Fs {
        /// Which device.
        device: String,
        /// The reason.
        #[source]
        source: FsError,
    },
    /// There is no program that does the work of a device.
    #[error("{device}")]
    VhostUser {
        /// Which device.
        device: String,
        /// The reason.
        #[source]
        source: VhostUserError,
    },
}

impl DeviceOpenError {
    pub(super) fn disk(device: String) -> impl FnOnce(DiskError) -> Self {
        // The device is named by the file already.
        |DiskError { reason: source, .. }| Self::Disk { device, source }
    }

    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::Random(_) => false,
            _ => !reasons(self).any(host_file::is_the_hosts),
        }
    }
}

/// What the host says in an error, or in what it came from.
fn reasons<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a io::Error> {
    std::iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref())
}

/// Devices that cannot be plugged into a machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlugError {
    /// The bus has no slot left.
    #[error("there is no slot for {0}")]
    Full(String),
    /// There are no interrupts for them.
    #[error(transparent)]
    Interrupt(#[from] InterruptError),
    /// A device cannot be a function.
    #[error(transparent)]
    Function(#[from] VirtioPciError),
    /// The bus cannot have a function.
    #[error(transparent)]
    Bus(#[from] AddError),
    /// The platform does not have it so.
    #[error("the machine's platform refuses")]
    Platform(#[from] arch_ppc64::hotplug::PlugError),
    /// The bus cannot be behind a bridge.
    #[error(transparent)]
    Bridge(#[from] HostBridgeError),
}
