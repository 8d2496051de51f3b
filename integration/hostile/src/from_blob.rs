//! Flattened trees: whatever is taken for one is within the limits, and comes back as it was.

use vof_device::limits::{MAX_DEPTH, MAX_NODE_NAME_BYTES, MAX_NODE_PROPERTIES};
use vof_device::{DeviceTree, NodeId};

use crate::Reach;

const TAKEN: usize = 0;
const HAS_CHILDREN: usize = 1;
const HAS_VALUES: usize = 2;
const HAS_ALIAS: usize = 3;

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    ["taken", "has children", "has values", "has an alias"].map(str::to_owned).into()
}

/// `data` is a blob.
pub fn run(data: &[u8]) -> Reach {
    let mut reach = Reach::NONE;
    let Ok(tree) = DeviceTree::from_blob(data) else { return reach };
    reach.add(TAKEN);
    check_limits(&tree, data.len());
    let blob = tree.to_blob();
    let again = DeviceTree::from_blob(&blob).expect("what was written is read");
    assert_eq!(again.to_blob(), blob, "the second writing is the first");
    check_same(&tree, &again);
    check_header(data, &blob);
    for node in tree.nodes() {
        check_links(&tree, node);
        check_path(&tree, node);
        if tree.child(node).is_some() {
            reach.add(HAS_CHILDREN);
        }
        if tree.properties(node).any(|(name, value)| name != "phandle" && !value.is_empty()) {
            reach.add(HAS_VALUES);
        }
    }
    if let Some(aliases) = tree.find("/aliases") {
        for (name, _) in tree.properties(aliases) {
            if tree.resolve(name).is_some() {
                reach.add(HAS_ALIAS);
            }
        }
    }
    reach
}

/// What a tree costs is a matter of its blob's size: a node takes at least 28 bytes of it, a
/// property 12.
fn check_limits(tree: &DeviceTree, blob_bytes: usize) {
    let nodes = tree.nodes().len();
    assert!(nodes * 28 <= blob_bytes, "{nodes} nodes in {blob_bytes} bytes");
    let overhead = tree.overhead_bytes();
    assert!(overhead <= 8 * blob_bytes + 4096, "{overhead} bytes for a blob of {blob_bytes}");
    for node in tree.nodes() {
        let depth = std::iter::successors(Some(node), |&node| tree.parent(node)).count() - 1;
        assert!(depth <= MAX_DEPTH);
        assert!(tree.full_name(node).len() <= MAX_NODE_NAME_BYTES);
        assert!(tree.properties(node).count() <= MAX_NODE_PROPERTIES);
    }
}

fn check_same(one: &DeviceTree, other: &DeviceTree) {
    assert_eq!(one.nodes().len(), other.nodes().len());
    for node in one.nodes() {
        assert_eq!(one.full_name(node), other.full_name(node));
        assert_eq!(one.parent(node), other.parent(node));
        assert_eq!(one.phandle(node), other.phandle(node));
        assert!(one.properties(node).eq(other.properties(node)));
    }
}

/// What a tree has besides nodes is kept, too: the CPU that boots, and the reserved memory.
fn check_header(data: &[u8], blob: &[u8]) {
    assert_eq!(data[28..32], blob[28..32], "another CPU boots");
    let reserved = |blob: &[u8]| {
        let place = u32::from_be_bytes([blob[16], blob[17], blob[18], blob[19]]);
        let entries = blob[place as usize..].chunks_exact(16).map(<[u8]>::to_vec);
        entries.take_while(|entry| entry.iter().any(|&byte| byte != 0)).collect::<Vec<_>>()
    };
    assert_eq!(reserved(data), reserved(blob), "other memory is reserved");
}

fn check_links(tree: &DeviceTree, node: NodeId) {
    let phandle = tree.phandle(node);
    assert!(phandle != 0 && phandle != u32::MAX);
    assert_eq!(tree.node_by_phandle(phandle), Some(node));
    assert_eq!(tree.parent(node).is_none(), node == tree.root());
    for child in tree.children(node) {
        assert_eq!(tree.parent(child), Some(node));
    }
    for (name, value) in tree.properties(node) {
        assert_eq!(tree.property(node, name), Some(value), "{name}");
    }
}

/// A path of ordinary names leads to its node, or to one whose path differs in nothing that
/// counts.
fn check_path(tree: &DeviceTree, node: NodeId) {
    let path = tree.path(node);
    let is_ordinary = |name: &str| {
        let (base, unit) = name.split_once('@').unwrap_or((name, "0"));
        let plain = |c: char| c.is_ascii_alphanumeric() || ",._+-#".contains(c);
        !base.is_empty() && base.chars().all(plain) && !unit.is_empty() && unit.chars().all(plain)
    };
    let is_ordinary = path.split('/').filter(|name| !name.is_empty()).all(is_ordinary);
    if !is_ordinary || !is_reachable(tree, node) {
        // It is looked up all the same.
        let _ = tree.find(&path);
        return;
    }
    let found = tree.find(&path).unwrap_or_else(|| panic!("{path} is not found"));
    assert_eq!(compared(&tree.path(found)), compared(&path));
}

/// Whether nothing above the node stands behind a sibling that no path tells it apart from: what
/// is below such a node cannot be named.
fn is_reachable(tree: &DeviceTree, node: NodeId) -> bool {
    let above = std::iter::successors(tree.parent(node), |&above| tree.parent(above));
    let mut above = above.filter_map(|above| Some((above, tree.parent(above)?)));
    above.all(|(above, parent)| {
        let name = compared(tree.full_name(above));
        let first = tree.children(parent).find(|&child| compared(tree.full_name(child)) == name);
        first == Some(above)
    })
}

/// A path in the form that is compared: units in lower case, without leading zeros, and one of no
/// characters is none.
fn compared(path: &str) -> String {
    let part = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        digits => digits.to_ascii_lowercase(),
    };
    let name = |name: &str| match name.split_once('@') {
        None | Some((_, "")) => name.trim_end_matches('@').to_owned(),
        Some((base, unit)) => {
            let parts: Vec<String> = unit.split(',').map(part).collect();
            format!("{base}@{}", parts.join(","))
        }
    };
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}
