//! Properties of the live tree (IEEE 1275 §3.2.1).

use super::{DeviceTree, NameId, NodeId};
use crate::limits::{MAX_NODE_PROPERTIES, MAX_PROPERTY_NAME_BYTES};

/// Why a property cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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
        self.slots_of(node).iter().map(|slot| (self.names.text(slot.name), self.values.get(slot)))
    }

    /// Which property comes after `previous`; the empty name asks for the first.
    ///
    /// A node without a `name` property shows one as its last.
    pub fn next_property(&self, node: NodeId, previous: &[u8]) -> NextProperty<'_> {
        let slots = self.slots_of(node);
        let next = if previous.is_empty() {
            0
        } else {
            let id = self.names.get(previous);
            match id.and_then(|id| slots.iter().position(|slot| slot.name == id)) {
                Some(at) => at + 1,
                None if previous == b"name" => return NextProperty::Last,
                None => return NextProperty::Unknown,
            }
        };
        match slots.get(next) {
            Some(slot) => NextProperty::Name(self.names.text(slot.name)),
            None if self.has_name(slots) => NextProperty::Last,
            None => NextProperty::Name("name"),
        }
    }

    /// Sets the property `name` of `node` to `value`; a new one becomes the node's last.
    ///
    /// # Errors
    /// [`SetError`]; nothing has changed then.
    pub fn set_property(&mut self, node: NodeId, name: &str, value: &[u8]) -> Result<(), SetError> {
        if !is_property_name(name.as_bytes()) {
            return Err(SetError::Name);
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(SetError::TooLong(value.len()));
        }
        if name == "phandle" && self.property(node, name) != Some(value) {
            return Err(SetError::Phandle);
        }
        let known = self.names.get(name.as_bytes());
        if let Some(at) = known.and_then(|id| self.slot_at(node, id)) {
            if let Some(slot) = self.slots.get_mut(at) {
                self.values.replace(slot, value);
            }
            return Ok(());
        }
        let at = self.new_slot(node)?;
        let slot = self.values.new_slot(self.names.intern(name), value);
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
        }
        Ok(())
    }

    /// Removes the property `name` of `node`; tells whether there was one. `phandle` stays.
    pub fn remove_property(&mut self, node: NodeId, name: &str) -> bool {
        if name == "phandle" {
            return false;
        }
        let id = self.names.get(name.as_bytes());
        let Some(at) = id.and_then(|id| self.slot_at(node, id)) else { return false };
        let Some(entry) = self.nodes.get_mut(node.0 as usize) else { return false };
        let end = entry.slots_at as usize + usize::from(entry.slots_len);
        if let Some(slots) = self.slots.get_mut(at..end) {
            if let Some(slot) = slots.first() {
                self.values.free(slot);
            }
            slots.rotate_left(1);
            entry.slots_len -= 1;
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
    /// without those that need no memory of their own.
    pub(crate) fn set_bytes(&self) -> usize {
        self.values.boxed_bytes
    }

    #[inline]
    fn stored(&self, node: NodeId, name: NameId) -> Option<&[u8]> {
        let slot = self.slots_of(node).iter().find(|slot| slot.name == name)?;
        Some(self.values.get(slot))
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

    fn has_name(&self, slots: &[Slot]) -> bool {
        self.names.get(b"name").is_some_and(|id| slots.iter().any(|slot| slot.name == id))
    }

    fn slot_at(&self, node: NodeId, name: NameId) -> Option<usize> {
        let within = self.slots_of(node).iter().position(|slot| slot.name == name)?;
        self.node(node).map(|node| node.slots_at as usize + within)
    }

    /// Makes room for one more slot of `node`. A node whose room is full moves to the end of the
    /// slots with twice the room, so that all slots ever moved are fewer than those added.
    fn new_slot(&mut self, id: NodeId) -> Result<usize, SetError> {
        let node = self.nodes.get_mut(id.0 as usize).ok_or(SetError::TooMany)?;
        let len = usize::from(node.slots_len);
        if len >= MAX_NODE_PROPERTIES {
            return Err(SetError::TooMany);
        }
        if node.slots_len == node.slots_room {
            let room = (len * 2).clamp(4, MAX_NODE_PROPERTIES);
            let start = node.slots_at as usize;
            let new_start = self.slots.len();
            self.slots.extend_from_within(start..start + len);
            self.slots.resize(new_start + room, Slot::UNUSED);
            node.slots_at = new_start as u32;
            node.slots_room = room as u16;
        }
        node.slots_len += 1;
        Ok(node.slots_at as usize + len)
    }
}

/// Whether these bytes can be a property's name (IEEE 1275 §3.2.2.1.1 and PAPR's longer ones).
pub(crate) fn is_property_name(name: &[u8]) -> bool {
    (1..=MAX_PROPERTY_NAME_BYTES).contains(&name.len())
        && name.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'/')
}

/// The longest value: its length shares 32 bits with one flag.
pub(super) const MAX_VALUE_BYTES: usize = (1 << 30) - 1;

const BOXED: u32 = 1 << 31;
const INLINE_BYTES: usize = 4;

/// One property: its name and where its value is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) name: NameId,
    /// Length in bytes; [`BOXED`] when the value is a box.
    len: u32,
    /// The value itself when it has up to four bytes, else (native-endian) where it starts in the
    /// arena, or which box it is.
    payload: [u8; INLINE_BYTES],
}

impl Slot {
    const UNUSED: Self = Self { name: NameId(u32::MAX), len: 0, payload: [0; INLINE_BYTES] };

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
    pub(super) fn push(&mut self, name: NameId, value: &[u8]) -> Slot {
        let len = value.len() as u32;
        if let Some(payload) = inline(value) {
            return Slot { name, len, payload };
        }
        let payload = (self.arena.len() as u32).to_ne_bytes();
        self.arena.extend_from_slice(value);
        Slot { name, len, payload }
    }

    #[inline]
    pub(super) fn get<'a>(&'a self, slot: &'a Slot) -> &'a [u8] {
        if slot.len & BOXED != 0 {
            return self.boxes.get(slot.place()).map_or(&[], |value| value);
        }
        let len = slot.len as usize;
        if len <= INLINE_BYTES {
            return slot.payload.get(..len).unwrap_or_default();
        }
        let start = slot.place();
        self.arena.get(start..start + len).unwrap_or_default()
    }

    fn new_slot(&mut self, name: NameId, value: &[u8]) -> Slot {
        if let Some(payload) = inline(value) {
            return Slot { name, len: value.len() as u32, payload };
        }
        self.boxed_bytes += value.len();
        let number = self.free_boxes.pop().unwrap_or(self.boxes.len() as u32);
        match self.boxes.get_mut(number as usize) {
            Some(place) => *place = value.into(),
            None => self.boxes.push(value.into()),
        }
        Slot { name, len: value.len() as u32 | BOXED, payload: number.to_ne_bytes() }
    }

    fn replace(&mut self, slot: &mut Slot, value: &[u8]) {
        self.free(slot);
        *slot = self.new_slot(slot.name, value);
    }

    fn free(&mut self, slot: &Slot) {
        if slot.len & BOXED != 0 {
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
