//! Why a saved state is not taken up.

use std::fmt;

use super::STATE_VERSION;
use crate::build_error::BuildError;
use crate::limits::{MAX_ADDED_BYTES, MAX_FREE_RANGES, MAX_INSTANCES};
use crate::tree::BlobError;

/// Why a [`VofState`](super::VofState) cannot be taken up; every variant names a field of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// `version` is another one.
    #[error("the state is of version {found}, and this is version {STATE_VERSION}")]
    Version {
        /// What it is.
        found: u32,
    },
    /// The machine itself cannot have a client interface.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// `ram` is not where the RAM of this machine is.
    #[error(
        "the state is of a machine with {found} bytes of RAM, and this one has {expected}, or has \
         them elsewhere"
    )]
    Ram {
        /// How many bytes the state says.
        found: u64,
        /// How many the machine has.
        expected: u64,
    },
    /// `tree` is no flattened tree.
    #[error("`tree` is no device tree")]
    Blob(#[source] BlobError),
    /// `tree` has a list of free memory, at the memory that starts at 0, and this machine has none,
    /// or the other way round.
    #[error("`tree` and this machine do not both have a list of free memory in /memory@0")]
    Memory,
    /// `tree` does not have the node of this machine's console.
    #[error("`tree` has no node {path}, the console of this machine")]
    NoPackageNode {
        /// The node.
        path: String,
    },
    /// `tree` makes a node what another package of this machine is for.
    #[error("{path} would have two packages in `tree`")]
    TwoPackages {
        /// The node.
        path: String,
    },
    /// `tree` does not have, or not as one cell, what `/chosen` tells clients of.
    #[error("`tree` has no ihandle for {name} in /chosen")]
    Chosen {
        /// The property.
        name: &'static str,
    },
    /// `added_bytes` is more than clients can have used.
    #[error("`added_bytes` is {found}, and {MAX_ADDED_BYTES} is the most")]
    Added {
        /// What it is.
        found: u64,
    },
    /// `changed` does not go with `tree`: a node that there is not, or twice, or a property that
    /// there is not.
    #[error("`changed` says of {0} what cannot be")]
    Changed(String),
    /// `free_memory` or `free_virtual` is no list of free ranges of this machine.
    #[error(
        "`{0}` is not made of at most {MAX_FREE_RANGES} ranges of RAM, in order and apart, none \
         of them the firmware's"
    )]
    Ranges(SavedTable),
    /// `instances.slots` are too many, or have a generation that there is not.
    #[error(
        "`instances.slots` has more than {MAX_INSTANCES}, or {slot} of generation {generation}"
    )]
    Slots {
        /// The slot.
        slot: usize,
        /// Its generation.
        generation: u32,
    },
    /// `instances.free` does not name each empty slot once.
    #[error("`instances.free` is not the list of the empty slots")]
    Free,
    /// An instance in `instances.slots` is none that can be.
    #[error("slot {slot} of `instances.slots` is no open package: its {what}")]
    Instance {
        /// The slot.
        slot: usize,
        /// The field that is wrong, with its value.
        what: String,
    },
    /// `console` is not the console of this machine.
    #[error("`console` is {found:?}, and this machine has {expected:?}")]
    Console {
        /// What the state says.
        found: Option<String>,
        /// What the machine has.
        expected: Option<String>,
    },
    /// `boot_arguments` or `boot_device` cannot be a part of a bootspec.
    #[error("`boot_arguments` or `boot_device` is too long, or has a NUL in it")]
    BootArguments,
}

/// A list of free ranges in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SavedTable {
    /// `free_memory`.
    Memory,
    /// `free_virtual`.
    Virtual,
}

impl fmt::Display for SavedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "free_memory",
            Self::Virtual => "free_virtual",
        })
    }
}
