//! Why a machine is not made larger or smaller.

use arch_ppc64::hotplug::PlugError;
use arch_ppc64::layout::LMB_BYTES;

use crate::error::VmmError;

/// Why a machine does not get what it was to have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// There is no machine yet, or none any more.
    #[error("no machine is running")]
    NotRunning,
    /// It starts again: to be asked again.
    #[error("the machine is starting again")]
    Restarting,
    /// It was started so that nothing can be plugged.
    #[error(
        "the machine has no room for more: start it with --cpus max= or --memory hotplug_size="
    )]
    NoRoom,
    /// Cores are plugged whole.
    #[error("{cpus} CPUs are no whole number of cores, which have {threads} threads each")]
    PartOfCore {
        /// What was asked for.
        cpus: u32,
        /// Threads of a core.
        threads: u32,
    },
    /// The core of the first CPU stays.
    #[error("the machine must have at least {min} CPUs, not {cpus}")]
    TooFewCpus {
        /// What was asked for.
        cpus: u32,
        /// The fewest that it can have.
        min: u32,
    },
    /// There is no room for more.
    #[error("the machine can have at most {max} CPUs (--cpus max=), not {cpus}")]
    TooManyCpus {
        /// What was asked for.
        cpus: u32,
        /// The most that it can have.
        max: u32,
    },
    /// Memory is plugged in blocks.
    #[error(
        "{bytes} bytes of memory are not the {boot} of the start and a multiple of {LMB_BYTES} \
         (256 MiB)"
    )]
    PartOfBlock {
        /// What was asked for.
        bytes: u64,
        /// Memory at the start.
        boot: u64,
    },
    /// The memory of the start stays.
    #[error("the machine must have at least the {min} bytes of memory of its start, not {bytes}")]
    TooLittleMemory {
        /// What was asked for.
        bytes: u64,
        /// The least that it can have.
        min: u64,
    },
    /// There is no room for more.
    #[error("the machine can have at most {max} bytes of memory (hotplug_size=), not {bytes}")]
    TooMuchMemory {
        /// What was asked for.
        bytes: u64,
        /// The most that it can have.
        max: u64,
    },
    /// The platform does not have it so.
    #[error("the machine's platform refuses")]
    Plug(#[from] PlugError),
    /// The host has no room for it.
    #[error("the host cannot make {what}")]
    Host {
        /// What was to be made.
        what: String,
        /// The reason.
        #[source]
        source: VmmError,
    },
}

impl ResizeError {
    /// Whether whoever asked is to blame, and not the host.
    pub const fn is_the_users(&self) -> bool {
        !matches!(self, Self::Host { .. })
    }
}
