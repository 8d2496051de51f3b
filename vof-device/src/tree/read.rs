//! From a flattened tree to the live one (Devicetree Specification v0.4 chapter 5).

use super::index::{HashIndex, Seed};
use super::names::Names;
use super::phandles::Phandles;
use super::properties::{Slot, Values, is_property_name};
use super::{DeviceTree, NONE, NameId, Node, path};
use crate::limits::{
    MAX_BLOB_BYTES, MAX_DEPTH, MAX_NODE_NAME_BYTES, MAX_NODE_PROPERTIES, MAX_PROPERTY_NAME_BYTES,
};

/// Why a flattened tree is refused. Offsets are bytes from the start of the blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The blob ends before what it must hold.
    #[error("the tree ends within the {what} at offset {at}")]
    Truncated {
        /// What should be there.
        what: &'static str,
        /// Where it starts.
        at: usize,
    },
    /// The blob is larger than any tree can be.
    #[error("a tree of {0} bytes is too large; the most is {MAX_BLOB_BYTES}")]
    TooLarge(usize),
    /// The first word is not the format's.
    #[error("the tree starts with {0:#010x}, not d00dfeed")]
    Magic(u32),
    /// A version of the format that this reader does not know.
    #[error("the tree can be read as version {last_compatible} to {version}, not as 17")]
    Version {
        /// The blob's version.
        version: u32,
        /// The oldest version it is compatible with.
        last_compatible: u32,
    },
    /// An unknown token in the structure block.
    #[error("there is no token {token:#x}, as found at offset {at}")]
    Token {
        /// The token.
        token: u32,
        /// Where it is.
        at: usize,
    },
    /// The structure block is not one tree: nothing, a second root, an end without beginning, or
    /// an early end.
    #[error("the structure block is not one tree; see offset {at}")]
    NotOneTree {
        /// Where this shows.
        at: usize,
    },
    /// A property that belongs to no node, or comes after its node's children.
    #[error("the property at offset {at} is not at the start of a node")]
    PropertyPlace {
        /// Where its token is.
        at: usize,
    },
    /// A node name that is empty, too long, or has characters that names cannot have.
    #[error(
        "the node name at offset {at} is not 1 to {MAX_NODE_NAME_BYTES} visible ASCII characters \
         without `/`"
    )]
    NodeName {
        /// Where the name is.
        at: usize,
    },
    /// A property name that is empty, too long, or has characters that names cannot have.
    #[error(
        "the property name at offset {at} is not 1 to {MAX_PROPERTY_NAME_BYTES} visible ASCII \
         characters without `/`"
    )]
    PropertyName {
        /// Where the name is.
        at: usize,
    },
    /// Two nodes of the same name and parent.
    #[error("there are two nodes {path}")]
    DuplicateNode {
        /// Their path.
        path: String,
    },
    /// Two properties of the same name.
    #[error("{path} has two properties {name}")]
    DuplicateProperty {
        /// Path of the node.
        path: String,
        /// The property.
        name: String,
    },
    /// A node with too many properties.
    #[error("{path} has more than {MAX_NODE_PROPERTIES} properties")]
    TooManyProperties {
        /// Path of the node.
        path: String,
    },
    /// A node too far below the root.
    #[error("the node at offset {at} is more than {MAX_DEPTH} levels below the root")]
    TooDeep {
        /// Where its token is.
        at: usize,
    },
    /// A node without a `phandle`, or with one that is not one cell, 0 or ffffffff.
    #[error("{path} has no phandle property of one cell, neither 0 nor ffffffff")]
    Phandle {
        /// Path of the node.
        path: String,
    },
    /// Two nodes with the same phandle.
    #[error("two nodes have the phandle {0:#x}")]
    DuplicatePhandle(u32),
}

pub(super) const MAGIC: u32 = 0xd00d_feed;
pub(super) const VERSION: u32 = 17;
pub(super) const LAST_COMPATIBLE: u32 = 16;
pub(super) const HEADER_BYTES: usize = 40;

/// Tokens of the structure block (§5.4.1).
pub(super) mod token {
    pub(in super::super) const BEGIN_NODE: u32 = 1;
    pub(in super::super) const END_NODE: u32 = 2;
    pub(in super::super) const PROP: u32 = 3;
    pub(in super::super) const NOP: u32 = 4;
    pub(in super::super) const END: u32 = 9;
}

pub(super) fn read(blob: &[u8]) -> Result<DeviceTree, BlobError> {
    let header = Header::read(blob)?;
    let reservations = read_reservations(&header)?;
    let mut builder = Builder::new(&header);
    builder.read_structure()?;
    builder.finish(reservations, header.boot_cpu)
}

/// The blob, cut to its `totalsize`, and its blocks' places.
struct Header<'a> {
    blob: &'a [u8],
    reservations_at: usize,
    structure_at: usize,
    structure_end: usize,
    strings: &'a [u8],
    strings_at: usize,
    boot_cpu: u32,
}

impl<'a> Header<'a> {
    fn read(blob: &'a [u8]) -> Result<Self, BlobError> {
        let field = |index: usize| cell(blob, index * 4, "header");
        let magic = field(0)?;
        if magic != MAGIC {
            return Err(BlobError::Magic(magic));
        }
        let (version, last_compatible) = (field(5)?, field(6)?);
        if version < VERSION || last_compatible > VERSION {
            return Err(BlobError::Version { version, last_compatible });
        }
        let total = field(1)? as usize;
        if total > MAX_BLOB_BYTES {
            return Err(BlobError::TooLarge(total));
        }
        let blob = blob.get(..total).ok_or(BlobError::Truncated { what: "tree", at: 0 })?;
        let (structure_at, structure_bytes) = (field(2)? as usize, field(9)? as usize);
        let (strings_at, strings_bytes) = (field(3)? as usize, field(8)? as usize);
        let block = |what, at: usize, bytes: usize| {
            let end = at.checked_add(bytes);
            let block = end.and_then(|end| blob.get(at..end));
            block.ok_or(BlobError::Truncated { what, at })
        };
        block("structure block", structure_at, structure_bytes)?;
        Ok(Self {
            blob,
            reservations_at: field(4)? as usize,
            structure_at,
            structure_end: structure_at + structure_bytes,
            strings: block("strings block", strings_at, strings_bytes)?,
            strings_at,
            boot_cpu: field(7)?,
        })
    }
}

fn read_reservations(header: &Header<'_>) -> Result<Vec<(u64, u64)>, BlobError> {
    let mut entries = Vec::new();
    let mut at = header.reservations_at;
    loop {
        let word = |at: usize| {
            let high = cell(header.blob, at, "memory reservation block")?;
            let low = cell(header.blob, at + 4, "memory reservation block")?;
            Ok(u64::from(high) << 32 | u64::from(low))
        };
        match (word(at)?, word(at + 8)?) {
            (0, 0) => return Ok(entries),
            entry => entries.push(entry),
        }
        at += 16;
    }
}

/// The tree as far as it is read.
struct Builder<'a> {
    header: &'a Header<'a>,
    nodes: Vec<Node>,
    node_names: String,
    slots: Vec<Slot>,
    slot_names: Vec<NameId>,
    /// A node for each list of names, by the list.
    lists: HashIndex,
    values: Values,
    names: Names,
    /// The name `phandle`.
    phandle: NameId,
    seed: Seed,
    /// What each offset into the strings block turned out to name.
    by_offset: Vec<u32>,
    /// Which node a name was last seen on, to notice a second property of that name.
    last_seen: Vec<u32>,
    /// The open nodes from the root down, each with its last child so far.
    open: Vec<(u32, u32)>,
}

impl<'a> Builder<'a> {
    fn new(header: &'a Header<'a>) -> Self {
        let seed = Seed::random();
        let mut names = Names::new(seed);
        Self {
            phandle: names.intern("phandle"),
            header,
            nodes: Vec::new(),
            node_names: String::new(),
            slots: Vec::new(),
            slot_names: Vec::new(),
            lists: HashIndex::default(),
            values: Values::default(),
            names,
            seed,
            by_offset: vec![NONE; header.strings.len()],
            last_seen: Vec::new(),
            open: Vec::new(),
        }
    }

    fn read_structure(&mut self) -> Result<(), BlobError> {
        let blob = self.header.blob.get(..self.header.structure_end).unwrap_or_default();
        let mut at = self.header.structure_at;
        loop {
            let token_at = at;
            let token = cell(blob, at, "structure block")?;
            at += 4;
            match token {
                token::BEGIN_NODE => at = self.begin_node(blob, at)?,
                token::PROP => at = self.property(blob, at)?,
                token::NOP => {}
                token::END_NODE => {
                    if self.open.pop().is_none() {
                        return Err(BlobError::NotOneTree { at: token_at });
                    }
                }
                token::END if self.open.is_empty() && !self.nodes.is_empty() => {
                    self.share_names();
                    return Ok(());
                }
                token::END => return Err(BlobError::NotOneTree { at: token_at }),
                _ => return Err(BlobError::Token { token, at: token_at }),
            }
        }
    }

    fn begin_node(&mut self, blob: &[u8], at: usize) -> Result<usize, BlobError> {
        let rest = blob.get(at..).unwrap_or_default();
        let window = rest.get(..=MAX_NODE_NAME_BYTES).unwrap_or(rest);
        let len = window.iter().position(|&byte| byte == 0);
        let Some(len) = len else {
            return Err(match window.len() {
                len if len <= MAX_NODE_NAME_BYTES => BlobError::Truncated { what: "node name", at },
                _ => BlobError::NodeName { at },
            });
        };
        let name = std::str::from_utf8(&window[..len]).unwrap_or("/");
        let is_root = self.nodes.is_empty();
        let graphic = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if !graphic || name.is_empty() != is_root || name.starts_with('@') {
            return Err(BlobError::NodeName { at });
        }
        if self.open.is_empty() && !is_root {
            return Err(BlobError::NotOneTree { at });
        }
        if self.open.len() > MAX_DEPTH {
            return Err(BlobError::TooDeep { at });
        }
        self.share_names();
        let id = self.nodes.len() as u32;
        let mut parent = NONE;
        if let Some((open, last_child)) = self.open.last_mut() {
            parent = *open;
            let (from, is_first) = match *last_child {
                NONE => (parent, true),
                child => (child, false),
            };
            *last_child = id;
            if let Some(from) = self.nodes.get_mut(from as usize) {
                *(if is_first { &mut from.child } else { &mut from.peer }) = id;
            }
        }
        self.nodes.push(Node {
            name_at: self.node_names.len() as u32,
            name_len: len as u16,
            base_len: name.find('@').unwrap_or(len) as u16,
            parent,
            child: NONE,
            peer: NONE,
            phandle: 0,
            slots_at: self.slots.len() as u32,
            names_at: self.slot_names.len() as u32,
            slots_len: 0,
            slots_room: 0,
        });
        self.node_names.push_str(name);
        self.open.push((id, NONE));
        Ok((at + len + 1).next_multiple_of(4))
    }

    fn property(&mut self, blob: &[u8], at: usize) -> Result<usize, BlobError> {
        let misplaced = || BlobError::PropertyPlace { at: at - 4 };
        let Some(&(id, NONE)) = self.open.last() else { return Err(misplaced()) };
        let len = cell(blob, at, "property")? as usize;
        let name_offset = cell(blob, at + 4, "property")? as usize;
        let value_at = at + 8;
        let value = value_at.checked_add(len).and_then(|end| blob.get(value_at..end));
        let Some(value) = value else {
            return Err(BlobError::Truncated { what: "property", at });
        };
        let name = self.name_at(name_offset)?;
        match self.last_seen.get_mut(name.0 as usize) {
            Some(seen) if *seen == id => {
                let name = self.names.text(name).to_owned();
                return Err(BlobError::DuplicateProperty { path: self.path_of(id), name });
            }
            Some(seen) => *seen = id,
            None => {
                self.last_seen.resize(self.names.count(), NONE);
                if let Some(seen) = self.last_seen.get_mut(name.0 as usize) {
                    *seen = id;
                }
            }
        }
        let slot = self.values.push(value);
        self.slots.push(slot);
        self.slot_names.push(name);
        let Some(node) = self.nodes.last_mut() else { return Err(misplaced()) };
        if usize::from(node.slots_len) >= MAX_NODE_PROPERTIES {
            return Err(BlobError::TooManyProperties { path: self.path_of(id) });
        }
        node.slots_len += 1;
        if name == self.phandle {
            node.phandle = value.try_into().map_or(0, u32::from_be_bytes);
        }
        Ok((value_at + len).next_multiple_of(4))
    }

    /// Lets the last node, which has all of its properties, share the list of their names with one
    /// before it.
    fn share_names(&mut self) {
        let (nodes, slot_names, seed) = (&self.nodes, &self.slot_names, self.seed);
        let Some(last) = nodes.last() else { return };
        let list_of = |node: &Node| {
            let start = node.names_at as usize;
            slot_names.get(start..start + usize::from(node.slots_len)).unwrap_or_default()
        };
        let list_at = |number: u32| nodes.get(number as usize).map(list_of).unwrap_or_default();
        let hash_of = |list: &[NameId]| seed.hash_numbers(list.iter().map(|name| name.0));
        let (list, hash) = (list_of(last), hash_of(list_of(last)));
        match self.lists.find(hash, |number| list_at(number) == list) {
            Some(number) => {
                let shared = nodes.get(number as usize).map_or(0, |node| node.names_at);
                self.slot_names.truncate(last.names_at as usize);
                if let Some(last) = self.nodes.last_mut() {
                    last.names_at = shared;
                }
            }
            None => {
                let number = nodes.len() as u32 - 1;
                self.lists.insert(hash, number, |other| hash_of(list_at(other)));
            }
        }
    }

    fn name_at(&mut self, offset: usize) -> Result<NameId, BlobError> {
        let at = self.header.strings_at.saturating_add(offset);
        let Some(known) = self.by_offset.get_mut(offset) else {
            return Err(BlobError::Truncated { what: "property name", at });
        };
        if *known == NONE {
            let rest = self.header.strings.get(offset..).unwrap_or_default();
            let window = rest.get(..=MAX_PROPERTY_NAME_BYTES).unwrap_or(rest);
            let name = window.split(|&byte| byte == 0).next().unwrap_or_default();
            let ends = name.len() < window.len();
            let text = std::str::from_utf8(name).unwrap_or_default();
            if !ends || !is_property_name(text.as_bytes()) {
                return Err(BlobError::PropertyName { at });
            }
            *known = self.names.intern(text).0;
        }
        Ok(NameId(*known))
    }

    fn finish(
        mut self,
        reservations: Vec<(u64, u64)>,
        boot_cpu: u32,
    ) -> Result<DeviceTree, BlobError> {
        let unusable = |node: &Node| node.phandle == 0 || node.phandle == u32::MAX;
        if let Some(at) = self.nodes.iter().position(unusable) {
            return Err(BlobError::Phandle { path: self.path_of(at as u32) });
        }
        let all: Vec<u32> = self.nodes.iter().map(|node| node.phandle).collect();
        let phandles = Phandles::new(self.seed, &all).map_err(BlobError::DuplicatePhandle)?;
        self.nodes.shrink_to_fit();
        self.node_names.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.slot_names.shrink_to_fit();
        self.values.arena.shrink_to_fit();
        let mut tree = DeviceTree {
            nodes: self.nodes,
            node_names: self.node_names,
            slots: self.slots,
            slot_names: self.slot_names,
            values: self.values,
            names: self.names,
            phandles,
            children: HashIndex::default(),
            seed: self.seed,
            reservations,
            boot_cpu,
        };
        match path::index_children(&mut tree) {
            Some(twice) => Err(BlobError::DuplicateNode { path: tree.path(twice) }),
            None => Ok(tree),
        }
    }

    fn path_of(&self, node: u32) -> String {
        let mut names = Vec::new();
        let mut at = self.nodes.get(node as usize);
        while let Some(node) = at.filter(|node| node.parent != NONE) {
            let start = node.name_at as usize;
            names.push(self.node_names.get(start..start + usize::from(node.name_len)));
            at = self.nodes.get(node.parent as usize);
        }
        let path: String =
            names.iter().rev().map(|name| format!("/{}", name.unwrap_or_default())).collect();
        if path.is_empty() { "/".to_owned() } else { path }
    }
}

fn cell(blob: &[u8], at: usize, what: &'static str) -> Result<u32, BlobError> {
    match blob.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => Ok(u32::from_be_bytes(*bytes)),
        None => Err(BlobError::Truncated { what, at }),
    }
}
