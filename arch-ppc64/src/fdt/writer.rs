//! Builds a flattened tree: vm-fdt, and what PAPR trees need beyond it.
//!
//! That is a phandle for every node, [names of any length](super::long_names), slack behind the
//! last block, and changes that are laid over what the nodes say of themselves.

use std::collections::{BTreeMap, HashMap};

use vm_fdt::FdtWriter;

use super::long_names::{LongNames, put_cell};
use crate::cas::TreeChange;

/// Where the header has the size of the blob (Devicetree specification v0.4, §5.2).
const HEADER_TOTALSIZE: usize = 4;

/// A tree that could not be built.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FdtError {
    /// vm-fdt refused something.
    #[error("cannot write the device tree")]
    Writer(#[from] vm_fdt::Error),
    /// A node or a property cannot have this name (Devicetree specification v0.4, §2.2).
    #[error("{name:?} cannot be a name in the device tree")]
    Name {
        /// The name.
        name: String,
    },
    /// An address or a size is beyond what the guest is told of it in: a 32-bit cell, or an end
    /// that wraps.
    #[error("{value:#x} is beyond what the device tree can say there")]
    Address {
        /// The address, or the size in bytes.
        value: u64,
    },
    /// The blob is not what vm-fdt is known to write.
    #[error("the device tree is not laid out as expected at byte {at}")]
    Layout {
        /// Offset in the blob.
        at: usize,
    },
    /// A change is for a node that the tree does not have.
    #[error("the device tree has no node {path}")]
    NoSuchNode {
        /// The full path.
        path: String,
    },
    /// The blob would pass 4 GiB, which its header cannot say.
    #[error("the device tree is too large")]
    TooLarge,
}

/// A range of memory that the guest must leave alone.
pub use vm_fdt::FdtReserveEntry as Reserved;

/// The number that other properties name a node by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phandle(u32);

impl Phandle {
    /// The number as it stands in a cell.
    pub const fn cell(self) -> u32 {
        self.0
    }
}

/// Writes a flattened tree, node in node, each with a `phandle`.
pub struct Writer {
    fdt: FdtWriter,
    last_phandle: u32,
    /// Full path of the open node; empty for the root.
    path: String,
    has_root: bool,
    long_names: LongNames,
    /// Changes of nodes that were not begun yet.
    changes: HashMap<String, NodeChanges>,
    /// Changes of each open node, the innermost last, that are still to be made.
    open: Vec<NodeChanges>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Writer {
    /// A tree with these memory reservations, booted on the CPU of that number. `changes` are
    /// laid over what is written: they replace, add and remove properties of nodes. The last
    /// change of a property counts; phandles do not change.
    ///
    /// # Errors
    /// [`FdtError::Writer`] when reservations overlap.
    pub fn new(
        reserved: &[Reserved],
        boot_cpu: u32,
        changes: Vec<TreeChange>,
    ) -> Result<Self, FdtError> {
        let mut fdt = FdtWriter::new_with_mem_reserv(reserved)?;
        fdt.set_boot_cpuid_phys(boot_cpu);
        Ok(Self {
            fdt,
            last_phandle: 0,
            path: String::new(),
            has_root: false,
            long_names: LongNames::default(),
            changes: by_node(changes),
            open: Vec::new(),
        })
    }

    /// A phandle for a node that is still to be written, so that earlier ones can name it.
    pub fn reserve_phandle(&mut self) -> Phandle {
        self.last_phandle += 1;
        Phandle(self.last_phandle)
    }

    /// A node, with what `content` writes into it. The first is the root, whose name is "".
    ///
    /// # Errors
    /// [`FdtError::Name`] for a name that is none, and those of `content`; after one of those the
    /// tree cannot be finished.
    pub fn node(
        &mut self,
        name: &str,
        content: impl FnOnce(&mut Self) -> Result<(), FdtError>,
    ) -> Result<(), FdtError> {
        let phandle = self.reserve_phandle();
        self.node_with(phandle, name, content)
    }

    /// As [`Self::node`], with a phandle that was [reserved](Self::reserve_phandle).
    ///
    /// `content` writes the properties first, then the nodes below.
    ///
    /// # Errors
    /// As [`Self::node`], and [`FdtError::Writer`] when another node has the phandle.
    pub fn node_with(
        &mut self,
        phandle: Phandle,
        name: &str,
        content: impl FnOnce(&mut Self) -> Result<(), FdtError>,
    ) -> Result<(), FdtError> {
        let is_root = self.open.is_empty();
        if is_root && (self.has_root || !name.is_empty()) || !is_root && !is_node_name(name) {
            return Err(FdtError::Name { name: name.to_owned() });
        }
        // The properties of the node around this one end here.
        self.write_added()?;
        let parent_len = self.path.len();
        if is_root {
            self.has_root = true;
        } else {
            self.path.push('/');
            self.path.push_str(name);
        }
        let open = self.fdt.begin_node(&self.long_names.node(name))?;
        let mut changes = self.changes.remove(&self.path).unwrap_or_default();
        // What other properties name the node by is not up to a change.
        changes.remove("phandle");
        self.open.push(changes);
        self.fdt.property_phandle(phandle.0)?;
        content(self)?;
        self.write_added()?;
        self.open.pop();
        self.fdt.end_node(open)?;
        self.path.truncate(parent_len);
        Ok(())
    }

    /// A property of bytes.
    ///
    /// # Errors
    /// [`FdtError::Name`] for a name that is none, [`FdtError::Writer`] outside of a node or behind
    /// a node below it.
    pub fn bytes(&mut self, name: &str, value: &[u8]) -> Result<(), FdtError> {
        match self.open.last_mut().and_then(|open| open.remove(name)) {
            None => self.write(name, value),
            Some(None) => Ok(()),
            Some(Some(value)) => self.write(name, &value),
        }
    }

    /// A property of 32-bit cells.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn cells(&mut self, name: &str, cells: &[u32]) -> Result<(), FdtError> {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    /// A property of one cell.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn cell(&mut self, name: &str, cell: u32) -> Result<(), FdtError> {
        self.bytes(name, &cell.to_be_bytes())
    }

    /// A property of 64-bit numbers, two cells each.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn doublewords(&mut self, name: &str, values: &[u64]) -> Result<(), FdtError> {
        let value: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    /// A property of NUL-terminated strings.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn text(&mut self, name: &str, strings: &[&str]) -> Result<(), FdtError> {
        let mut value = Vec::new();
        for string in strings {
            value.extend_from_slice(string.as_bytes());
            value.push(0);
        }
        self.bytes(name, &value)
    }

    /// A property without a value: its being there says all.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn flag(&mut self, name: &str) -> Result<(), FdtError> {
        self.bytes(name, &[])
    }

    /// The finished blob, with room for `slack_bytes` of further properties behind it: it is not
    /// packed, so that tools can append in place.
    ///
    /// # Errors
    /// [`FdtError::Writer`] when a node is open, [`FdtError::NoSuchNode`] when a change found no
    /// node, [`FdtError::TooLarge`] when the blob would pass 4 GiB.
    pub fn finish(self, slack_bytes: usize) -> Result<Vec<u8>, FdtError> {
        let lost = self.changes.into_iter().find(|(_, node)| node.values().any(Option::is_some));
        if let Some((path, _)) = lost {
            return Err(FdtError::NoSuchNode { path });
        }
        let blob = self.fdt.finish()?;
        let mut blob = self.long_names.put_into(&blob)?;
        let size = blob.len().checked_add(slack_bytes).ok_or(FdtError::TooLarge)?;
        let total = u32::try_from(size).map_err(|_| FdtError::TooLarge)?;
        blob.resize(size, 0);
        put_cell(&mut blob, HEADER_TOTALSIZE, total)?;
        Ok(blob)
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<(), FdtError> {
        if !is_property_name(name) {
            return Err(FdtError::Name { name: name.to_owned() });
        }
        Ok(self.fdt.property(self.long_names.property(name), value)?)
    }

    /// Writes what the changes add to the open node: after its own properties, and so before the
    /// first node below it or at its end.
    fn write_added(&mut self) -> Result<(), FdtError> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        for (name, value) in std::mem::take(open) {
            if let Some(value) = value {
                self.write(&name, &value)?;
            }
        }
        Ok(())
    }
}

/// Properties of one node: the value that each is to have, `None` for one that is to go.
type NodeChanges = BTreeMap<String, Option<Vec<u8>>>;

/// By path of the node, the root's being empty. The last change of a property counts.
fn by_node(changes: Vec<TreeChange>) -> HashMap<String, NodeChanges> {
    let mut nodes: HashMap<String, NodeChanges> = HashMap::new();
    for change in changes {
        let (path, name, value) = match change {
            TreeChange::Set { path, name, value } => (path, name, Some(value)),
            TreeChange::Remove { path, name } => (path, name, None),
        };
        let node = if path == "/" { String::new() } else { path };
        nodes.entry(node).or_default().insert(name, value);
    }
    nodes
}

/// An address or a size as a client works with it.
pub(super) fn to_cell(value: u64) -> Result<u32, FdtError> {
    u32::try_from(value).map_err(|_| FdtError::Address { value })
}

/// Whether a node below the root can have this name (Devicetree specification v0.4, §2.2.1, but
/// for the length).
fn is_node_name(name: &str) -> bool {
    let is_char = |c: char| c.is_ascii_alphanumeric() || ",._+-".contains(c);
    let (base, unit) = match name.split_once('@') {
        Some((base, unit)) => (base, Some(unit)),
        None => (name, None),
    };
    base.starts_with(|c: char| c.is_ascii_alphabetic())
        && base.chars().all(is_char)
        && unit.is_none_or(|unit| !unit.is_empty() && unit.chars().all(is_char))
}

/// Whether a property can have this name (Devicetree specification v0.4, §2.2.4.1, but for the
/// length).
fn is_property_name(name: &str) -> bool {
    let is_char = |c: char| c.is_ascii_alphanumeric() || ",._+?#-".contains(c);
    !name.is_empty() && name.chars().all(is_char)
}
