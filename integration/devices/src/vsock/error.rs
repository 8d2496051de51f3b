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
