//! Trees alone: names, changes, slack, and what is refused.

use vm_memory::GuestAddress;

use super::parser;
use crate::cas::TreeChange;
use crate::fdt::{FdtError, Tree};

fn set(path: &str, name: &str, value: &[u8]) -> TreeChange {
    TreeChange::Set { path: path.into(), name: name.into(), value: value.into() }
}

fn remove(path: &str, name: &str) -> TreeChange {
    TreeChange::Remove { path: path.into(), name: name.into() }
}

fn parsed(tree: &Tree) -> parser::Tree {
    parser::Tree::parse(&tree.flatten(64).unwrap())
}

/// Root with a property, a node, and a node in it.
fn small() -> Tree {
    let mut tree = Tree::new();
    tree.set_boot_cpu(3);
    tree.root().cell("first", 1).unwrap().cell("second", 2).unwrap();
    let mut outer = tree.node("/outer").unwrap();
    outer.cell("own", 3).unwrap();
    outer.child("inner@5").unwrap().flag("deep").unwrap();
    tree
}

fn changed(changes: &[TreeChange]) -> Result<parser::Tree, FdtError> {
    let mut tree = small();
    tree.apply(changes)?;
    Ok(parsed(&tree))
}

fn names(tree: &parser::Tree, path: &str) -> Vec<String> {
    tree.node(path).unwrap().properties.iter().map(|(name, _)| name.clone()).collect()
}

#[test]
fn changes_replace_add_and_remove() {
    let tree = changed(&[
        set("/", "first", b"new"),
        remove("/", "second"),
        set("/outer", "added", b"x"),
        set("/outer/inner@5", "also", b"y"),
        remove("/outer/inner@5", "never-there"),
        remove("/nowhere", "never-there"),
    ])
    .unwrap();
    assert_eq!(names(&tree, "/"), ["phandle", "first"]);
    assert_eq!(tree.value("/", "first"), Some(&b"new"[..]));
    assert_eq!(names(&tree, "/outer"), ["phandle", "own", "added"]);
    assert_eq!(names(&tree, "/outer/inner@5"), ["phandle", "deep", "also"]);
}

#[test]
fn nodes_get_other_names() {
    let rename =
        |path: &str, name: &str| TreeChange::Rename { path: path.into(), name: name.into() };
    let again = rename("/outer", "other@1");
    let tree = changed(&[
        rename("/outer/inner@5", "inmost"),
        again.clone(),
        again,
        set("/other@1/inmost", "also", b"y"),
    ])
    .unwrap();
    assert_eq!(names(&tree, "/other@1"), ["phandle", "own"]);
    assert_eq!(names(&tree, "/other@1/inmost"), ["phandle", "deep", "also"]);
    assert_eq!(tree.cells("/other@1", "phandle"), [2]);
    assert!(tree.node("/outer").is_none());
    assert!(changed(&[rename("/outer", "outer")]).is_ok());
    for wrong in [rename("/nowhere", "x"), rename("/", "x"), rename("/outer", "a/b")] {
        assert!(changed(std::slice::from_ref(&wrong)).is_err(), "{wrong:?}");
    }
    let mut tree = small();
    tree.node("/third").unwrap();
    let error = tree.apply(&[rename("/third", "outer")]).unwrap_err();
    assert!(matches!(error, FdtError::DuplicateNode { .. }), "{error}");
}

#[test]
fn last_change_of_a_property_counts() {
    let tree = changed(&[
        set("/", "first", b"1"),
        set("/", "first", b"2"),
        set("/", "second", b"1"),
        remove("/", "second"),
        remove("/outer", "own"),
        set("/outer", "own", b"back"),
    ])
    .unwrap();
    assert_eq!(tree.value("/", "first"), Some(&b"2"[..]));
    assert_eq!(tree.value("/", "second"), None);
    assert_eq!(tree.value("/outer", "own"), Some(&b"back"[..]));
}

#[test]
fn change_of_a_missing_node_is_an_error() {
    let error = changed(&[set("/outer/inner@6", "x", b"")]).unwrap_err();
    assert_eq!(error, FdtError::NoSuchNode { path: "/outer/inner@6".into() });
}

/// Other properties name nodes by it, so it is not up to a change.
#[test]
fn phandles_do_not_change() {
    let after = changed(&[set("/outer", "phandle", &[0; 4]), remove("/", "phandle")]).unwrap();
    assert_eq!(after, parsed(&small()));
}

#[test]
fn a_property_has_one_writer() {
    let mut tree = small();
    let mut outer = tree.existing("/outer").unwrap();
    for name in ["own", "phandle"] {
        let error = outer.flag(name).unwrap_err();
        let (path, name) = ("/outer".to_owned(), name.to_owned());
        assert_eq!(error, FdtError::DuplicateProperty { path, name });
    }
    let error = outer.cell("own", 4).unwrap_err();
    assert_eq!(error.to_string(), "the node /outer has a property own already");
    assert_eq!(tree.value("/outer", "own"), Some(&[0, 0, 0, 3][..]));
}

#[test]
fn a_node_is_made_once_and_below_another() {
    let mut tree = small();
    for path in ["/outer", "/outer/inner@5"] {
        let error = tree.node(path).unwrap_err();
        assert_eq!(error, FdtError::DuplicateNode { path: path.into() });
    }
    assert_eq!(
        tree.existing("/outer").unwrap().child("inner@5").unwrap_err(),
        FdtError::DuplicateNode { path: "/outer/inner@5".into() }
    );
    for (path, missing) in [("/a/b", "/a"), ("/outer/inner/x", "/outer/inner"), ("//x", "/")] {
        let error = tree.node(path).unwrap_err();
        let expected = FdtError::NoSuchNode { path: missing.into() };
        assert!(error == expected || matches!(error, FdtError::Name { .. }), "{path}: {error}");
    }
    let error = tree.existing("/none").unwrap_err();
    assert_eq!(error.to_string(), "the device tree has no node /none");
}

#[test]
fn phandles_are_known_at_once() {
    let mut tree = Tree::new();
    let first = tree.node("/first").unwrap().phandle();
    let second = tree.node("/second").unwrap().cell("of", first.cell()).unwrap().phandle();
    assert_eq!(tree.phandle("/second"), Ok(second));
    let read = parsed(&tree);
    assert_eq!(read.node("/first").unwrap().phandle(), first.cell());
    assert_eq!(read.cells("/second", "of"), [first.cell()]);
}

#[test]
fn long_names_of_any_kind_are_written() {
    let long_property = "p".repeat(40);
    let long_node = "n".repeat(35);
    let long_unit = format!("{}@1,2", "u".repeat(32));
    let mut tree = Tree::new();
    let mut node = tree.node(&format!("/{long_node}")).unwrap();
    node.bytes(&long_property, b"1").unwrap().bytes("short", b"2").unwrap();
    let mut inner = node.child(&long_node).unwrap();
    inner.bytes("ibm,another-name-of-more-than-31-bytes", b"3").unwrap();
    tree.node(&format!("/{long_unit}")).unwrap().bytes(&long_property, b"4").unwrap();
    tree.apply(&[set("/", &long_property, b"set")]).unwrap();
    let tree = parsed(&tree);
    assert_eq!(tree.value("/", &long_property), Some(&b"set"[..]));
    assert_eq!(tree.value(&long_node, &long_property), Some(&b"1"[..]));
    assert_eq!(tree.value(&long_node, "short"), Some(&b"2"[..]));
    let inner = format!("{long_node}/{long_node}");
    let name = "ibm,another-name-of-more-than-31-bytes";
    assert_eq!(tree.value(&inner, name), Some(&b"3"[..]));
    assert_eq!(tree.value(&long_unit, &long_property), Some(&b"4"[..]));
}

#[test]
fn wrong_names_are_refused_however_long() {
    let mut tree = Tree::new();
    let long = |bad: &str| format!("{}{bad}", "a".repeat(32));
    let mut root = tree.root();
    for name in ["", "a b", "a/b", "a\0b", "ä", &long(" "), &long("/"), &long("\0")] {
        assert!(matches!(root.flag(name), Err(FdtError::Name { .. })), "{name:?}");
    }
    for name in ["", "a b", "a/b", "a\0b", &long(" "), &long("/"), &long("\0"), "a@b/c"] {
        assert!(matches!(root.child(name), Err(FdtError::Name { .. })), "{name:?}");
    }
    assert_eq!(parsed(&tree), parsed(&Tree::new()));
}

#[test]
fn slack_is_as_asked_for() {
    let tree = small();
    let read = parser::Tree::parse(&tree.flatten(1000).unwrap());
    assert_eq!(read.total_bytes, read.used_bytes + 1000);
    assert_eq!(tree.flatten(u32::MAX as usize).unwrap_err(), FdtError::TooLarge);
    assert_eq!(tree.flatten(usize::MAX).unwrap_err(), FdtError::TooLarge);
}

#[test]
fn reservations_may_not_overlap() {
    let mut tree = Tree::new();
    let mut reserve = |at, bytes| tree.reserve(GuestAddress(at), bytes);
    assert_eq!(reserve(0x1000, 0x1000), Ok(()));
    assert_eq!(reserve(0x3000, 0x1000), Ok(()));
    for (at, bytes) in [(0x1800, 0x1000), (0x800, 0x801), (0x5000, 0), (0, 0x10_0000)] {
        assert_eq!(reserve(at, bytes), Err(FdtError::Reserved { at }));
    }
    assert_eq!(reserve(u64::MAX, 2), Err(FdtError::Address { value: u64::MAX }));
    assert_eq!(parsed(&tree).reserved, [(0x1000, 0x1000), (0x3000, 0x1000)]);
}

#[test]
fn boot_cpu_is_in_the_header() {
    assert_eq!(parsed(&small()).boot_cpu, 3);
}

#[test]
fn the_deepest_tree_can_be_written() {
    let mut tree = Tree::new();
    let mut path = String::new();
    let mut levels = 1;
    let error = loop {
        path.push_str("/x");
        match tree.node(&path) {
            Ok(_) => levels += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, FdtError::TooDeep { most, .. } if most == levels), "{error}");
    parsed(&tree);
}
