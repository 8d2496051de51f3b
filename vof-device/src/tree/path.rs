//! Device paths (IEEE 1275 §4.3).

use super::index::HashIndex;
use super::{DeviceTree, NodeId};
use crate::limits::{MAX_BLOB_BYTES, MAX_DEPTH, MAX_NODE_NAME_BYTES, MAX_PATH_BYTES};

/// A device specifier that names a node (IEEE 1275 §4.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    /// case and without leading zeros; of siblings that differ in nothing else, the first is meant.
    /// Arguments behind a `:` are not looked at. Empty components mean nothing.
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
        // A client can have made it, and it is no shorter way to a path that is too long.
        let window = alias.get(..=MAX_PATH_BYTES).unwrap_or(alias);
        let alias = window.split(|&byte| byte == 0).next()?;
        let alias = Some(alias).filter(|path| path.len() <= MAX_PATH_BYTES)?;
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
        self.path_pieces(node, &mut [node; MAX_DEPTH]).collect()
    }

    /// The path of `node`, piece by piece; `ids` is for it to work in.
    pub(crate) fn path_pieces<'a>(
        &'a self,
        node: NodeId,
        ids: &'a mut [NodeId; MAX_DEPTH],
    ) -> impl Iterator<Item = &'a str> + Clone + 'a {
        let mut first = MAX_DEPTH;
        let mut at = node;
        while let Some(parent) = self.parent(at) {
            // The root has no name. No node is deeper than there is room for.
            if let Some(id) = first.checked_sub(1).and_then(|place| ids.get_mut(place)) {
                *id = at;
                first -= 1;
            }
            at = parent;
        }
        let below_root = ids.get(first..).unwrap_or_default();
        let root = below_root.is_empty().then_some("/");
        root.into_iter().chain(below_root.iter().flat_map(|&id| ["/", self.full_name(id)]))
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
        if wanted.unit.is_empty() {
            let Some(first) = self.indexed(parent, Key::Base, wanted.base) else {
                return self.indexed(parent, Key::Suffix, wanted.base);
            };
            // One that has no unit is meant before one whose unit may have been left out.
            let has_unit = self.full_name(first).len() > wanted.base.len();
            let whole = if has_unit { self.indexed(parent, Key::Full, wanted.full) } else { None };
            return whole.or(Some(first));
        }
        let at_unit = self.indexed(parent, Key::Unit, wanted.unit)?;
        if wanted.base.is_empty() || self.key_is(at_unit, Key::Full, wanted.full) {
            return Some(at_unit);
        }
        // Another one at the same unit, or one whose manufacturer is left out.
        self.indexed(parent, Key::Full, wanted.full).or_else(|| {
            if self.key_is(at_unit, Key::FullSuffix, wanted.full) {
                return Some(at_unit);
            }
            self.indexed(parent, Key::FullSuffix, wanted.full)
        })
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
        let name = tree.full_name(child);
        let (mut is_found, mut is_first_at_unit) = (false, false);
        for key in [Key::Unit, Key::Base, Key::Full, Key::Suffix, Key::FullSuffix] {
            let Some(text) = key.text(name, &mut buffer) else { continue };
            if key == Key::Full && is_found || key == Key::FullSuffix && is_first_at_unit {
                continue;
            }
            let hash = tree.seed.hash(parent.0, text) ^ key as u64;
            let before = index.find(hash, |entry| {
                let (node, its_key) = Key::split(entry);
                its_key == key
                    && tree.parent(node) == Some(parent)
                    && key.text(tree.full_name(node), &mut other) == Some(text)
            });
            let before = before.map(|entry| tree.full_name(Key::split(entry).0));
            match before {
                Some(before) if before == name => return Some(child),
                Some(_) => continue,
                None => index.insert(hash, key.join(child), |entry| {
                    let (node, key) = Key::split(entry);
                    let mut buffer = [0; MAX_NODE_NAME_BYTES];
                    let text = key.text(tree.full_name(node), &mut buffer).unwrap_or_default();
                    let parent = tree.parent(node).map_or(0, |parent| parent.0);
                    tree.seed.hash(parent, text) ^ key as u64
                }),
            }
            is_first_at_unit |= key == Key::Unit;
            is_found |= key == Key::Unit || text.len() == name.len();
        }
    }
    tree.children = index;
    None
}

/// Under what a child is found. An entry of the index is a node with a key in its top bits, so
/// there may be 2^29 nodes, more than a blob of 2^30 bytes can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Its name with its unit address; only where the other keys do not find it.
    Full = 0,
    /// Its name; the first child of that name only.
    Base = 1,
    /// Its name behind the manufacturer's part; the first child of that name only.
    Suffix = 2,
    /// Its unit address; the first child at that only.
    Unit = 3,
    /// Its name behind the manufacturer's part with its unit address; the first child of that name
    /// only, and not one that is the first at its unit.
    FullSuffix = 4,
}

/// Bits of an entry that tell the node.
const NODE_BITS: u32 = 29;

// A node takes 28 bytes of a blob at least: two tokens, a name, a phandle.
const _: () = assert!(MAX_BLOB_BYTES / 28 < 1 << NODE_BITS);

impl Key {
    fn join(self, node: NodeId) -> u32 {
        node.0 | (self as u32) << NODE_BITS
    }

    fn split(entry: u32) -> (NodeId, Self) {
        let key = match entry >> NODE_BITS {
            0 => Self::Full,
            1 => Self::Base,
            2 => Self::Suffix,
            3 => Self::Unit,
            _ => Self::FullSuffix,
        };
        (NodeId(entry & ((1 << NODE_BITS) - 1)), key)
    }

    /// What a node of that name is found under.
    fn text<'a>(
        self,
        name: &'a str,
        buffer: &'a mut [u8; MAX_NODE_NAME_BYTES],
    ) -> Option<&'a [u8]> {
        let base = name.split('@').next().unwrap_or(name);
        match self {
            Self::Full => Canonical::new(name, buffer).map(|name| name.full),
            Self::Unit if base.len() == name.len() => None,
            Self::Unit => {
                Canonical::new(name, buffer).map(|name| name.unit).filter(|unit| !unit.is_empty())
            }
            Self::Base => Some(base.as_bytes()),
            Self::Suffix => suffix(base).map(str::as_bytes),
            Self::FullSuffix => {
                let manufacturer_len = base.find(',')? + 1;
                let name = Canonical::new(name, buffer).filter(|name| !name.unit.is_empty())?;
                name.full.get(manufacturer_len..)
            }
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
