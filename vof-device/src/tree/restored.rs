//! What tells a tree that clients have changed from one that was built with the same properties:
//! which values were set, and what room there is for more.

use super::properties::{Slot, make_room, place_of};
use super::{DeviceTree, NameId, NodeId};

/// A node that is not as it was built.
#[derive(Debug)]
pub(crate) struct ChangedNode<'a> {
    pub(crate) node: NodeId,
    /// How many properties there is room for; 0 as long as none was added or removed.
    pub(crate) room: usize,
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
            let room = self.room(node);
            (room > 0 || !set.is_empty()).then_some(ChangedNode { node, room, set })
        })
    }

    /// How many properties of `node` there is room for, where that is its own.
    pub(crate) fn room(&self, node: NodeId) -> usize {
        self.node(node).map_or(0, |node| usize::from(node.slots_room))
    }

    /// Gives `node` the values that it has in `other`, whose node has properties of the same names
    /// in the same order. Those that `is_set` get memory of their own; others that differ become
    /// as those that were built.
    pub(crate) fn restore_values(
        &mut self,
        node: NodeId,
        other: &Self,
        is_set: impl Fn(&str) -> bool,
    ) {
        let Some(start) = self.node(node).map(|node| node.slots_at as usize) else { return };
        let Some(slots) = self.slots.get_mut(start..) else { return };
        for (slot, (name, value)) in slots.iter_mut().zip(other.properties(node)) {
            if is_set(name) {
                self.values.replace(slot, value);
            } else if slot.is_boxed() || self.values.get(slot) != value {
                self.values.free(slot);
                *slot = self.values.push(value);
            }
        }
    }

    /// Gives `node` the properties that it has in `other`, and room for `room`, which is as many
    /// at least. As for memory, see [`restore_values`](Self::restore_values).
    pub(crate) fn restore_node(
        &mut self,
        node: NodeId,
        other: &Self,
        room: usize,
        is_set: impl Fn(&str) -> bool,
    ) {
        let old_names = self.names_of(node).to_vec();
        let old_slots = self.slots_of(node).to_vec();
        let mut slots = Vec::with_capacity(room);
        let mut names = Vec::with_capacity(room);
        for (name, value) in other.properties(node) {
            let id = self.names.intern(name);
            let old = place_of(&old_names, id).and_then(|at| old_slots.get(at));
            let kept = old.filter(|&slot| {
                !slot.is_boxed() && !is_set(name) && self.values.get(slot) == value
            });
            slots.push(match kept {
                Some(&slot) => slot,
                None if is_set(name) => self.values.new_slot(value),
                None => self.values.push(value),
            });
            names.push(id);
        }
        for slot in &old_slots {
            self.values.free(slot);
        }
        let Some(entry) = self.nodes.get_mut(node.0 as usize) else { return };
        entry.slots_at = self.slots.len() as u32;
        entry.names_at = self.slot_names.len() as u32;
        entry.slots_len = slots.len() as u16;
        entry.slots_room = room as u16;
        make_room(&mut self.slots, room);
        make_room(&mut self.slot_names, room);
        slots.resize(room, Slot::UNUSED);
        names.resize(room, NameId(u32::MAX));
        self.slots.append(&mut slots);
        self.slot_names.append(&mut names);
    }
}
