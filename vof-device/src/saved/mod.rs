//! The client interface as plain data, to be saved and taken up again in another process.
//!
//! What is saved is what clients can see: the tree, claims, instances, counters. What the machine
//! supplies (console, policies, the size of RAM, which memory is the firmware's) comes from the
//! [`VofBuilder`](crate::VofBuilder) of the machine that takes the state up.

mod error;
mod restore;
mod tree;
mod version;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use error::{RestoreError, SavedTable};
pub(crate) use restore::restore;

use crate::claims::Claims;
use crate::services;
use crate::state::State;

/// The version of [`VofState`] that this crate writes and reads. Any change of what the fields
/// are or mean makes it another one.
pub const STATE_VERSION: u32 = 1;

/// What clients can see of a [`Vof`](crate::Vof) between two calls, with a version.
///
/// It is plain data of any serde format; its first field is the version, and a reader goes no
/// further when that is not [`STATE_VERSION`]. It is not trusted:
/// [`VofBuilder::restore`](crate::VofBuilder::restore) checks every field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VofState {
    /// [`STATE_VERSION`] of the crate that wrote it.
    pub version: u32,
    /// What is known.
    pub vof: Saved,
}

/// The contents of a [`VofState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Saved {
    /// The size of RAM in bytes.
    pub ram_bytes: u64,
    /// The tree, flattened (Devicetree Specification chapter 5). `available` is empty: it is what
    /// `free_memory` says.
    pub tree: Vec<u8>,
    /// Its nodes that are not as they were built.
    pub changed: Vec<SavedNode>,
    /// What clients have used of [`MAX_ADDED_BYTES`](crate::limits::MAX_ADDED_BYTES).
    pub used_bytes: u64,
    /// What is free of RAM, in order.
    pub free_memory: Vec<SavedRange>,
    /// What is free of virtual addresses, in order.
    pub free_virtual: Vec<SavedRange>,
    /// Open packages.
    pub instances: SavedInstances,
    /// The device specifier of the console's node, if there is a console.
    pub console: Option<String>,
    /// The function that the client set with `set-callback`, 0 for none.
    pub callback: u32,
    /// What the client gave the next start with `boot`.
    pub boot_arguments: Option<String>,
    /// What `milliseconds` says.
    pub milliseconds: u64,
    /// How often each service was called, by name.
    pub calls: Vec<(String, u64)>,
}

/// A node that clients or negotiation have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedNode {
    /// Its phandle.
    pub phandle: u32,
    /// How many properties there is room for; 0 as long as none was added or removed.
    pub room: u32,
    /// The names of those that were set to values of more than four bytes.
    pub set: Vec<String>,
}

/// Addresses from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedRange {
    /// The first.
    pub start: u64,
    /// The first behind it.
    pub end: u64,
}

/// Open packages, and the handles that are free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedInstances {
    /// Slots in the order of their numbers.
    pub slots: Vec<SavedSlot>,
    /// The numbers of those that are empty, the one that is used first first.
    pub free: Vec<u32>,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedSlot {
    /// How often it was used before: a part of its ihandle.
    pub generation: u32,
    /// What is open in it.
    pub instance: Option<SavedInstance>,
}

/// An open package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedInstance {
    /// The package's phandle.
    pub phandle: u32,
    /// What stood behind the `:` of the path it was opened by.
    pub arguments: String,
    /// Where the next `read` or `write` begins, in bytes. 0 for a package that cannot `seek`, and
    /// none can yet.
    pub position: u64,
}

/// What is saved of `state`.
pub(crate) fn save(state: &State, ram_bytes: u64) -> VofState {
    let calls = services::names().zip(state.calls);
    let tree = &state.tree;
    let changed = tree.changed_nodes().map(|changed| SavedNode {
        phandle: tree.phandle(changed.node),
        room: changed.room as u32,
        set: changed.set.into_iter().map(str::to_owned).collect(),
    });
    let vof = Saved {
        ram_bytes,
        tree: tree.to_blob(),
        changed: changed.collect(),
        used_bytes: (state.added_bytes + tree.set_bytes()) as u64,
        free_memory: free_ranges(&state.claims),
        free_virtual: free_ranges(&state.virtual_claims),
        instances: state.instances.save(|node| tree.phandle(node)),
        console: console(state),
        callback: state.callback,
        boot_arguments: state.boot_arguments.as_deref().map(str::to_owned),
        milliseconds: u64::try_from(state.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        calls: calls.map(|(name, count)| (name.to_owned(), count)).collect(),
    };
    VofState { version: STATE_VERSION, vof }
}

/// What is free. A client can have made many pieces of it: their list does not grow by doubling.
fn free_ranges(claims: &Claims) -> Vec<SavedRange> {
    let mut ranges = Vec::with_capacity(claims.free_count());
    ranges.extend(claims.free().map(SavedRange::from));
    ranges
}

/// The device specifier of the console.
fn console(state: &State) -> Option<String> {
    let console = state.console.as_ref()?;
    let path = state.tree.path(console.node);
    let colon = if console.arguments.is_empty() { "" } else { ":" };
    Some([&path, colon, &console.arguments].concat())
}

impl From<&Range<u64>> for SavedRange {
    fn from(range: &Range<u64>) -> Self {
        Self { start: range.start, end: range.end }
    }
}
