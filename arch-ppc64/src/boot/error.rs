//! Why a machine cannot be started.

use crate::fdt::FdtError;
use crate::loader::LoadError;
use crate::ram::MemoryFault;
use crate::rtas::InstantiateError;

/// Why a machine cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The kernel or the initial RAM disk cannot be used, or there is no room for them:
    /// [`LoadError::part`] says which of the two it is about.
    #[error("cannot load what the machine starts from")]
    Load(#[from] LoadError),
    /// The tree cannot be made.
    #[error("cannot describe the machine to the guest")]
    Fdt(#[from] FdtError),
    /// The flat tree is longer than the one that its place was planned for: a device describes
    /// itself by other properties each time.
    #[error("the device tree has {bytes} bytes, and {planned} were planned for")]
    TreeGrew {
        /// How many bytes there is room for.
        planned: u64,
        /// How many bytes it has.
        bytes: u64,
    },
    /// RTAS cannot be where it was planned to be.
    #[error("cannot put RTAS in place")]
    Rtas(#[from] InstantiateError),
    /// RAM is not where the machine has it.
    #[error("cannot write to guest memory")]
    Memory(#[from] MemoryFault),
    /// The machine is for the other way in.
    #[error(
        "the machine has x-vof {}, and is started {} the client interface",
        if *.x_vof { "on" } else { "off" },
        if *.x_vof { "without" } else { "with" }
    )]
    OtherWay {
        /// What [`Machine::x_vof`](crate::Machine::x_vof) says.
        x_vof: bool,
    },
}
