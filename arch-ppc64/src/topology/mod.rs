//! Where a machine's memory is, and what is near to what.

mod affinity;
mod memory_map;

pub use affinity::{NumaNode, cpu_domains, memory_domains};
pub use memory_map::{MemoryKind, MemoryMap, MemoryMapError, MemoryRange};
