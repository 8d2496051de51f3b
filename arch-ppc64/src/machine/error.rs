//! Why a configuration is none of a machine.

use crate::cpu::CpuModel;
use crate::hotplug::Resource;
use crate::layout::{
    LMB_BYTES, MAX_CMDLINE_BYTES, MAX_CPUS, MAX_MEMORY_BYTES, MIN_MEMORY_BYTES, RAM_START,
};
use crate::topology::{CpuTopologyError, MemoryMapError, NumaDistanceError, NumaNode};

/// A configuration that no machine can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such memory.
    #[error(transparent)]
    Memory(MemoryMapError),
    /// Too little memory for any guest.
    #[error("RAM of {bytes} bytes at 0 is too small; the least is {MIN_MEMORY_BYTES} (64 MiB)")]
    MemoryTooSmall {
        /// The size of the first range of RAM.
        bytes: u64,
    },
    /// Too much memory, what may be plugged included.
    #[error("memory that ends at {end} is too large; the most is {MAX_MEMORY_BYTES} (16 TiB)")]
    MemoryTooLarge {
        /// Where memory ends, the hot-pluggable included.
        end: u64,
    },
    /// Memory that may be plugged comes in whole memory blocks, beside whole memory blocks.
    #[error(
        "with hot-pluggable memory, addresses and sizes of all memory must be multiples of \
         {LMB_BYTES} (256 MiB); {bytes} bytes at {start:#x} are not"
    )]
    MemoryNotBlocks {
        /// Where the range begins.
        start: u64,
        /// Its size.
        bytes: u64,
    },
    /// The machine has no place for it.
    #[error("{resource} is nothing that can be plugged into this machine")]
    NotPluggable {
        /// What it is.
        resource: Resource,
    },
    /// The processor does not translate addresses so.
    #[error(
        "a {model} translates addresses by hashed page tables only: mmu=auto and mmu=hash are \
             possible"
    )]
    NoRadix {
        /// The processor.
        model: CpuModel,
    },
    /// The processor has no XIVE.
    #[error(
        "a {model} takes interrupts by XICS only: interrupts=auto and interrupts=xics are \
             possible"
    )]
    NoXive {
        /// The processor.
        model: CpuModel,
    },
    /// A machine without CPUs.
    #[error("there must be at least 1 virtual CPU at boot, not 0")]
    NoCpus,
    /// There may be fewer CPUs than there are.
    #[error("at most {max} virtual CPUs are fewer than the {boot} at boot")]
    FewerThanBoot {
        /// CPUs at boot.
        boot: u32,
        /// The most there may be.
        max: u32,
    },
    /// More CPUs than a guest kernel can have.
    #[error("{max} virtual CPUs are too many; the most is {MAX_CPUS}")]
    TooManyCpus {
        /// What was asked for.
        max: u32,
    },
    /// The CPUs cannot be arranged in cores so.
    #[error(transparent)]
    Topology(#[from] CpuTopologyError),
    /// The topology is one of other CPUs.
    #[error("there may be {max} virtual CPUs, but the topology is of {topology}")]
    OtherCpus {
        /// How many the topology has.
        topology: u32,
        /// The most there may be.
        max: u32,
    },
    /// Two NUMA nodes cannot be so far from each other.
    #[error(transparent)]
    Distance(#[from] NumaDistanceError),
    /// A distance is one from a NUMA node with neither memory nor CPUs, which is no node to a
    /// guest.
    #[error("there is a distance from NUMA {node}, which has neither memory nor CPUs")]
    NoSuchNode {
        /// The node.
        node: NumaNode,
    },
    /// Memory of several NUMA nodes comes in whole memory blocks: a guest knows the node of a
    /// block.
    #[error(
        "memory of several NUMA nodes needs addresses and sizes that are multiples of {LMB_BYTES} \
         (256 MiB); {bytes} bytes at {start:#x}, of {node}, are not"
    )]
    NodeNotBlocks {
        /// The node.
        node: NumaNode,
        /// Where the range begins.
        start: u64,
        /// Its size.
        bytes: u64,
    },
    /// The command line does not fit into the kernel's buffer.
    #[error("the command line has {bytes} bytes; the most is {MAX_CMDLINE_BYTES}")]
    CmdlineTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The command line would end early: it is a C string for the guest.
    #[error("the command line has a NUL at byte {at}")]
    CmdlineNul {
        /// Where.
        at: usize,
    },
}

impl From<MemoryMapError> for ConfigError {
    fn from(error: MemoryMapError) -> Self {
        match error {
            MemoryMapError::Empty { start: RAM_START } => Self::MemoryTooSmall { bytes: 0 },
            error => Self::Memory(error),
        }
    }
}
