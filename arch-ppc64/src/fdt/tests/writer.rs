//! The writer alone: long names, changes, slack, and what it refuses.

use super::parser::Tree;
use crate::cas::TreeChange;
use crate::fdt::{FdtError, Reserved, Writer};

fn set(path: &str, name: &str, value: &[u8]) -> TreeChange {
    TreeChange::Set { path: path.into(), name: name.into(), value: value.into() }
}

fn remove(path: &str, name: &str) -> TreeChange {
    TreeChange::Remove { path: path.into(), name: name.into() }
}

/// Root with a property, a node, and a node in it.
fn write(changes: Vec<TreeChange>) -> Result<Tree, FdtError> {
    let mut writer = Writer::new(&[], 3, changes)?;
    writer.node("", |w| {
        w.cell("first", 1)?;
        w.cell("second", 2)?;
        w.node("outer", |w| {
            w.cell("own", 3)?;
            w.node("inner@5", |w| w.flag("deep"))
        })
    })?;
    Ok(Tree::parse(&writer.finish(64)?))
}

fn names(tree: &Tree, path: &str) -> Vec<String> {
    tree.node(path).unwrap().properties.iter().map(|(name, _)| name.clone()).collect()
}

#[test]
fn changes_replace_add_and_remove() {
    let tree = write(vec![
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
    // What is added comes behind the node's own properties, and before its nodes.
    assert_eq!(names(&tree, "/outer"), ["phandle", "own", "added"]);
    assert_eq!(names(&tree, "/outer/inner@5"), ["phandle", "deep", "also"]);
}

#[test]
fn last_change_of_a_property_counts() {
    let tree = write(vec![
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
    let error = write(vec![set("/outer/inner@6", "x", b"")]).unwrap_err();
    assert_eq!(error, FdtError::NoSuchNode { path: "/outer/inner@6".into() });
}

/// Other properties name nodes by it, so it is not up to a change.
#[test]
fn phandles_do_not_change() {
    let before = write(vec![]).unwrap();
    let after = write(vec![set("/outer", "phandle", &[0; 4]), remove("/", "phandle")]).unwrap();
    assert_eq!(after, before);
}

#[test]
fn long_names_of_any_kind_are_written() {
    let long_property = "p".repeat(40);
    let long_node = "n".repeat(35);
    let long_unit = format!("{}@1,2", "u".repeat(32));
    let mut writer = Writer::new(&[], 0, vec![set("/", &long_property, b"set")]).unwrap();
    writer
        .node("", |w| {
            w.node(&long_node, |w| {
                w.bytes(&long_property, b"1")?;
                w.bytes("short", b"2")?;
                w.node(&long_node, |w| w.bytes("ibm,another-name-of-more-than-31-bytes", b"3"))
            })?;
            w.node(&long_unit, |w| w.bytes(&long_property, b"4"))
        })
        .unwrap();
    let tree = Tree::parse(&writer.finish(0).unwrap());
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
    let mut writer = Writer::new(&[], 0, vec![]).unwrap();
    writer
        .node("", |w| {
            let long = |bad: &str| format!("{}{bad}", "a".repeat(32));
            for name in ["", "a b", "a/b", "a\0b", "ä", &long(" "), &long("/"), &long("\0")] {
                assert!(matches!(w.flag(name), Err(FdtError::Name { .. })), "{name:?}");
            }
            for name in ["a b", "a/b", "a\0b", &long(" "), &long("/"), &long("\0"), "a@b/c"] {
                let node = w.node(name, |_| Ok(()));
                assert!(matches!(node, Err(FdtError::Name { .. })), "{name:?}");
            }
            Ok(())
        })
        .unwrap();
    Tree::parse(&writer.finish(0).unwrap());
}

#[test]
fn slack_is_as_asked_for() {
    let blob_of = |slack| {
        let mut writer = Writer::new(&[], 0, vec![]).unwrap();
        writer.node("", |w| w.flag("x")).unwrap();
        writer.finish(slack)
    };
    let tree = Tree::parse(&blob_of(1000).unwrap());
    assert_eq!(tree.total_bytes, tree.used_bytes + 1000);
    assert_eq!(blob_of(u32::MAX as usize).unwrap_err(), FdtError::TooLarge);
    assert_eq!(blob_of(usize::MAX).unwrap_err(), FdtError::TooLarge);
}

#[test]
fn reservations_may_not_overlap() {
    let range = |at| Reserved::new(at, 0x1000).unwrap();
    assert!(Writer::new(&[range(0x1000), range(0x3000)], 0, vec![]).is_ok());
    let error = Writer::new(&[range(0x1000), range(0x1800)], 0, vec![]).unwrap_err();
    assert_eq!(error, FdtError::Writer(vm_fdt::Error::OverlappingMemoryReservations));
}

#[test]
fn boot_cpu_is_in_the_header() {
    assert_eq!(write(vec![]).unwrap().boot_cpu, 3);
}
