//! From the live tree to a flattened one (Devicetree Specification v0.4 chapter 5).

use std::collections::HashMap;

use super::read::{HEADER_BYTES, LAST_COMPATIBLE, MAGIC, VERSION, token};
use super::{DeviceTree, NameId, NodeId};

/// Writes `tree`; `instead` gives one property another value.
///
/// The blocks lie in the order that dtc gives them, and names share the ends of longer ones as
/// dtc lets them, so that dtc's own output comes back as it was.
pub(super) fn write(tree: &DeviceTree, instead: Option<(NodeId, NameId, &[u8])>) -> Vec<u8> {
    let mut writer = Writer { tree, instead, out: Vec::new(), strings: Strings::new(tree) };
    writer.out.reserve(
        HEADER_BYTES + tree.nodes.len() * 24 + tree.slots.len() * 16 + tree.values.arena.len(),
    );
    writer.out.resize(HEADER_BYTES, 0);
    for (address, size) in tree.reservations.iter().chain([&(0, 0)]) {
        writer.out.extend_from_slice(&address.to_be_bytes());
        writer.out.extend_from_slice(&size.to_be_bytes());
    }
    let structure_at = writer.out.len();
    writer.nodes();
    let strings_at = writer.out.len();
    let Writer { mut out, strings, .. } = writer;
    out.extend_from_slice(&strings.block);
    let header = [
        MAGIC,
        out.len() as u32,
        structure_at as u32,
        strings_at as u32,
        HEADER_BYTES as u32,
        VERSION,
        LAST_COMPATIBLE,
        tree.boot_cpu,
        strings.block.len() as u32,
        (strings_at - structure_at) as u32,
    ];
    for (place, field) in out.chunks_exact_mut(4).zip(header) {
        place.copy_from_slice(&field.to_be_bytes());
    }
    out
}

struct Writer<'a> {
    tree: &'a DeviceTree,
    instead: Option<(NodeId, NameId, &'a [u8])>,
    out: Vec<u8>,
    strings: Strings,
}

impl Writer<'_> {
    fn nodes(&mut self) {
        let mut open: Vec<NodeId> = Vec::new();
        for id in self.tree.nodes() {
            let parent = self.tree.parent(id);
            while open.last().copied() != parent && open.pop().is_some() {
                self.cell(token::END_NODE);
            }
            open.push(id);
            self.begin_node(id);
        }
        for _ in open {
            self.cell(token::END_NODE);
        }
        self.cell(token::END);
    }

    fn begin_node(&mut self, id: NodeId) {
        self.cell(token::BEGIN_NODE);
        self.out.extend_from_slice(self.tree.full_name(id).as_bytes());
        self.out.push(0);
        self.pad();
        for (&name, slot) in self.tree.names_of(id).iter().zip(self.tree.slots_of(id)) {
            let value = match self.instead {
                Some((node, other, value)) if node == id && other == name => value,
                _ => self.tree.values.get(slot),
            };
            let name_offset = self.strings.offset(self.tree, name);
            self.cell(token::PROP);
            self.cell(value.len() as u32);
            self.cell(name_offset);
            self.out.extend_from_slice(value);
            self.pad();
        }
    }

    fn cell(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

/// The strings block as far as it is needed yet.
struct Strings {
    block: Vec<u8>,
    /// Where each name is, once it is.
    offsets: Vec<Option<u32>>,
    /// Where each name, and each end of a name, was first written.
    ends: HashMap<Box<[u8]>, u32>,
}

impl Strings {
    fn new(tree: &DeviceTree) -> Self {
        Self { block: Vec::new(), offsets: vec![None; tree.names.count()], ends: HashMap::new() }
    }

    fn offset(&mut self, tree: &DeviceTree, name: NameId) -> u32 {
        if let Some(Some(offset)) = self.offsets.get(name.0 as usize) {
            return *offset;
        }
        let text = tree.names.text(name).as_bytes();
        let offset = self.ends.get(text).copied().unwrap_or_else(|| self.append(text));
        if let Some(place) = self.offsets.get_mut(name.0 as usize) {
            *place = Some(offset);
        }
        offset
    }

    fn append(&mut self, text: &[u8]) -> u32 {
        let offset = self.block.len() as u32;
        self.block.extend_from_slice(text);
        self.block.push(0);
        for start in 0..text.len() {
            self.ends.entry(text[start..].into()).or_insert(offset + start as u32);
        }
        offset
    }
}
