//! What tells a tree that clients have changed from one that was built with the same properties:
//! which values were set, and whose lists of properties are others.

use super::properties::room_of;
use super::{DeviceTree, NodeId};

/// A node that is not as it was built.
#[derive(Debug)]
pub(crate) struct ChangedNode<'a> {
    pub(crate) node: NodeId,
    /// Whether properties were added or removed.
    pub(crate) has_other_list: bool,
    /// Those whose values have memory of their own, which they got when they were set.
    pub(crate) set: Vec<&'a str>,
}

impl DeviceTree {
    /// The nodes that are not as they were built.
    pub(crate) fn changed_nodes(&self) -> impl Iterator<Item = ChangedNode<'_>> {
        self.nodes().filter_map(|node| {
            let names = self.names_of(node).iter();
            let set = names.zip(self.slots_of(node)).filter(|(_, slot)| slot.is_boxed());
            let set: Vec<_> = set.map(|(&name, _)| self.names.text(name)).collect();
            let has_other_list = self.node(node).is_some_and(|node| node.slots_room > 0);
            let is_changed = has_other_list || !set.is_empty();
            is_changed.then_some(ChangedNode { node, has_other_list, set })
        })
    }

    /// Makes a node what it was in a tree that told these changes of it. Its values are what they
    /// are; gives false where one of those that were set is not there.
    pub(crate) fn mark_changed(&mut self, changed: &ChangedNode<'_>) -> bool {
        let node = changed.node;
        if changed.has_other_list {
            self.move_slots(node, room_of(self.slots_of(node).len()));
        }
        changed.set.iter().all(|name| {
            let at = self.name_id(name.as_bytes()).and_then(|id| self.slot_at(node, id));
            let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) else { return false };
            let value = self.values.get(slot).to_vec();
            self.values.replace(slot, &value);
            true
        })
    }
}
