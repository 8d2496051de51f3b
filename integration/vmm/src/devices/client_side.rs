//! What clients of the client interface have of a device: the package of its node.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::detachable::Detachable;
use vof_device::Package;
use vof_device::block::{BlockDevice, BlockPackage};
use vof_device::network::{NetworkDevice, NetworkPackage};

/// A device as clients have it.
#[derive(Clone)]
#[non_exhaustive]
pub(crate) enum ClientSide {
    /// A disk.
    Disk(Arc<Detachable<dyn BlockDevice>>),
    /// A network.
    Network(Arc<Detachable<dyn NetworkDevice>>),
}

impl ClientSide {
    pub(super) fn disk(disk: Arc<dyn BlockDevice>) -> Self {
        Self::Disk(Detachable::new(disk))
    }

    pub(super) fn network(network: Arc<dyn NetworkDevice>) -> Self {
        Self::Network(Detachable::new(network))
    }

    /// Clients have nothing of the device from here on.
    pub(super) fn detach(&self) {
        match self {
            Self::Disk(disk) => disk.detach(),
            Self::Network(network) => network.detach(),
        }
    }

    /// What clients can do with its node.
    pub(crate) fn package(&self) -> Arc<dyn Package> {
        match self {
            Self::Disk(disk) => Arc::new(BlockPackage::new(disk.clone())),
            Self::Network(device) => Arc::new(NetworkPackage::new(device.clone())),
        }
    }
}

impl fmt::Debug for ClientSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk(_) => "Disk",
            Self::Network(_) => "Network",
        })
    }
}

/// A disk for runs that are to be the same each time: what a client reads and writes is so on its
/// CPU's thread, as what its driver asks for is, and nothing depends on what the host has at hand.
pub(super) struct Repeatable<D>(pub(super) D);

impl<D: BlockDevice> BlockDevice for Repeatable<D> {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn block_bytes(&self) -> u32 {
        self.0.block_bytes()
    }

    fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn works_in_calls(&self) -> bool {
        true
    }

    fn try_read(&self, to: &mut [u8], offset: u64) -> io::Result<bool> {
        self.0.read(to, offset).map(|()| true)
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read(to, offset)
    }

    fn write(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.0.write(from, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
