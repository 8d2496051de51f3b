//! From a saved tree to the machine's own with its properties.

use std::collections::{BTreeMap, BTreeSet};

use super::{RestoreError, Saved, SavedNode};
use crate::limits::{
    ADDED_PROPERTY_BYTES, ADDED_VALUE_BYTES, MAX_ADDED_BYTES, MAX_NEGOTIATED_BYTES,
    MAX_NODE_PROPERTIES,
};
use crate::policy::changes_what_is_fixed;
use crate::tree::{DeviceTree, INLINE_BYTES, NodeId, SLOT_BYTES};

/// Makes the properties of `tree`, which was just built, those of `saved`. Gives what clients have
/// used of their budget besides what the tree counts.
pub(super) fn restore(tree: &mut DeviceTree, saved: &Saved) -> Result<usize, RestoreError> {
    let limit = tree.to_blob().len() + MAX_ADDED_BYTES + MAX_NEGOTIATED_BYTES;
    if saved.tree.len() > limit {
        return Err(RestoreError::TreeBytes { found: saved.tree.len(), limit });
    }
    let other = DeviceTree::from_blob(&saved.tree).map_err(RestoreError::Blob)?;
    check_nodes(tree, &other)?;
    let changed = changed(tree, &other, &saved.changed)?;
    let used = Used::of(tree, &other, &changed);
    for node in tree.nodes() {
        restore_node(tree, &other, node, changed.get(&node))?;
    }
    // What lies on top of values: names, and room for more of them. Negotiation needs some, too,
    // which nobody counts.
    let added = saved.used_bytes.checked_sub(used.values).filter(|&added| {
        added <= MAX_ADDED_BYTES as u64 && used.names <= added + MAX_NEGOTIATED_BYTES as u64
    });
    added.map(|added| added as usize).ok_or(RestoreError::Used { found: saved.used_bytes })
}

/// A node that is not as it was built.
struct Changed<'a> {
    room: usize,
    set: BTreeSet<&'a str>,
}

impl Changed<'_> {
    fn is_set(&self, name: &str) -> bool {
        self.set.contains(name)
    }
}

/// The same nodes, with the same phandles.
fn check_nodes(tree: &DeviceTree, other: &DeviceTree) -> Result<(), RestoreError> {
    if tree.nodes().len() != other.nodes().len() {
        let path = tree.path(tree.nodes().last().unwrap_or(tree.root()));
        return Err(RestoreError::Nodes { path });
    }
    let differs = tree.nodes().find(|&node| {
        tree.parent(node) != other.parent(node)
            || tree.full_name(node) != other.full_name(node)
            || tree.phandle(node) != other.phandle(node)
    });
    differs.map_or(Ok(()), |node| Err(RestoreError::Nodes { path: tree.path(node) }))
}

fn changed<'a>(
    tree: &DeviceTree,
    other: &DeviceTree,
    saved: &'a [SavedNode],
) -> Result<BTreeMap<NodeId, Changed<'a>>, RestoreError> {
    let mut changed = BTreeMap::new();
    for SavedNode { phandle, room, set } in saved {
        let wrong = || RestoreError::Changed(format!("phandle {phandle:#x}"));
        let node = tree.node_by_phandle(*phandle).ok_or_else(wrong)?;
        let room = usize::try_from(*room).map_err(|_| wrong())?;
        let has_room =
            room == 0 || (other.properties(node).len()..=MAX_NODE_PROPERTIES).contains(&room);
        let set: BTreeSet<&str> = set.iter().map(String::as_str).collect();
        let are_there = set.iter().all(|name| other.property(node, name).is_some());
        if !has_room || !are_there || changed.insert(node, Changed { room, set }).is_some() {
            return Err(wrong());
        }
    }
    Ok(changed)
}

fn restore_node(
    tree: &mut DeviceTree,
    other: &DeviceTree,
    node: NodeId,
    changed: Option<&Changed<'_>>,
) -> Result<(), RestoreError> {
    let path = tree.path(node);
    let names = |tree: &DeviceTree| {
        let names = tree.properties(node).map(|(name, _)| name.to_owned());
        names.collect::<Vec<_>>()
    };
    for name in names(tree).iter().chain(&names(other)) {
        let (before, after) = (tree.property(node, name), other.property(node, name));
        if changes_what_is_fixed(&path, name, before, after) {
            return Err(RestoreError::Property { path, name: name.clone() });
        }
    }
    let is_set = |name: &str| changed.is_some_and(|changed| changed.is_set(name));
    match changed {
        Some(changed) if changed.room > 0 => tree.restore_node(node, other, changed.room, is_set),
        _ if tree.room(node) == 0 && names(tree) == names(other) => {
            tree.restore_values(node, other, is_set);
        }
        _ => return Err(RestoreError::Changed(path)),
    }
    Ok(())
}

/// What of a tree counts against the budget of clients.
struct Used {
    /// Values that were set.
    values: u64,
    /// Properties that were not built, and the room of nodes; at the least.
    names: u64,
}

impl Used {
    fn of(tree: &DeviceTree, other: &DeviceTree, changed: &BTreeMap<NodeId, Changed<'_>>) -> Self {
        let mut used = Self { values: 0, names: 0 };
        for (&node, changed) in changed {
            if changed.room > tree.room(node) {
                used.names += (changed.room * SLOT_BYTES) as u64;
            }
            for (name, value) in other.properties(node) {
                if changed.is_set(name) && value.len() > INLINE_BYTES {
                    used.values += (value.len() + ADDED_VALUE_BYTES) as u64;
                }
                if tree.property(node, name).is_none() {
                    used.names += (name.len() + ADDED_PROPERTY_BYTES) as u64;
                }
            }
        }
        used
    }
}
