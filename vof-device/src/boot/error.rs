//! Why a machine cannot be started, or its client interface not be made.

use arch_ppc64::boot;
use arch_ppc64::platform::PlatformError;

use crate::build_error::BuildError;
use crate::tree::BlobError;

/// Why a machine cannot be [started](crate::boot()), or its client interface not be
/// [made](crate::plug_in).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// What is started, the tree, or guest memory: see there.
    #[error(transparent)]
    Start(#[from] boot::BootError),
    /// The machine's tree is none that the client interface can have.
    #[error("the client interface refuses the device tree")]
    Tree(#[from] BlobError),
    /// The client interface refuses what it is made with, such as a console whose node is not in
    /// the tree.
    #[error("cannot set up the client interface")]
    Build(#[from] BuildError),
    /// The client interface cannot be in one machine with the other devices.
    #[error("cannot plug in the client interface")]
    Platform(#[from] PlatformError),
}
