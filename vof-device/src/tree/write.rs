//! From the live tree to a flattened one (Devicetree Specification v0.4 chapter 5).

use super::read::{HEADER_BYTES, LAST_COMPATIBLE, MAGIC, VERSION, token};
use super::strings::Strings;
use super::{DeviceTree, NameId, NodeId};

const CELL_BYTES: usize = 4;

/// Writes `tree`; `instead` gives one property another value.
///
/// The blocks lie in the order that dtc gives them, and names share the ends of longer ones as
/// dtc lets them, so that dtc's own output comes back as it was.
pub(super) fn write(tree: &DeviceTree, instead: Option<(NodeId, NameId, &[u8])>) -> Vec<u8> {
    let strings = Strings::new(tree);
    let mut writer = Writer { tree, instead, out: Vec::new(), strings };
    writer.out.reserve_exact(writer.bytes());
    writer.out.resize(HEADER_BYTES, 0);
    for (address, size) in tree.reservations.iter().chain([&(0, 0)]) {
        writer.out.extend_from_slice(&address.to_be_bytes());
        writer.out.extend_from_slice(&size.to_be_bytes());
    }
    let structure_at = writer.out.len();
    writer.nodes();
    let strings_at = writer.out.len();
    let Writer { mut out, strings, .. } = writer;
    out.extend_from_slice(strings.block());
    let header = [
        MAGIC,
        out.len() as u32,
        structure_at as u32,
        strings_at as u32,
        HEADER_BYTES as u32,
        VERSION,
        LAST_COMPATIBLE,
        tree.boot_cpu,
        strings.block().len() as u32,
        (strings_at - structure_at) as u32,
    ];
    for (place, field) in out.chunks_exact_mut(CELL_BYTES).zip(header) {
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

impl<'a> Writer<'a> {
    /// How long the blob will be. Values may be a client's, and the blob as large as all memory
    /// that clients get: it does not grow by doubling.
    fn bytes(&self) -> usize {
        let node_bytes = |id: NodeId| {
            let name_bytes = (self.tree.full_name(id).len() + 1).next_multiple_of(CELL_BYTES);
            let properties = self.properties(id);
            let property_bytes = properties
                .map(|(_, value)| 3 * CELL_BYTES + value.len().next_multiple_of(CELL_BYTES));
            2 * CELL_BYTES + name_bytes + property_bytes.sum::<usize>()
        };
        HEADER_BYTES
            + (self.tree.reservations.len() + 1) * 4 * CELL_BYTES
            + self.tree.nodes().map(node_bytes).sum::<usize>()
            + CELL_BYTES
            + self.strings.block().len()
    }

    /// The properties of a node, with the values that they are written with.
    fn properties(&self, id: NodeId) -> impl Iterator<Item = (NameId, &'a [u8])> + use<'a> {
        let Self { tree, instead, .. } = *self;
        tree.names_of(id).iter().zip(tree.slots_of(id)).map(move |(&name, slot)| match instead {
            Some((node, other, value)) if node == id && other == name => (name, value),
            _ => (name, tree.values.get(slot)),
        })
    }

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
        for (name, value) in self.properties(id) {
            let name_offset = self.strings.offset(name);
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
        self.out.resize(self.out.len().next_multiple_of(CELL_BYTES), 0);
    }
}
