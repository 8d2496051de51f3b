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

/// Which levels of associativity count (LoPAPR chapter 15, "Relative Performance Distance"): a property of
/// `/rtas`.
pub(crate) const REFERENCE_POINTS_PROPERTY: &str = "ibm,associativity-reference-points";

/// How associativity is to be read, as guest and platform agree on it (LoPAPR table 244, vector 5 byte 5).
///
/// The lists are the same in each form: the NUMA node is the fourth of a list's domains, and above it
/// are those of form 1. What differs is which of them count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// What is there without an agreement: the second level named is the node. Distances are none.
    Form0,
    /// The first level named is the node, the others are those above it.
    Form1,
    /// The level named is the node; distances are in tables beside it (not in LoPAPR 1.1; Linux's
    /// `powerpc/associativity` document).
    Form2,
}

impl Form {
    /// The value of [`REFERENCE_POINTS_PROPERTY`].
    pub(crate) const fn reference_points(self) -> &'static [u32] {
        match self {
            Self::Form0 => &[4, 4],
            Self::Form1 => &[4, 3, 2, 1],
            Self::Form2 => &[4],
        }
    }
}
