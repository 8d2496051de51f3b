//! Several changes of a tree at once: all of them, or none.

use std::collections::HashMap;

use arch_ppc64::cas::TreeChange;

use super::{DeviceTree, NodeId, RenameError, SetError};
use crate::limits::MAX_NODE_PROPERTIES;

/// Why changes cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The path is not that of a node.
    #[error("changes {name} of {path}, which is no node")]
    NoNode { path: String, name: String },
    /// The property stays as it is.
    #[error("cannot change {name} of {path}")]
    Fixed { path: String, name: String },
    /// A node cannot get another name.
    #[error("cannot rename {path}: {source}")]
    Rename { path: String, source: RenameError },
    /// A property cannot be set.
    #[error("cannot set {name} of {path}: {source}")]
    Set { path: String, name: String, source: SetError },
}

/// Says of a path, the name of a property there, its value and another one (`None` for none)
/// whether that must not become this.
pub(crate) type IsFixed = fn(&str, &str, Option<&[u8]>, Option<&[u8]>) -> bool;

impl DeviceTree {
    /// Checks `changes`, each in the light of those before it: a copy of the tree to work on would
    /// cost as much as a client had put into it.
    ///
    /// # Errors
    /// [`ChangeError`] of the first that cannot be made.
    pub(crate) fn check_changes<'a>(
        &self,
        changes: &'a [TreeChange],
        is_fixed: IsFixed,
    ) -> Result<Checked<'a>, ChangeError> {
        // How many properties a node has, and whether it has one, where changes have a say in it.
        let mut counts: HashMap<NodeId, usize> = HashMap::new();
        let mut present: HashMap<(NodeId, &str), bool> = HashMap::new();
        // The nodes that have got other paths.
        let mut renamed: HashMap<String, NodeId> = HashMap::new();
        let mut nodes = Vec::with_capacity(changes.len());
        for change in changes {
            let (path, name) = (change.path(), change.name());
            let has_moved = |node| renamed.values().any(|&moved| moved == node);
            let now_at = |path: &str| {
                let there = self.find(path).filter(|&node| self.path(node) == *path);
                renamed.get(path).copied().or(there.filter(|&node| !has_moved(node)))
            };
            let no_node = || ChangeError::NoNode { path: path.to_owned(), name: name.to_owned() };
            if let TreeChange::Rename { .. } = change {
                let new_path = TreeChange::renamed(path, name).ok_or_else(no_node)?;
                let (old, new) = (now_at(path), now_at(&new_path));
                let node = old.or(new).ok_or_else(no_node)?;
                // One without the old path has been renamed before.
                if old.is_some() && old != new {
                    let refused = |source| ChangeError::Rename { path: path.to_owned(), source };
                    if new.is_some() {
                        return Err(refused(RenameError::Taken));
                    }
                    self.check_name(node, name).map_err(refused)?;
                    renamed.retain(|_, moved| *moved != node);
                    renamed.insert(new_path, node);
                }
                nodes.push(node);
                continue;
            }
            let node = now_at(path).ok_or_else(no_node)?;
            nodes.push(node);
            if let TreeChange::SetChildren { value, .. } = change {
                // They have it already, so there is room for it.
                let had = |child| present.get(&(child, name)).is_some_and(|is_there| *is_there);
                self.check_children(node, path, name, value, had, is_fixed)?;
                continue;
            }
            let before = self.property(node, name);
            // A unit address is in both name and `reg`.
            let moves = name == "reg" && has_moved(node);
            if !moves && is_fixed(path, name, before, change.value()) {
                return Err(fixed(path, name));
            }
            let count = counts.entry(node).or_insert_with(|| self.slots_of(node).len());
            let is_there = present.entry((node, name)).or_insert_with(|| before.is_some());
            match change.value() {
                Some(value) => {
                    self.check(node, name, value).map_err(|e| of(path, name, e))?;
                    if !*is_there && *count >= MAX_NODE_PROPERTIES {
                        return Err(of(path, name, SetError::TooMany));
                    }
                    *count += usize::from(!*is_there);
                    *is_there = true;
                }
                None if name == "phandle" => {}
                None => {
                    *count -= usize::from(*is_there);
                    *is_there = false;
                }
            }
        }
        Ok(Checked { nodes, changes })
    }

    /// Checks that a property can get a value in all children of `parent` that have it, or of which
    /// `had` says that they will.
    fn check_children(
        &self,
        parent: NodeId,
        parent_path: &str,
        name: &str,
        value: &[u8],
        had: impl Fn(NodeId) -> bool,
        is_fixed: IsFixed,
    ) -> Result<(), ChangeError> {
        // The root's children do not have its name before theirs.
        let mut path = format!("{}/", parent_path.trim_end_matches('/'));
        let parent_bytes = path.len();
        for child in self.children(parent) {
            let before = self.property(child, name);
            if before.is_none() && !had(child) {
                continue;
            }
            path.truncate(parent_bytes);
            path.push_str(self.full_name(child));
            if is_fixed(&path, name, before, Some(value)) {
                return Err(fixed(&path, name));
            }
            self.check(child, name, value).map_err(|e| of(&path, name, e))?;
        }
        Ok(())
    }

    /// Makes all changes of a list, in their order: of this tree, as it was when they were checked.
    ///
    /// # Errors
    /// None, but for another tree.
    pub(crate) fn make(&mut self, checked: Checked<'_>) -> Result<(), ChangeError> {
        for (node, change) in checked.nodes.into_iter().zip(checked.changes) {
            let (path, name) = (change.path(), change.name());
            match (change, change.value()) {
                (TreeChange::Rename { .. }, _) => {
                    let refused = |source| ChangeError::Rename { path: path.to_owned(), source };
                    self.rename(node, name).map_err(refused)?;
                }
                (TreeChange::SetChildren { .. }, Some(value)) => {
                    let mut next = self.child(node);
                    while let Some(child) = next {
                        if self.property(child, name).is_some() {
                            self.set_property(child, name, value).map_err(|e| of(path, name, e))?;
                        }
                        next = self.peer(child);
                    }
                }
                (_, Some(value)) => {
                    self.set_property(node, name, value).map_err(|e| of(path, name, e))?;
                }
                (_, None) => {
                    self.remove_property(node, name);
                }
            }
        }
        Ok(())
    }

    /// How many bytes of names and values `changes` set, those of a change of children as often as the
    /// parent has children.
    pub(crate) fn changed_bytes(&self, changes: &[TreeChange]) -> usize {
        let set = changes.iter().map(|change| {
            let value = change.value().map_or(0, |value| change.name().len() + value.len());
            let times = match change {
                TreeChange::SetChildren { path, .. } => {
                    self.find(path).map_or(0, |parent| self.children(parent).count())
                }
                _ => 1,
            };
            value.saturating_mul(times)
        });
        set.fold(0, usize::saturating_add)
    }
}

/// Changes that can be made, and the nodes that they are of.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    nodes: Vec<NodeId>,
    changes: &'a [TreeChange],
}

fn fixed(path: &str, name: &str) -> ChangeError {
    ChangeError::Fixed { path: path.to_owned(), name: name.to_owned() }
}

fn of(path: &str, name: &str, source: SetError) -> ChangeError {
    ChangeError::Set { path: path.to_owned(), name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_utils::sample_tree;

    fn apply(tree: &mut DeviceTree, changes: &[TreeChange]) -> Result<(), ChangeError> {
        let checked = tree.check_changes(changes, |_, _, _, _| false)?;
        tree.make(checked)
    }

    fn set(path: &str, name: &str) -> TreeChange {
        TreeChange::Set { path: path.to_owned(), name: name.to_owned(), value: b"value".to_vec() }
    }

    fn remove(path: &str, name: &str) -> TreeChange {
        TreeChange::Remove { path: path.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn all_are_made_or_none() {
        let wrong = [
            set("/nothing", "x"),
            set("hvterm", "x"),
            set("/chosen", "a/b"),
            set("/chosen", "phandle"),
            remove("/nothing", "x"),
        ];
        for wrong in wrong {
            let mut tree = sample_tree();
            let before = tree.to_blob();
            let changes = [set("/chosen", "x"), remove("/rtas", "rtas-size"), wrong];
            assert!(apply(&mut tree, &changes).is_err(), "{changes:?}");
            assert_eq!(tree.to_blob(), before);
            assert_eq!(apply(&mut tree, &changes[..2]), Ok(()));
            let node = |path| tree.find(path).unwrap();
            assert_eq!(tree.property(node("/chosen"), "x"), Some(&b"value"[..]));
            assert_eq!(tree.property(node("/rtas"), "rtas-size"), None);
        }
    }

    fn rename(path: &str, name: &str) -> TreeChange {
        TreeChange::Rename { path: path.to_owned(), name: name.to_owned() }
    }

    /// What follows a change of name goes by the new path, and the old one is free.
    #[test]
    fn nodes_get_other_names() {
        let mut tree = sample_tree();
        let rtas = tree.find("/rtas").unwrap();
        let there = [rename("/rtas", "tasr@1"), set("/tasr@1", "reg"), set("/tasr@1", "x")];
        let fixed: IsFixed = |_, name, before, after| name == "reg" && before != after;
        let apply = |tree: &mut DeviceTree, changes: &[TreeChange]| {
            let checked = tree.check_changes(changes, fixed)?;
            tree.make(checked)
        };
        // The address changes with the name, and not without.
        assert!(apply(&mut tree, &[set("/rtas", "reg")]).is_err());
        assert_eq!(apply(&mut tree, &there), Ok(()));
        assert_eq!(tree.find("/tasr@1"), Some(rtas));
        assert_eq!((tree.property(rtas, "reg"), tree.find("/rtas")), (Some(&b"value"[..]), None));
        // The same again changes nothing; and back, and to the same name.
        let before = tree.to_blob();
        assert_eq!(apply(&mut tree, &there), Ok(()));
        assert_eq!(tree.to_blob(), before);
        let back = [rename("/tasr@1", "rtas"), remove("/rtas", "reg"), rename("/rtas", "rtas")];
        assert_eq!(apply(&mut tree, &back), Ok(()));
        assert_eq!((tree.find("/rtas"), tree.property(rtas, "reg")), (Some(rtas), None));
        // Two of them in one list, one in the other's place.
        let places = [rename("/rtas", "free"), rename("/chosen", "rtas"), set("/rtas", "y")];
        let mut other = tree.clone();
        assert_eq!(apply(&mut other, &places), Ok(()));
        assert_eq!(other.find("/free"), Some(rtas));
        assert!(other.property(tree.find("/chosen").unwrap(), "y").is_some());
        let before = tree.to_blob();
        for wrong in [
            rename("/nothing", "x"),
            rename("/", "x"),
            rename("/rtas", "chosen"),
            rename("/rtas", "a/b"),
            rename("/rtas", ""),
            set("/tasr@1", "x"),
        ] {
            let changes = [rename("/chosen", "selected"), rename("/selected", "chosen"), wrong];
            assert!(apply(&mut tree, &changes).is_err(), "{changes:?}");
            assert_eq!(tree.to_blob(), before);
        }
    }

    /// A change of children is of those that have the property, as the changes before it leave them.
    #[test]
    fn children_that_have_it_are_changed() {
        let children = |path: &str, name: &str, value: &[u8]| TreeChange::SetChildren {
            path: path.to_owned(),
            name: name.to_owned(),
            value: value.to_vec(),
        };
        let mut tree = sample_tree();
        let changes = [set("/chosen", "x"), set("/rtas", "x"), remove("/rtas", "x")];
        let changes = [&changes[..], &[children("/", "x", b"all")]].concat();
        assert_eq!(apply(&mut tree, &changes), Ok(()));
        let value = |tree: &DeviceTree, path: &str| {
            tree.property(tree.find(path).unwrap(), "x").map(<[u8]>::to_vec)
        };
        assert_eq!(value(&tree, "/chosen"), Some(b"all".to_vec()));
        assert_eq!((value(&tree, "/rtas"), value(&tree, "/")), (None, None));
        // Nobody has it, and nobody gets it; of a node that is none, nobody can.
        assert_eq!(apply(&mut tree, &[children("/", "y", b"")]), Ok(()));
        let count = tree.children(tree.root()).count();
        assert_eq!(tree.changed_bytes(&[children("/", "x", b"all")]), 4 * count);
        let before = tree.to_blob();
        let error = apply(&mut tree, &[set("/rtas", "x"), children("/none", "x", b"")]);
        assert_eq!(error, Err(ChangeError::NoNode { path: "/none".into(), name: "x".into() }));
        // What is fixed of one is named, and nothing is done.
        let is_fixed: IsFixed = |path, name, _, _| (path, name) == ("/rtas", "rtas-size");
        let changes = [set("/chosen", "rtas-size"), children("/", "rtas-size", b"1234")];
        let error = tree.check_changes(&changes, is_fixed).unwrap_err();
        assert_eq!(error, fixed("/rtas", "rtas-size"));
        let error = apply(&mut tree, &[children("/", "phandle", b"1234")]).unwrap_err();
        assert!(matches!(error, ChangeError::Set { source: SetError::Phandle, .. }), "{error}");
        assert_eq!(tree.to_blob(), before);
    }

    /// What one removes makes room for another, and what one makes is there for the next.
    #[test]
    fn each_is_checked_in_the_light_of_those_before() {
        let mut tree = sample_tree();
        let chosen = tree.find("/chosen").unwrap();
        let len = tree.properties(chosen).len();
        for number in len..MAX_NODE_PROPERTIES - 1 {
            tree.set_property(chosen, &format!("p{number}"), b"").unwrap();
        }
        let last = [set("/chosen", "last"), set("/chosen", "last"), set("/rtas", "other")];
        let one_more = [&last[..], &[set("/chosen", "more")]].concat();
        let before = tree.to_blob();
        let error = apply(&mut tree, &one_more).unwrap_err();
        assert_eq!(error, of("/chosen", "more", SetError::TooMany));
        assert_eq!(tree.to_blob(), before);
        let gone = [remove("/chosen", "p99"), remove("/chosen", "p99"), remove("/chosen", "no")];
        let changes = [&last[..], &gone, &[set("/chosen", "more")]].concat();
        assert_eq!(apply(&mut tree, &changes), Ok(()));
        assert_eq!(tree.properties(chosen).len(), MAX_NODE_PROPERTIES);
        assert_eq!(apply(&mut tree, &[remove("/chosen", "phandle")]), Ok(()));
        assert_eq!(tree.properties(chosen).len(), MAX_NODE_PROPERTIES);
    }
}
