//! The live device tree: built from a flattened one, owned by the client interface.
//!
//! Nodes lie in one array in depth-first order, each node's property slots side by side in
//! another; names are stored once, and so are lists of names, which most nodes share with others
//! of their kind; values of up to four bytes are in their slots. So every question of the client
//! interface costs as much as its answer is long, whatever the size of the tree.

mod changes;
mod index;
mod names;
mod path;
mod phandles;
mod properties;
mod read;
mod rename;
#[cfg(feature = "serde")]
mod restored;
mod strings;
#[cfg(test)]
mod tests;
mod write;

pub use path::Resolved;
pub use properties::{NextProperty, SetError};
pub use read::BlobError;
pub(crate) use rename::RenameError;

use index::{HashIndex, Seed};
pub(crate) use names::NameId;
use names::Names;
use phandles::Phandles;
use properties::{Slot, Values};
pub(crate) use properties::{Value, is_property_name};
#[cfg(feature = "serde")]
pub(crate) use restored::ChangedNode;

/// No node.
const NONE: u32 = u32::MAX;

/// A device tree (IEEE 1275 §3.1).
///
/// The set of nodes is fixed; their properties can be set and removed, and a machine can rename
/// nodes. Every node has a phandle, which never changes.
///
/// ```
/// use vof_device::DeviceTree;
///
/// # let mut fdt = vm_fdt::FdtWriter::new().unwrap();
/// # let root = fdt.begin_node("").unwrap();
/// # fdt.property_phandle(1).unwrap();
/// # let chosen = fdt.begin_node("chosen").unwrap();
/// # fdt.property_phandle(2).unwrap();
/// # fdt.end_node(chosen).unwrap();
/// # fdt.end_node(root).unwrap();
/// # let blob = fdt.finish().unwrap();
/// let mut tree = DeviceTree::from_blob(&blob)?;
/// let chosen = tree.find("/chosen").unwrap();
/// tree.set_property(chosen, "bootargs", b"console=hvc0\0")?;
/// assert_eq!(tree.phandle(chosen), 2);
/// assert_eq!(tree.property(chosen, "bootargs"), Some(&b"console=hvc0\0"[..]));
/// assert_eq!(tree.parent(chosen), Some(tree.root()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DeviceTree {
    nodes: Vec<Node>,
    /// The nodes' full names, one after the other.
    node_names: String,
    slots: Vec<Slot>,
    /// Lists of the names of slots.
    slot_names: Vec<NameId>,
    values: Values,
    names: Names,
    phandles: Phandles,
    /// (parent, name) → child; see the path module.
    children: HashIndex,
    seed: Seed,
    /// The memory reservation block: (address, size in bytes).
    reservations: Vec<(u64, u64)>,
    boot_cpu: u32,
}

/// A node of one [`DeviceTree`] and of its clones.
///
/// Asked about a node of another tree, a tree answers for whichever of its own nodes lies at the
/// same place, or as for a node without relatives and properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// What the array of nodes holds; links are indices into it.
#[derive(Debug, Clone, Copy)]
struct Node {
    name_at: u32,
    name_len: u16,
    /// Length of the name up to the `@`.
    base_len: u16,
    parent: u32,
    child: u32,
    peer: u32,
    phandle: u32,
    slots_at: u32,
    /// Where the list of the slots' names starts.
    names_at: u32,
    slots_len: u16,
    /// How many slots from `slots_at` on, and names from `names_at` on, are for this node to
    /// change; 0 as long as it may share its list of names.
    slots_room: u16,
}

// What a node takes, and each of its properties.
const _: () = assert!(size_of::<Node>() == 36 && size_of::<Slot>() == 8);

impl DeviceTree {
    /// Builds the tree of a flattened one (Devicetree Specification chapter 5, version 17).
    ///
    /// # Errors
    /// [`BlobError`] names the rule that the blob breaks. Besides the format's own, every node
    /// must have a `phandle` of its own.
    pub fn from_blob(blob: &[u8]) -> Result<Self, BlobError> {
        read::read(blob)
    }

    /// The flattened form of the tree: version 17, without slack.
    pub fn to_blob(&self) -> Vec<u8> {
        write::write(self, None)
    }

    /// As [`to_blob`](Self::to_blob), with another value for one property.
    pub(crate) fn to_blob_with(&self, node: NodeId, name: NameId, value: &[u8]) -> Vec<u8> {
        write::write(self, Some((node, name, value)))
    }

    /// The root node.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// The first child of `node`.
    #[inline]
    pub fn child(&self, node: NodeId) -> Option<NodeId> {
        self.node(node).and_then(|node| link(node.child))
    }

    /// The next node with the same parent as `node`.
    #[inline]
    pub fn peer(&self, node: NodeId) -> Option<NodeId> {
        self.node(node).and_then(|node| link(node.peer))
    }

    /// The parent of `node`; none for the root.
    #[inline]
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.node(node).and_then(|node| link(node.parent))
    }

    /// All children of `node`, in order.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(self.child(node), |&child| self.peer(child))
    }

    /// All nodes, depth first, from the root on.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The phandle of `node`: never 0 or `u32::MAX`.
    #[inline]
    pub fn phandle(&self, node: NodeId) -> u32 {
        self.node(node).map_or(0, |node| node.phandle)
    }

    /// The node with this phandle.
    #[inline]
    pub fn node_by_phandle(&self, phandle: u32) -> Option<NodeId> {
        let phandle_of = |node: u32| self.phandle(NodeId(node));
        self.phandles.get(phandle, phandle_of).map(NodeId)
    }

    /// The name of `node` with its unit address, as in `vty@71000000`; empty for the root.
    pub fn full_name(&self, node: NodeId) -> &str {
        self.node(node).map_or("", |node| self.full_name_of(node))
    }

    /// The name of `node` without its unit address, as in `vty`: what its `name` property says
    /// (IEEE 1275 §3.2.2.1.1).
    pub fn name(&self, node: NodeId) -> &str {
        self.node(node).map_or("", |node| {
            self.full_name_of(node).get(..usize::from(node.base_len)).unwrap_or_default()
        })
    }

    /// Host memory that the tree occupies besides the characters of names and the bytes of
    /// values, in bytes.
    pub fn overhead_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.slot_names.capacity() * size_of::<NameId>()
            + self.names.overhead_bytes()
            + self.phandles.memory_bytes()
            + self.children.memory_bytes()
    }

    #[inline]
    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    fn full_name_of(&self, node: &Node) -> &str {
        let start = node.name_at as usize;
        self.node_names.get(start..start + usize::from(node.name_len)).unwrap_or_default()
    }
}

#[inline]
fn link(to: u32) -> Option<NodeId> {
    (to != NONE).then_some(NodeId(to))
}
