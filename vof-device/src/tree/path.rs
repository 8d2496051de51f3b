//! Device paths (IEEE 1275 §4.3).

use super::index::HashIndex;
use super::{DeviceTree, NodeId};
use crate::limits::{MAX_DEPTH, MAX_NODE_NAME_BYTES};

/// A device specifier that names a node (IEEE 1275 §4.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The node.
    pub node: NodeId,
    /// What follows the `:` of the last component; empty when nothing does.
    pub arguments: &'a str,
}

impl DeviceTree {
    /// The node that a device specifier names.
    ///
    /// A path is absolute, or starts with the name of a property of `/aliases`. Units may be left
    /// out: the first child of that name is meant. So may names before a unit, and the
    /// manufacturer's part of a name, which ends with a comma (§4.3.6). Units compare in lower
    /// case and without leading zeros. Arguments behind a `:` are not looked at. Empty components
    /// mean nothing.
    pub fn find(&self, specifier: &str) -> Option<NodeId> {
        self.resolve(specifier).map(|found| found.node)
    }

    /// As [`find`](Self::find), with the arguments of the last component.
    pub fn resolve<'a>(&'a self, specifier: &'a str) -> Option<Resolved<'a>> {
        if specifier.starts_with('/') {
            return self.walk(self.root(), specifier);
        }
        let head_len = specifier.find(['/', ':']).unwrap_or(specifier.len());
        let (head, tail) = specifier.split_at(head_len);
        let alias = self.property(self.child_named(self.root(), "aliases")?, head)?;
        let alias = alias.split(|&byte| byte == 0).next()?;
        let alias = std::str::from_utf8(alias).ok().filter(|path| path.starts_with('/'))?;
        let start = self.walk(self.root(), alias)?;
        let (own_arguments, tail) = match tail.strip_prefix(':') {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", tail),
        };
        if tail.bytes().any(|byte| byte != b'/') {
            return self.walk(start.node, tail);
        }
        let arguments = if own_arguments.is_empty() { start.arguments } else { own_arguments };
        Some(Resolved { node: start.node, arguments })
    }

    /// The path of `node` with all names and units, as in `/vdevice/vty@71000000`.
    pub fn path(&self, node: NodeId) -> String {
        let mut path = String::new();
        self.path_pieces(node, |piece| path.push_str(piece));
        path
    }

    /// Gives the path of `node` to `take`, piece by piece.
    pub(crate) fn path_pieces<'a>(&'a self, node: NodeId, mut take: impl FnMut(&'a str)) {
        let mut names = [""; MAX_DEPTH];
        let mut depth = 0;
        let mut at = node;
        while let Some(parent) = self.parent(at) {
            if let Some(name) = names.get_mut(depth) {
                *name = self.full_name(at);
                depth += 1;
            }
            at = parent;
        }
        if depth == 0 {
            return take("/");
        }
        for name in names.iter().take(depth).rev() {
            take("/");
            take(name);
        }
    }

    fn walk<'a>(&self, start: NodeId, path: &'a str) -> Option<Resolved<'a>> {
        let mut found = Resolved { node: start, arguments: "" };
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let (name, arguments) = component.split_once(':').unwrap_or((component, ""));
            found.arguments = arguments;
            if !name.is_empty() {
                found.node = self.child_named(found.node, name)?;
            }
        }
        Some(found)
    }

    /// The child that a path component (without arguments) names (§4.3.4 to §4.3.6).
    fn child_named(&self, parent: NodeId, component: &str) -> Option<NodeId> {
        let mut buffer = [0; MAX_NODE_NAME_BYTES];
        let wanted = Canonical::new(component, &mut buffer)?;
        if wanted.base.is_empty() {
            return self.children(parent).find(|&child| self.unit_is(child, wanted.unit));
        }
        if wanted.unit.is_empty() {
            return self
                .indexed(parent, Key::Base, wanted.base)
                .or_else(|| self.indexed(parent, Key::Suffix, wanted.base));
        }
        self.indexed(parent, Key::Full, wanted.full).or_else(|| {
            let mut child = self.indexed(parent, Key::Suffix, wanted.base)?;
            while !(suffix(self.name(child)) == Some(wanted.base_text(component))
                && self.unit_is(child, wanted.unit))
            {
                child = self.peer(child)?;
            }
            Some(child)
        })
    }

    /// Whether the unit address of `node`, in canonical form, is `unit`. Asked of each of a node's
    /// children where a path leaves the name out, so most of them have to be told apart at once:
    /// being canonical does not change the last character but for its case.
    fn unit_is(&self, node: NodeId, unit: &[u8]) -> bool {
        let own = self.full_name(node).split_once('@').map_or("", |(_, unit)| unit);
        let last = own.bytes().next_back().map(|byte| byte.to_ascii_lowercase());
        last == unit.last().copied() && canonical_unit(own).eq(unit.iter().copied())
    }

    fn indexed(&self, parent: NodeId, key: Key, text: &[u8]) -> Option<NodeId> {
        let hash = self.seed.hash(parent.0, text) ^ key as u64;
        self.children
            .find(hash, |entry| {
                let (child, its_key) = Key::split(entry);
                its_key == key
                    && self.parent(child) == Some(parent)
                    && self.key_is(child, key, text)
            })
            .map(|entry| Key::split(entry).0)
    }

    fn key_is(&self, node: NodeId, key: Key, text: &[u8]) -> bool {
        let mut buffer = [0; MAX_NODE_NAME_BYTES];
        key.text(self.full_name(node), &mut buffer) == Some(text)
    }
}

/// Fills the index of children; gives a node whose name a sibling before it has too.
pub(super) fn index_children(tree: &mut DeviceTree) -> Option<NodeId> {
    let mut index = HashIndex::with_room_for(tree.nodes.len());
    let mut buffer = [0; MAX_NODE_NAME_BYTES];
    let mut other = [0; MAX_NODE_NAME_BYTES];
    for child in tree.nodes().skip(1) {
        let Some(parent) = tree.parent(child) else { continue };
        for key in [Key::Full, Key::Base, Key::Suffix] {
            let Some(text) = key.text(tree.full_name(child), &mut buffer) else { continue };
            let hash = tree.seed.hash(parent.0, text) ^ key as u64;
            let before = index.find(hash, |entry| {
                let (node, its_key) = Key::split(entry);
                its_key == key
                    && tree.parent(node) == Some(parent)
                    && key.text(tree.full_name(node), &mut other) == Some(text)
            });
            let before = before.map(|entry| Key::split(entry).0);
            match before {
                Some(node) if key == Key::Full && tree.full_name(node) == tree.full_name(child) => {
                    return Some(child);
                }
                Some(_) => {}
                None => index.insert(hash, key.join(child), |entry| {
                    let (node, key) = Key::split(entry);
                    let mut buffer = [0; MAX_NODE_NAME_BYTES];
                    let text = key.text(tree.full_name(node), &mut buffer).unwrap_or_default();
                    let parent = tree.parent(node).map_or(0, |parent| parent.0);
                    tree.seed.hash(parent, text) ^ key as u64
                }),
            }
        }
    }
    tree.children = index;
    None
}

/// Under what a child is found. An entry of the index is a node with a key in its top bits, so
/// there may be 2^30 nodes, more than a blob of 2^30 bytes can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Its name with its unit address.
    Full = 0,
    /// Its name, where that does not say all; the first child of that name only.
    Base = 1,
    /// Its name behind the manufacturer's part; the first child of that name only.
    Suffix = 2,
}

impl Key {
    fn join(self, node: NodeId) -> u32 {
        node.0 | (self as u32) << 30
    }

    fn split(entry: u32) -> (NodeId, Self) {
        let key = match entry >> 30 {
            0 => Self::Full,
            1 => Self::Base,
            _ => Self::Suffix,
        };
        (NodeId(entry & ((1 << 30) - 1)), key)
    }

    /// What a node of that name is found under.
    fn text<'a>(
        self,
        name: &'a str,
        buffer: &'a mut [u8; MAX_NODE_NAME_BYTES],
    ) -> Option<&'a [u8]> {
        let base = name.split('@').next().unwrap_or(name);
        match self {
            Self::Full if base.len() < name.len() => Canonical::new(name, buffer).map(|c| c.full),
            Self::Full => None,
            Self::Base => Some(base.as_bytes()),
            Self::Suffix => suffix(base).map(str::as_bytes),
        }
    }
}

/// The name behind the manufacturer's part.
fn suffix(base: &str) -> Option<&str> {
    base.split_once(',').map(|(_, rest)| rest)
}

/// A name whose unit address is in the form that is compared: lower case, no leading zeros in any
/// of its parts.
struct Canonical<'a> {
    full: &'a [u8],
    base: &'a [u8],
    unit: &'a [u8],
}

impl<'a> Canonical<'a> {
    fn new(name: &str, buffer: &'a mut [u8; MAX_NODE_NAME_BYTES]) -> Option<Self> {
        let (base, unit) = name.split_once('@').unwrap_or((name, ""));
        let mut len = 0;
        let mut put = |byte: u8| {
            *buffer.get_mut(len)? = byte;
            len += 1;
            Some(())
        };
        base.bytes().try_for_each(&mut put)?;
        if !unit.is_empty() {
            put(b'@')?;
            canonical_unit(unit).try_for_each(put)?;
        }
        let full = buffer.get(..len)?;
        let (base, unit) = full.split_at(base.len());
        Some(Self { full, base, unit: unit.strip_prefix(b"@").unwrap_or(unit) })
    }

    /// The base as text: it is the start of the name this was made of.
    fn base_text<'n>(&self, name: &'n str) -> &'n str {
        name.get(..self.base.len()).unwrap_or(name)
    }
}

/// A unit address in the form that is compared.
fn canonical_unit(unit: &str) -> impl Iterator<Item = u8> + '_ {
    unit.split_inclusive(',').flat_map(|part| {
        let digits = part.trim_start_matches('0');
        // Of a part of zeros only, one is left.
        let zero = digits.len() < part.len() && matches!(digits, "" | ",");
        zero.then_some(b'0').into_iter().chain(digits.bytes().map(|byte| byte.to_ascii_lowercase()))
    })
}
