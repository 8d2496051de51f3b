//! The tree as data: nodes, and properties that each have one writer.

use std::collections::HashMap;
use std::fmt;

use vm_memory::GuestAddress;

use super::error::FdtError;
use super::names::is_node_name;
use super::property_names::{NameId, PropertyNames};
use crate::cas::TreeChange;

/// The most levels, the root's included: as many as the writer of blocks takes.
pub(super) const LEVELS_MAX: usize = 64;

/// How many bytes of values there is room for from the start: for those of a machine with a few CPUs.
/// More is made room for as it comes.
const VALUES_ROOM: usize = 16 << 10;

/// The property that says the number of a node. The tree gives it to each, and nobody else does.
const PHANDLE: &str = "phandle";

/// The number that other properties name a node by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phandle(u32);

impl Phandle {
    /// The number as it stands in a cell.
    pub const fn cell(self) -> u32 {
        self.0
    }
}

/// A device tree that is being made. Every node has a phandle: its number in the order in which
/// the nodes were made, so that the same machine has the same ones each time.
///
/// ```
/// use arch_ppc64::fdt::Tree;
///
/// let mut tree = Tree::new();
/// let pic = tree.node("/pic@8")?.cells("reg", &[8, 1])?.flag("interrupt-controller")?.phandle();
/// let mut bus = tree.node("/bus")?;
/// bus.text("compatible", &["example,bus"])?;
/// bus.child("device@0")?.cell("reg", 0)?.cell("interrupt-parent", pic.cell())?;
/// assert!(tree.node("/bus").is_err(), "it is there already");
/// tree.existing("/bus")?.text("status", &["okay"])?;
/// let blob = tree.flatten(0x1000)?;
/// # assert_eq!(blob[..4], [0xd0, 0x0d, 0xfe, 0xed]);
/// # Ok::<(), arch_ppc64::fdt::FdtError>(())
/// ```
pub struct Tree {
    nodes: Vec<Node>,
    by_path: HashMap<String, usize>,
    names: PropertyNames,
    /// The values of all properties, one behind the other.
    values: Vec<u8>,
    reserved: Vec<(u64, u64)>,
    boot_cpu: u32,
}

pub(super) struct Node {
    /// Full path; that of the root is "/".
    path: String,
    /// Where the name begins in the path.
    name_at: usize,
    level: usize,
    properties: Vec<Property>,
    children: Vec<usize>,
}

/// A property: its name, and where its value is.
struct Property {
    name: NameId,
    at: usize,
    bytes: usize,
}

impl Node {
    /// The name with its unit address; empty for the root.
    pub(super) fn name(&self) -> &str {
        &self.path[self.name_at..]
    }
}

impl Tree {
    /// A tree of nothing but a root.
    pub fn new() -> Self {
        let root = Node {
            path: "/".to_owned(),
            name_at: 1,
            level: 1,
            properties: Vec::new(),
            children: Vec::new(),
        };
        Self {
            nodes: vec![root],
            by_path: HashMap::from([("/".to_owned(), 0)]),
            names: PropertyNames::default(),
            values: Vec::with_capacity(VALUES_ROOM),
            reserved: Vec::new(),
            boot_cpu: 0,
        }
    }

    /// The root.
    pub fn root(&mut self) -> NodeBuilder<'_> {
        NodeBuilder { tree: self, node: 0 }
    }

    /// A new node of this full path, whose parent exists.
    ///
    /// # Errors
    /// [`FdtError::NoSuchNode`] names the parent that is not there,
    /// [`FdtError::DuplicateNode`] the node that is, and [`FdtError::Name`] what is no name.
    pub fn node(&mut self, path: &str) -> Result<NodeBuilder<'_>, FdtError> {
        let (parent, name) = match path.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((parent, name)) if parent != "/" => (parent, name),
            _ => return Err(FdtError::Name { name: path.to_owned() }),
        };
        let parent = self.index(parent)?;
        let node = self.add(parent, name)?;
        Ok(NodeBuilder { tree: self, node })
    }

    /// A node that is there.
    ///
    /// # Errors
    /// [`FdtError::NoSuchNode`].
    pub fn existing(&mut self, path: &str) -> Result<NodeBuilder<'_>, FdtError> {
        let node = self.index(path)?;
        Ok(NodeBuilder { tree: self, node })
    }

    /// Whether there is a node of this full path.
    pub fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// Whether there is a node of this type.
    pub(super) fn has_type(&self, device_type: &str) -> bool {
        let is_of_type = |node: usize| {
            let value = self
                .place(node, "device_type")
                .map(|place| self.value_of(&self.nodes[node].properties[place]));
            value.and_then(|value| value.strip_suffix(b"\0")) == Some(device_type.as_bytes())
        };
        (0..self.nodes.len()).any(is_of_type)
    }

    /// The number of a node.
    ///
    /// # Errors
    /// [`FdtError::NoSuchNode`].
    pub fn phandle(&self, path: &str) -> Result<Phandle, FdtError> {
        self.index(path).map(phandle)
    }

    /// The value of a property; `None` where there is none.
    pub fn value(&self, path: &str, name: &str) -> Option<&[u8]> {
        let node = *self.by_path.get(path)?;
        Some(self.value_of(&self.nodes[node].properties[self.place(node, name)?]))
    }

    /// Memory that the guest must leave alone: an entry of the memory reservation block
    /// (Devicetree specification v0.4, §5.3).
    ///
    /// # Errors
    /// [`FdtError::Reserved`] for a range that is empty or overlaps with another, and
    /// [`FdtError::Address`] for one that wraps.
    pub fn reserve(&mut self, at: GuestAddress, bytes: u64) -> Result<(), FdtError> {
        let end = at.0.checked_add(bytes).ok_or(FdtError::Address { value: at.0 })?;
        let overlaps =
            self.reserved.iter().any(|&(other, size)| at.0 < other + size && other < end);
        if bytes == 0 || overlaps {
            return Err(FdtError::Reserved { at: at.0 });
        }
        self.reserved.push((at.0, bytes));
        Ok(())
    }

    /// Which CPU the guest is started on: an interrupt server number, for the header of the blob.
    pub fn set_boot_cpu(&mut self, server: u32) {
        self.boot_cpu = server;
    }

    /// Makes changes: they replace, add and remove properties of nodes, and rename nodes. Phandles do
    /// not change.
    ///
    /// # Errors
    /// [`FdtError::NoSuchNode`] when a property is set of a node that is not there, or such a node is
    /// renamed; [`FdtError::DuplicateNode`] and [`FdtError::Name`] for a name that it cannot get.
    pub fn apply(&mut self, changes: &[TreeChange]) -> Result<(), FdtError> {
        for change in changes {
            // What other properties name the node by is not up to a change.
            if change.name() == PHANDLE {
                continue;
            }
            match change {
                TreeChange::Set { path, name, value } => {
                    let node = self.index(path)?;
                    match self.place(node, name) {
                        Some(place) => self.replace(&[(node, place)], value),
                        None => self.set(node, name, |values| values.extend_from_slice(value))?,
                    }
                }
                TreeChange::SetChildren { path, name, value } => {
                    let children = self.nodes[self.index(path)?].children.iter();
                    let having = children.filter_map(|&node| Some((node, self.place(node, name)?)));
                    let having: Vec<_> = having.collect();
                    self.replace(&having, value);
                }
                TreeChange::Rename { path, name } => self.rename(path, name)?,
                TreeChange::Remove { path, name } => {
                    let Some(&node) = self.by_path.get(path) else { continue };
                    if let Some(place) = self.place(node, name) {
                        self.nodes[node].properties.remove(place);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the node of this path another name, if it does not have it already.
    fn rename(&mut self, path: &str, name: &str) -> Result<(), FdtError> {
        if !is_node_name(name) {
            return Err(FdtError::Name { name: name.to_owned() });
        }
        let no_node = || FdtError::NoSuchNode { path: path.to_owned() };
        let renamed = TreeChange::renamed(path, name).ok_or_else(no_node)?;
        match (self.by_path.contains_key(path), self.by_path.contains_key(&renamed)) {
            (false, true) => return Ok(()),
            (false, false) => return Err(no_node()),
            (true, true) if path == renamed => return Ok(()),
            (true, true) => return Err(FdtError::DuplicateNode { path: renamed }),
            (true, false) => {}
        }
        let below = format!("{path}/");
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let new = match node.path.strip_prefix(&below) {
                Some(rest) => format!("{renamed}/{rest}"),
                None if node.path == path => renamed.clone(),
                None => continue,
            };
            self.by_path.remove(&node.path);
            let own_name_bytes = if node.path == path { name.len() } else { node.name().len() };
            node.name_at = new.len() - own_name_bytes;
            node.path.clone_from(&new);
            self.by_path.insert(new, index);
        }
        Ok(())
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn children(&self, node: usize) -> &[usize] {
        &self.nodes[node].children
    }

    /// Names and values of a node's properties, without the phandle.
    pub(super) fn properties(&self, node: usize) -> impl Iterator<Item = (&str, &[u8])> {
        let properties = self.nodes[node].properties.iter();
        properties.map(|property| (self.names.text(property.name), self.value_of(property)))
    }

    /// Names and values of the properties of a node, without the phandle; none where there is no such
    /// node.
    pub(crate) fn properties_of(&self, path: &str) -> impl Iterator<Item = (&str, &[u8])> {
        self.by_path.get(path).into_iter().flat_map(|&node| self.properties(node))
    }

    pub(super) fn reserved(&self) -> &[(u64, u64)] {
        &self.reserved
    }

    pub(super) fn boot_cpu(&self) -> u32 {
        self.boot_cpu
    }

    /// Where among its properties a node has that of this name.
    fn place(&self, node: usize, name: &str) -> Option<usize> {
        self.place_of(node, self.names.get(name)?)
    }

    fn place_of(&self, node: usize, name: NameId) -> Option<usize> {
        self.nodes[node].properties.iter().position(|property| property.name == name)
    }

    /// Gives properties, each by its node and its place there, another value.
    fn replace(&mut self, properties: &[(usize, usize)], value: &[u8]) {
        let (at, bytes) = (self.values.len(), value.len());
        self.values.extend_from_slice(value);
        for &(node, place) in properties {
            let property = &mut self.nodes[node].properties[place];
            (property.at, property.bytes) = (at, bytes);
        }
    }

    fn value_of(&self, property: &Property) -> &[u8] {
        &self.values[property.at..][..property.bytes]
    }

    fn index(&self, path: &str) -> Result<usize, FdtError> {
        let index = self.by_path.get(path).copied();
        index.ok_or_else(|| FdtError::NoSuchNode { path: path.to_owned() })
    }

    fn add(&mut self, parent: usize, name: &str) -> Result<usize, FdtError> {
        if !is_node_name(name) {
            return Err(FdtError::Name { name: name.to_owned() });
        }
        let Node { path: around, level, .. } = &self.nodes[parent];
        let level = level + 1;
        let around = if parent == 0 { "" } else { around.as_str() };
        let path = format!("{around}/{name}");
        if level > LEVELS_MAX {
            return Err(FdtError::TooDeep { path, most: LEVELS_MAX });
        }
        let index = self.nodes.len();
        if self.by_path.contains_key(&path) {
            return Err(FdtError::DuplicateNode { path });
        }
        self.by_path.insert(path.clone(), index);
        let name_at = path.len() - name.len();
        let properties = Vec::with_capacity(8);
        self.nodes.push(Node { path, name_at, level, properties, children: Vec::new() });
        self.nodes[parent].children.push(index);
        Ok(index)
    }

    /// Adds a property whose value is what `write` appends.
    fn set(
        &mut self,
        node: usize,
        name: &str,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), FdtError> {
        let id = self.names.intern(name)?;
        if name == PHANDLE || self.place_of(node, id).is_some() {
            let (path, name) = (self.nodes[node].path.clone(), name.to_owned());
            return Err(FdtError::DuplicateProperty { path, name });
        }
        let at = self.values.len();
        write(&mut self.values);
        let bytes = self.values.len() - at;
        self.nodes[node].properties.push(Property { name: id, at, bytes });
        Ok(())
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

/// The number of the node that was made as this one.
pub(super) fn phandle(node: usize) -> Phandle {
    // 0 is none.
    Phandle(node as u32 + 1)
}

/// A node of a tree that is being made.
///
/// Setting a property that the node has is [`FdtError::DuplicateProperty`], a name that is none
/// [`FdtError::Name`]: so it is with each of the setters.
pub struct NodeBuilder<'t> {
    tree: &'t mut Tree,
    node: usize,
}

impl NodeBuilder<'_> {
    /// A new node below this one.
    ///
    /// # Errors
    /// [`FdtError::DuplicateNode`] where there is one of this name, [`FdtError::Name`] for what is
    /// no name.
    pub fn child(&mut self, name: &str) -> Result<NodeBuilder<'_>, FdtError> {
        let node = self.tree.add(self.node, name)?;
        Ok(NodeBuilder { tree: self.tree, node })
    }

    /// The number that others name the node by.
    pub fn phandle(&self) -> Phandle {
        phandle(self.node)
    }

    /// Its full path.
    pub fn path(&self) -> &str {
        &self.tree.nodes[self.node].path
    }

    /// A property of bytes.
    ///
    /// # Errors
    /// [`FdtError`], as above.
    pub fn bytes(&mut self, name: &str, value: &[u8]) -> Result<&mut Self, FdtError> {
        self.set(name, |values| values.extend_from_slice(value))
    }

    /// A property of 32-bit cells.
    ///
    /// # Errors
    /// [`FdtError`], as above.
    pub fn cells(&mut self, name: &str, cells: &[u32]) -> Result<&mut Self, FdtError> {
        self.set(name, |values| values.extend(cells.iter().flat_map(|cell| cell.to_be_bytes())))
    }

    /// A property of one cell.
    ///
    /// # Errors
    /// [`FdtError`], as above.
    pub fn cell(&mut self, name: &str, cell: u32) -> Result<&mut Self, FdtError> {
        self.set(name, |values| values.extend_from_slice(&cell.to_be_bytes()))
    }

    /// A property of 64-bit numbers, two cells each.
    ///
    /// # Errors
    /// [`FdtError`], as above.
    pub fn doublewords(&mut self, name: &str, numbers: &[u64]) -> Result<&mut Self, FdtError> {
        self.set(name, |values| {
            values.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        })
    }

    /// A property of NUL-terminated strings.
    ///
    /// # Errors
    /// [`FdtError`], as above.
    pub fn text(&mut self, name: &str, strings: &[&str]) -> Result<&mut Self, FdtError> {
        self.set(name, |values| {
            for string in strings {
                values.extend_from_slice(string.as_bytes());
                values.push(0);
            }
        })
    }

    /// A property without a value: its being there says all.
    ///
    /// # Errors
    /// [`FdtError`], as above.
    pub fn flag(&mut self, name: &str) -> Result<&mut Self, FdtError> {
        self.set(name, |_| ())
    }

    fn set(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Result<&mut Self, FdtError> {
        self.tree.set(self.node, name, write)?;
        Ok(self)
    }
}

impl fmt::Debug for NodeBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder").field("path", &self.path()).finish_non_exhaustive()
    }
}
