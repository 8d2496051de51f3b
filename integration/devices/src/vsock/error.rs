//! Why there is no such device.

use std::io;
use std::path::PathBuf;

/// A socket device that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VsockError {
    /// The guest cannot have this address (Virtio 1.2 §5.10.4).
    #[error("the guest's address is {0}, but has to be from 3 to 4294967294")]
    Cid(u64),
    /// Another guest of this host has the address, or a program acts as one.
    #[error("the guest's address {0} is another guest's on this host")]
    Taken(u64),
    /// The host's kernel has no such device, or it fails.
    #[error("cannot use the kernel's device {}", path.display())]
    Kernel {
        /// Where it is, if its module is loaded.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// There cannot be a socket of this name.
    #[error("cannot listen at {}", path.display())]
    Listen {
        /// Where it should be.
        path: PathBuf,
        /// The reason: `AddrInUse` if somebody listens there.
        #[source]
        source: io::Error,
    },
}
