//! Several changes of a tree at once: all of them, or none.

use std::collections::HashMap;

use arch_ppc64::cas::TreeChange;

use super::{DeviceTree, NodeId, SetError};
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
        let mut nodes = Vec::with_capacity(changes.len());
        for change in changes {
            let (TreeChange::Set { path, name, .. } | TreeChange::Remove { path, name }) = change;
            let node = self.find(path).filter(|&node| self.path(node) == *path);
            let node =
                node.ok_or_else(|| ChangeError::NoNode { path: path.clone(), name: name.clone() })?;
            let before = self.property(node, name);
            let after = match change {
                TreeChange::Set { value, .. } => Some(value.as_slice()),
                TreeChange::Remove { .. } => None,
            };
            if is_fixed(path, name, before, after) {
                return Err(ChangeError::Fixed { path: path.clone(), name: name.clone() });
            }
            let count = counts.entry(node).or_insert_with(|| self.slots_of(node).len());
            let is_there = present.entry((node, name)).or_insert_with(|| before.is_some());
            match change {
                TreeChange::Set { value, .. } => {
                    self.check(node, name, value).map_err(|e| of(path, name, e))?;
                    if !*is_there && *count >= MAX_NODE_PROPERTIES {
                        return Err(of(path, name, SetError::TooMany));
                    }
                    *count += usize::from(!*is_there);
                    *is_there = true;
                }
                TreeChange::Remove { .. } if name == "phandle" => {}
                TreeChange::Remove { .. } => {
                    *count -= usize::from(*is_there);
                    *is_there = false;
                }
            }
            nodes.push(node);
        }
        Ok(Checked { nodes, changes })
    }

    /// Makes all changes of a list, in their order: of this tree, as it was when they were checked.
    ///
    /// # Errors
    /// None, but for another tree.
    pub(crate) fn make(&mut self, checked: Checked<'_>) -> Result<(), ChangeError> {
        for (node, change) in checked.nodes.into_iter().zip(checked.changes) {
            match change {
                TreeChange::Set { path, name, value } => {
                    self.set_property(node, name, value).map_err(|e| of(path, name, e))?;
                }
                TreeChange::Remove { name, .. } => {
                    self.remove_property(node, name);
                }
            }
        }
        Ok(())
    }
}

/// Changes that can be made, and the nodes that they are of.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    nodes: Vec<NodeId>,
    changes: &'a [TreeChange],
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
