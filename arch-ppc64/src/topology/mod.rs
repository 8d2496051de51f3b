//! Where a machine's memory is, how its CPUs are counted, and what is near to what.

mod affinity;
mod cpus;
mod distances;
mod form1;
mod memory_map;

pub use affinity::NumaNode;
pub(crate) use affinity::{Form, REFERENCE_POINTS_PROPERTY};
pub use cpus::{CpuTopology, CpuTopologyError};
pub use distances::{NumaDistanceError, NumaDistances};
pub use memory_map::{MemoryKind, MemoryMap, MemoryMapError, MemoryRange};
