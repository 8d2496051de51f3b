//! Why there is nothing to start where it was looked for.

use crate::block::label::LabelError;
use crate::block::label::bootinfo::BootInfoError;
use crate::limits::{MAX_BOOTSPEC_BYTES, MAX_PATH_BYTES};
#[cfg(feature = "netboot")]
use crate::network::netboot::NetbootError;

/// Why an [`Attempt`](super::Attempt) has found nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// A device specifier names nothing in the tree.
    #[error("there is no such device")]
    NoDevice,
    /// A device specifier is longer than [`MAX_PATH_BYTES`], or arguments are longer than
    /// [`MAX_BOOTSPEC_BYTES`].
    #[error(
        "it is longer than a device specifier ({MAX_PATH_BYTES} bytes) or arguments \
         ({MAX_BOOTSPEC_BYTES} bytes) can be"
    )]
    TooLong,
    /// The device is none of those that the machine can start from.
    #[error("this device is nothing to start from")]
    NotBootable,
    /// The disk has nothing that could be started.
    #[error("there is neither a PReP partition nor \\ppc\\bootinfo.txt on it")]
    Nothing,
    /// There is no such part of the disk, or it cannot be read.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// There is a `\ppc\bootinfo.txt`, and it boots nothing.
    #[error("\\ppc\\bootinfo.txt")]
    BootInfo(#[from] BootInfoError),
    /// Nothing came from the network. (Feature `netboot`.)
    #[cfg(feature = "netboot")]
    #[error(transparent)]
    Network(#[from] NetbootError),
    /// What `\ppc\bootinfo.txt` boots is no file and no partition.
    #[error("\\ppc\\bootinfo.txt boots what is neither a file nor a partition of this disk")]
    BootInfoDevice,
}
