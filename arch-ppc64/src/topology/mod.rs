//! Where a machine's memory is, how its CPUs are counted, and what is near to what.

mod affinity;
mod cpus;
mod distances;
mod memory_map;

pub use affinity::{NumaNode, memory_domains};
pub use cpus::{CpuTopology, CpuTopologyError};
pub use distances::{NumaDistanceError, NumaDistances};
pub use memory_map::{MemoryKind, MemoryMap, MemoryMapError, MemoryRange};
