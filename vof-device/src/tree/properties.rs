//! Properties of the live tree (IEEE 1275 §3.2.1).

use super::{DeviceTree, NameId, NodeId};
use crate::limits::{ADDED_VALUE_BYTES, MAX_NODE_PROPERTIES, MAX_PROPERTY_NAME_BYTES};

/// Why a property cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The name is empty, too long, or has characters that names cannot have.
    #[error(
        "a property name has 1 to {MAX_PROPERTY_NAME_BYTES} visible ASCII characters without `/`"
    )]
    Name,
    /// The phandle of a node never changes.
    #[error("`phandle` cannot be changed")]
    Phandle,
    /// The node has as many properties as it can.
    #[error("the node has {MAX_NODE_PROPERTIES} properties, which is the most")]
    TooMany,
    /// The value does not fit into a flattened tree.
    #[error("a value of {0} bytes is too long; the most is {MAX_VALUE_BYTES}")]
    TooLong(usize),
}

/// The answer to "which property comes after this one?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextProperty<'a> {
    /// The name of the next property.
    Name(&'a str),
    /// The one before was the last.
    Last,
    /// The one before is not a property of the node.
    Unknown,
}

/// A property's value as a client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Bytes of the tree.
    Stored(&'a [u8]),
    /// The node's name, which stands for a `name` property and ends with a NUL.
    Name(&'a str),
}

impl Value<'_> {
    /// Length in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Stored(bytes) => bytes.len(),
            Self::Name(name) => name.len() + 1,
        }
    }
}

impl DeviceTree {
    /// The value of the property `name` of `node`, if it has one.
    ///
    /// The `name` that IEEE 1275 wants every node to have is in [`DeviceTree::name`].
    pub fn property(&self, node: NodeId, name: &str) -> Option<&[u8]> {
        let id = self.names.get(name.as_bytes())?;
        self.stored(node, id)
    }

    /// The properties of `node` with their values, in order.
    pub fn properties(&self, node: NodeId) -> impl ExactSizeIterator<Item = (&str, &[u8])> + '_ {
        let names = self.names_of(node).iter().map(|&name| self.names.text(name));
        names.zip(self.slots_of(node).iter().map(|slot| self.values.get(slot)))
    }

    /// Which property comes after `previous`; the empty name asks for the first.
    ///
    /// A node without a `name` property shows one as its last.
    pub fn next_property(&self, node: NodeId, previous: &[u8]) -> NextProperty<'_> {
        match self.next_property_with_nul(node, previous) {
            NextProperty::Name(name) => NextProperty::Name(name.strip_suffix('\0').unwrap_or(name)),
            other => other,
        }
    }

    /// As [`next_property`](Self::next_property), and the name has a NUL behind it.
    pub(crate) fn next_property_with_nul(&self, node: NodeId, previous: &[u8]) -> NextProperty<'_> {
        let names = self.names_of(node);
        let next = if previous.is_empty() {
            0
        } else {
            match self.names.get(previous).and_then(|id| place_of(names, id)) {
                Some(at) => at + 1,
                None if previous == b"name" => return NextProperty::Last,
                None => return NextProperty::Unknown,
            }
        };
        match names.get(next) {
            Some(&name) => NextProperty::Name(self.names.text_with_nul(name)),
            None if self.names.get(b"name").is_some_and(|id| names.contains(&id)) => {
                NextProperty::Last
            }
            None => NextProperty::Name("name\0"),
        }
    }

    /// Sets the property `name` of `node` to `value`; a new one becomes the node's last.
    ///
    /// # Errors
    /// [`SetError`]; nothing has changed then.
    pub fn set_property(&mut self, node: NodeId, name: &str, value: &[u8]) -> Result<(), SetError> {
        self.check(node, name, value)?;
        let known = self.names.get(name.as_bytes());
        if let Some(at) = known.and_then(|id| self.slot_at(node, id)) {
            if let Some(slot) = self.slots.get_mut(at) {
                self.values.replace(slot, value);
            }
            return Ok(());
        }
        let (slot_at, name_at) = self.new_slot(node)?;
        let name = self.names.intern(name);
        if let Some(place) = self.slots.get_mut(slot_at) {
            *place = self.values.new_slot(value);
        }
        if let Some(place) = self.slot_names.get_mut(name_at) {
            *place = name;
        }
        Ok(())
    }

    /// Whether a property can have this name and value, where there is room for it.
    pub(super) fn check(&self, node: NodeId, name: &str, value: &[u8]) -> Result<(), SetError> {
        if !is_property_name(name.as_bytes()) {
            return Err(SetError::Name);
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(SetError::TooLong(value.len()));
        }
        if name == "phandle" && self.property(node, name) != Some(value) {
            return Err(SetError::Phandle);
        }
        Ok(())
    }

    /// Removes the property `name` of `node`; tells whether there was one. `phandle` stays.
    pub fn remove_property(&mut self, node: NodeId, name: &str) -> bool {
        if name == "phandle" {
            return false;
        }
        let id = self.names.get(name.as_bytes());
        let Some(at) = id.and_then(|id| place_of(self.names_of(node), id)) else { return false };
        if self.node(node).is_some_and(|node| node.slots_room == 0) {
            self.move_slots(node, room_of(self.slots_of(node).len()));
        }
        let Some(entry) = self.nodes.get_mut(node.0 as usize) else { return false };
        let len = usize::from(entry.slots_len);
        let (slots_at, names_at) = (entry.slots_at as usize, entry.names_at as usize);
        entry.slots_len -= 1;
        if let Some(slots) = self.slots.get_mut(slots_at + at..slots_at + len) {
            if let Some(slot) = slots.first() {
                self.values.free(slot);
            }
            slots.rotate_left(1);
        }
        if let Some(names) = self.slot_names.get_mut(names_at + at..names_at + len) {
            names.rotate_left(1);
        }
        true
    }

    /// The value of a property as a client sees it: `name` is always there.
    #[inline]
    pub(crate) fn value(&self, node: NodeId, name: &[u8]) -> Option<Value<'_>> {
        let stored = self.names.get(name).and_then(|id| self.stored(node, id));
        match stored {
            Some(bytes) => Some(Value::Stored(bytes)),
            None if name == b"name" => Some(Value::Name(self.name(node))),
            None => None,
        }
    }

    /// The number of a name that some property has.
    #[inline]
    pub(crate) fn name_id(&self, name: &[u8]) -> Option<NameId> {
        self.names.get(name)
    }

    /// Length in bytes of all values that were set since the tree was built and are still there,
    /// without those that need no memory of their own; each counts [`ADDED_VALUE_BYTES`] more.
    pub(crate) fn set_bytes(&self) -> usize {
        let boxes = self.values.boxes.len() - self.values.free_boxes.len();
        self.values.boxed_bytes + boxes * ADDED_VALUE_BYTES
    }

    /// Host memory in bytes that one more property of `node` takes from the tables of slots.
    pub(crate) fn new_slot_bytes(&self, node: NodeId) -> usize {
        let len = self.slots_of(node).len();
        let is_full = self.node(node).is_some_and(|node| len >= usize::from(node.slots_room));
        if is_full { room_of(len + 1) * SLOT_BYTES } else { 0 }
    }

    #[inline]
    fn stored(&self, node: NodeId, name: NameId) -> Option<&[u8]> {
        let slot = self.slots_of(node).get(place_of(self.names_of(node), name)?)?;
        Some(self.values.get(slot))
    }

    /// The names of the slots of `node`, in order.
    #[inline]
    pub(super) fn names_of(&self, node: NodeId) -> &[NameId] {
        self.node(node)
            .and_then(|node| {
                let start = node.names_at as usize;
                self.slot_names.get(start..start + usize::from(node.slots_len))
            })
            .unwrap_or_default()
    }

    #[inline]
    pub(super) fn slots_of(&self, node: NodeId) -> &[Slot] {
        self.node(node)
            .and_then(|node| {
                let start = node.slots_at as usize;
                self.slots.get(start..start + usize::from(node.slots_len))
            })
            .unwrap_or_default()
    }

    pub(super) fn slot_at(&self, node: NodeId, name: NameId) -> Option<usize> {
        let within = place_of(self.names_of(node), name)?;
        self.node(node).map(|node| node.slots_at as usize + within)
    }

    /// Makes room for one more slot of `node`, and tells the places of the slot and of its name. A
    /// node whose room is full gets twice the room, so that slots are moved a few times each.
    fn new_slot(&mut self, id: NodeId) -> Result<(usize, usize), SetError> {
        let len = self.slots_of(id).len();
        let node = self.node(id).ok_or(SetError::TooMany)?;
        if len >= MAX_NODE_PROPERTIES {
            return Err(SetError::TooMany);
        }
        if len >= usize::from(node.slots_room) {
            self.move_slots(id, room_of(len + 1));
        }
        let node = self.nodes.get_mut(id.0 as usize).ok_or(SetError::TooMany)?;
        node.slots_len += 1;
        Ok((node.slots_at as usize + len, node.names_at as usize + len))
    }

    /// Moves the slots of `node` and their names to the ends of all, with room for so many.
    pub(super) fn move_slots(&mut self, id: NodeId, room: usize) {
        let Some(node) = self.nodes.get_mut(id.0 as usize) else { return };
        let of = |at: u32| at as usize..at as usize + usize::from(node.slots_len);
        let (slots, names) = (of(node.slots_at), of(node.names_at));
        node.slots_at = self.slots.len() as u32;
        node.names_at = self.slot_names.len() as u32;
        node.slots_room = room as u16;
        make_room(&mut self.slots, room);
        make_room(&mut self.slot_names, room);
        self.slots.extend_from_within(slots);
        self.slots.resize(node.slots_at as usize + room, Slot::UNUSED);
        self.slot_names.extend_from_within(names);
        self.slot_names.resize(node.names_at as usize + room, NameId(u32::MAX));
    }
}

/// How much room a node gets that has so many properties, and no list that it shares: whoever takes
/// the tree up comes to the same.
pub(super) fn room_of(len: usize) -> usize {
    len.next_power_of_two().clamp(4, MAX_NODE_PROPERTIES)
}

/// Makes room for `more` entries in a table, a step at a time: twice the room, as a vector takes by
/// itself, would let one property of a client double what a large tree takes.
fn make_room<T>(table: &mut Vec<T>, more: usize) {
    if table.capacity() - table.len() < more {
        table.reserve_exact(more.max(ROOM_STEP));
    }
}

/// Entries that a table of slots, or of their names, gets at once.
const ROOM_STEP: usize = 8192;

/// Where a name is in a list.
#[inline]
fn place_of(names: &[NameId], name: NameId) -> Option<usize> {
    names.iter().position(|&other| other == name)
}

/// Whether these bytes can be a property's name (IEEE 1275 §3.2.2.1.1 and PAPR's longer ones).
pub(crate) fn is_property_name(name: &[u8]) -> bool {
    (1..=MAX_PROPERTY_NAME_BYTES).contains(&name.len())
        && name.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'/')
}

/// The longest value: its length shares 32 bits with one flag.
pub(super) const MAX_VALUE_BYTES: usize = (1 << 30) - 1;

const BOXED: u32 = 1 << 31;
/// Values of up to so many bytes are in their slots.
const INLINE_BYTES: usize = 4;

/// What a property takes of a node's room, in bytes.
const SLOT_BYTES: usize = size_of::<Slot>() + size_of::<NameId>();

/// Where the value of a property is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Length in bytes; [`BOXED`] when the value is a box.
    len: u32,
    /// The value itself when it has up to four bytes, else (native-endian) where it starts in the
    /// arena, or which box it is.
    payload: [u8; INLINE_BYTES],
}

impl Slot {
    const UNUSED: Self = Self { len: 0, payload: [0; INLINE_BYTES] };

    /// Whether its value has memory of its own, as one that was set after the tree was built.
    #[inline]
    pub(super) fn is_boxed(&self) -> bool {
        self.len & BOXED != 0
    }

    fn place(&self) -> usize {
        u32::from_ne_bytes(self.payload) as usize
    }
}

/// The values of all properties: those of the blob in one arena, those set later in boxes of
/// their own, which are freed when they are set again.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    pub(super) arena: Vec<u8>,
    boxes: Vec<Box<[u8]>>,
    free_boxes: Vec<u32>,
    /// Length of all boxes together.
    boxed_bytes: usize,
}

impl Values {
    /// A slot whose value lies in the arena, for when the tree is built.
    pub(super) fn push(&mut self, value: &[u8]) -> Slot {
        let len = value.len() as u32;
        if let Some(payload) = inline(value) {
            return Slot { len, payload };
        }
        let payload = (self.arena.len() as u32).to_ne_bytes();
        self.arena.extend_from_slice(value);
        Slot { len, payload }
    }

    #[inline]
    pub(super) fn get<'a>(&'a self, slot: &'a Slot) -> &'a [u8] {
        if slot.is_boxed() {
            return self.boxes.get(slot.place()).map_or(&[], |value| value);
        }
        let len = slot.len as usize;
        if len <= INLINE_BYTES {
            return slot.payload.get(..len).unwrap_or_default();
        }
        let start = slot.place();
        self.arena.get(start..start + len).unwrap_or_default()
    }

    pub(super) fn new_slot(&mut self, value: &[u8]) -> Slot {
        if let Some(payload) = inline(value) {
            return Slot { len: value.len() as u32, payload };
        }
        self.boxed_bytes += value.len();
        let number = self.free_boxes.pop().unwrap_or(self.boxes.len() as u32);
        match self.boxes.get_mut(number as usize) {
            Some(place) => *place = value.into(),
            None => self.boxes.push(value.into()),
        }
        Slot { len: value.len() as u32 | BOXED, payload: number.to_ne_bytes() }
    }

    pub(super) fn replace(&mut self, slot: &mut Slot, value: &[u8]) {
        self.free(slot);
        *slot = self.new_slot(value);
    }

    pub(super) fn free(&mut self, slot: &Slot) {
        if slot.is_boxed() {
            if let Some(place) = self.boxes.get_mut(slot.place()) {
                self.boxed_bytes -= place.len();
                *place = Box::default();
                self.free_boxes.push(slot.place() as u32);
            }
        }
    }
}

fn inline(value: &[u8]) -> Option<[u8; INLINE_BYTES]> {
    let mut payload = [0; INLINE_BYTES];
    payload.get_mut(..value.len())?.copy_from_slice(value);
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_table_grows_by_steps() {
        let mut table = vec![0; 1 << 20].into_boxed_slice().into_vec();
        assert_eq!(table.capacity(), 1 << 20);
        make_room(&mut table, 1);
        let grown = table.capacity();
        assert!((1..=2 * ROOM_STEP).contains(&(grown - table.len())));
        make_room(&mut table, 1);
        assert_eq!(table.capacity(), grown);
        make_room(&mut table, 3 * ROOM_STEP);
        assert!(table.capacity() >= table.len() + 3 * ROOM_STEP);
    }
}
