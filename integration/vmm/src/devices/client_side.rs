//! What clients of the client interface have of a device: the package of its node.

use std::fmt;
use std::sync::Arc;

use vof_device::Package;
use vof_device::network::{NetworkDevice, NetworkPackage};

/// A device as clients have it.
#[derive(Clone)]
#[non_exhaustive]
pub(crate) enum ClientSide {
    /// A network.
    Network(Arc<dyn NetworkDevice>),
}

impl ClientSide {
    /// What clients can do with its node.
    pub(crate) fn package(&self) -> Arc<dyn Package> {
        match self {
            Self::Network(device) => Arc::new(NetworkPackage::new(device.clone())),
        }
    }
}

impl fmt::Debug for ClientSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network(_) => "Network",
        })
    }
}
