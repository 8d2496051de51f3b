//! What is near to what (LoPAPR §15, "Non Uniform Memory Access Option").

use std::fmt;

/// A NUMA node, by the number that the tree knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NumaNode(pub u8);

impl fmt::Display for NumaNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// The associativity domains of memory of a node, highest level first: what its
/// `ibm,associativity` says after the count. The last is the NUMA node; all of a machine is in one
/// domain of each level above.
pub fn memory_domains(node: NumaNode) -> [u32; 4] {
    [0, 0, 0, node.0.into()]
}
