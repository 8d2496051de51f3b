//! What a device tree cannot have.

/// A tree that could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FdtError {
    /// A node or a property cannot have this name (Devicetree specification v0.4, §2.2).
    #[error("{name:?} cannot be a name in the device tree")]
    Name {
        /// The name.
        name: String,
    },
    /// A node is made that is there already.
    #[error("the device tree has a node {path} already")]
    DuplicateNode {
        /// The full path.
        path: String,
    },
    /// A property is set that has a value already: each has one writer.
    #[error("the node {path} has a property {name} already")]
    DuplicateProperty {
        /// The full path of the node.
        path: String,
        /// The name of the property.
        name: String,
    },
    /// A node is looked for that the tree does not have.
    #[error("the device tree has no node {path}")]
    NoSuchNode {
        /// The full path.
        path: String,
    },
    /// A node is deeper below the root than readers look.
    #[error("the node {path} is too deep below the root; the most is {most} levels")]
    TooDeep {
        /// The full path.
        path: String,
        /// How many levels there may be, the root's included.
        most: usize,
    },
    /// An address or a size is beyond what the guest is told of it in: a 32-bit cell, or an end
    /// that wraps.
    #[error("{value:#x} is beyond what the device tree can say there")]
    Address {
        /// The address, or the size in bytes.
        value: u64,
    },
    /// Two ranges of memory that the guest must leave alone share an address, or one is empty.
    #[error("the reserved memory at {at:#x} is empty or overlaps with other reserved memory")]
    Reserved {
        /// Where the range begins.
        at: u64,
    },
    /// The blob is not what the writer of blocks is known to write.
    #[error("the device tree cannot be laid out at byte {at}")]
    Layout {
        /// Offset in the blob.
        at: usize,
    },
    /// The writer of blocks refused something that was taken for possible.
    #[error("the device tree cannot be written: {reason}")]
    Writer {
        /// What it said.
        reason: String,
    },
    /// The blob would pass 4 GiB, which its header cannot say.
    #[error("the device tree is too large")]
    TooLarge,
}
