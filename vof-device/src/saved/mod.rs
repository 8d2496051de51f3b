//! The client interface as plain data, to be saved and taken up again in another process.
//!
//! What is saved is what clients can see: the tree, claims, instances. What the machine supplies
//! (console, packages, policies, where RAM is, which memory is the firmware's) comes from the
//! builder of the machine that takes the state up.

mod error;
mod hex;
mod restore;
mod version;
mod vof;

use std::ops::Range;

use arch_ppc64::platform::{StateError, StateValue};
use serde::{Deserialize, Serialize};

pub use error::{RestoreError, SavedTable};

use crate::attachments::Attachments;
use crate::claims::Claims;
use crate::instances::{Open, OpenDevice};
use crate::interface::{Interface, lock};

/// The version of [`VofState`] that this crate writes and reads. Any change of what the fields
/// are or mean makes it another one.
pub const STATE_VERSION: u32 = 2;

/// What clients can see of a [`Vof`](crate::Vof) between two calls, with a version.
///
/// It is plain data of any serde format; its first field is the version, and a reader goes no
/// further when that is not [`STATE_VERSION`]. It is not trusted:
/// [`VofBuilder::restore`](crate::VofBuilder::restore) checks every field.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VofState {
    /// [`STATE_VERSION`] of the crate that wrote it.
    pub version: u32,
    /// What is known.
    pub vof: Saved,
}

/// The contents of a [`VofState`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Saved {
    /// Where RAM is, in order and apart.
    pub ram: Vec<SavedRange>,
    /// The tree, flattened (Devicetree Specification chapter 5). `available` is empty: it is what
    /// `free_memory` says.
    #[serde(with = "hex")]
    pub tree: Vec<u8>,
    /// Its nodes that are not as they were built.
    pub changed: Vec<SavedNode>,
    /// What clients have used of [`MAX_ADDED_BYTES`](crate::limits::MAX_ADDED_BYTES) for the names
    /// of new properties and their places; for the values that were set, it is in `changed`.
    pub added_bytes: u64,
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
    /// The device specifier of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_device: Option<String>,
    /// What `milliseconds` says.
    pub milliseconds: u64,
}

/// A node that clients or negotiation have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedNode {
    /// Its phandle.
    pub phandle: u32,
    /// Whether properties were added or removed.
    pub has_other_list: bool,
    /// The names of those that were set to values of more than four bytes.
    pub set: Vec<String>,
}

/// Addresses from `start` to before `end`: a list of the two, for there can be many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct SavedRange {
    /// The first.
    pub start: u64,
    /// The first behind it.
    pub end: u64,
}

/// Open packages, and the handles that are free.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedInstances {
    /// Slots in the order of their numbers.
    pub slots: Vec<SavedSlot>,
    /// The numbers of those that are empty, the one that is used first first.
    pub free: Vec<u32>,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedSlot {
    /// How often it was used before: a part of its ihandle.
    pub generation: u32,
    /// What is open in it.
    pub instance: Option<SavedInstance>,
}

/// An open package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedInstance {
    /// The package's phandle.
    pub phandle: u32,
    /// What stood behind the `:` of the path it was opened by.
    pub arguments: String,
    /// What the instance says of itself; `None` for one that is as if it were opened just now.
    pub state: Option<StateValue>,
    /// The call of it that had no answer yet.
    pub in_flight: Option<SavedCall>,
}

/// A call that will be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SavedCall {
    /// The CPU that makes it, by its index.
    pub cpu: u32,
    /// The service's name.
    pub service: String,
    /// Its arguments.
    pub arguments: Vec<u32>,
}

/// What is saved of an interface.
fn save(interface: &Interface) -> Result<VofState, StateError> {
    // Nothing of this process is to be done when another one goes on.
    interface.attachments.settle();
    let slots = saved_slots(interface)?;
    let opened = interface.opened();
    let state = interface.state();
    let tree = &state.tree;
    let changed = tree.changed_nodes().map(|changed| SavedNode {
        phandle: tree.phandle(changed.node),
        has_other_list: changed.has_other_list,
        set: changed.set.into_iter().map(str::to_owned).collect(),
    });
    let vof = Saved {
        ram: ram(&state.claims),
        tree: tree.to_blob(),
        changed: changed.collect(),
        added_bytes: state.added_bytes as u64,
        free_memory: free_ranges(&state.claims),
        free_virtual: free_ranges(&state.virtual_claims),
        instances: SavedInstances { slots, free: opened.instances.free().collect() },
        console: console(&interface.attachments),
        callback: state.callback,
        boot_arguments: state.boot_arguments.as_deref().map(str::to_owned),
        boot_device: state.boot_device.as_deref().map(str::to_owned),
        milliseconds: u64::try_from(state.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    Ok(VofState { version: STATE_VERSION, vof })
}

/// Instances are asked with no lock of the interface held.
fn saved_slots(interface: &Interface) -> Result<Vec<SavedSlot>, StateError> {
    let (mut slots, mut devices) = (Vec::new(), Vec::new());
    {
        let opened = interface.opened();
        let tree = &interface.state().tree;
        let all = opened.instances.slots();
        slots.reserve_exact(all.len());
        devices.reserve_exact(all.len());
        for slot in all {
            let instance = slot.open.as_ref().map(|Open { node, arguments, .. }| SavedInstance {
                phandle: tree.phandle(*node),
                arguments: arguments.as_ref().to_owned(),
                state: None,
                in_flight: None,
            });
            slots.push(SavedSlot { generation: slot.generation, instance });
            devices.push(slot.open.as_ref().and_then(|open| open.device.clone()));
        }
    }
    for (slot, device) in slots.iter_mut().zip(devices) {
        if let (Some(instance), Some(device)) = (&mut slot.instance, device) {
            (instance.state, instance.in_flight) = saved_device(&device)?;
        }
    }
    Ok(slots)
}

fn saved_device(
    device: &OpenDevice,
) -> Result<(Option<StateValue>, Option<SavedCall>), StateError> {
    let in_use = lock(&device.in_use);
    let in_flight = in_use.in_flight.as_ref().map(|call| SavedCall {
        cpu: call.caller.0,
        service: call.service.to_owned(),
        arguments: call.arguments.clone(),
    });
    Ok((in_use.instance.state()?, in_flight))
}

/// Where RAM is.
fn ram(claims: &Claims) -> Vec<SavedRange> {
    let spans = claims.memory().spans();
    spans.map(|(start, bytes)| SavedRange { start: start.0, end: start.0 + bytes }).collect()
}

/// What is free. A client can have made many pieces of it: their list does not grow by doubling.
fn free_ranges(claims: &Claims) -> Vec<SavedRange> {
    let mut ranges = Vec::with_capacity(claims.free_count());
    ranges.extend(claims.free().map(SavedRange::from));
    ranges
}

/// The device specifier of the console.
fn console(attachments: &Attachments) -> Option<String> {
    let console = attachments.console.as_ref()?;
    let colon = if console.arguments.is_empty() { "" } else { ":" };
    Some([&console.path, colon, &console.arguments].concat())
}

impl From<&Range<u64>> for SavedRange {
    fn from(range: &Range<u64>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl From<(u64, u64)> for SavedRange {
    fn from((start, end): (u64, u64)) -> Self {
        Self { start, end }
    }
}

impl From<SavedRange> for (u64, u64) {
    fn from(range: SavedRange) -> Self {
        (range.start, range.end)
    }
}
