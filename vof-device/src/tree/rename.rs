//! Other names for nodes. What names them by their phandles does not notice.

use super::path::index_children;
use super::{DeviceTree, NodeId};
use crate::limits::MAX_NODE_NAME_BYTES;

/// Why a node cannot get another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenameError {
    /// It is none (IEEE 1275 §3.2.1.1), or the node is the root, which has none.
    #[error("nothing can have that name")]
    Name,
    /// Another node has it already, below the same one.
    #[error("there is such a node already")]
    Taken,
}

impl DeviceTree {
    /// Checks that a node can get a name, whatever those beside it have.
    pub(super) fn check_name(&self, node: NodeId, name: &str) -> Result<(), RenameError> {
        let is_name = (1..=MAX_NODE_NAME_BYTES).contains(&name.len())
            && !name.starts_with('@')
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if !is_name || node == self.root() {
            return Err(RenameError::Name);
        }
        Ok(())
    }

    /// Gives a node another name, which costs as much as there are nodes: a machine does so when its
    /// guest agrees on something else than it is.
    pub(crate) fn rename(&mut self, node: NodeId, name: &str) -> Result<(), RenameError> {
        if self.full_name(node) == name {
            return Ok(());
        }
        self.check_name(node, name)?;
        let siblings = self.parent(node).into_iter().flat_map(|parent| self.children(parent));
        if siblings.into_iter().any(|sibling| self.full_name(sibling) == name) {
            return Err(RenameError::Taken);
        }
        // A name that was there before is there still: a guest that goes back and forth takes no
        // more room.
        let name_at = self.node_names.find(name).unwrap_or(self.node_names.len());
        if name_at == self.node_names.len() {
            self.node_names.push_str(name);
        }
        if let Some(node) = self.nodes.get_mut(node.0 as usize) {
            node.name_at = name_at as u32;
            node.name_len = name.len() as u16;
            node.base_len = name.find('@').unwrap_or(name.len()) as u16;
        }
        // No two siblings have the same name.
        let _ = index_children(self);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> DeviceTree {
        let mut tree = arch_ppc64::fdt::Tree::new();
        for path in ["/pic", "/bus", "/bus/pic@1", "/other"] {
            tree.node(path).unwrap();
        }
        DeviceTree::from_blob(&tree.flatten(0).unwrap()).unwrap()
    }

    #[test]
    fn node_is_found_by_its_new_name_only() {
        let mut tree = tree();
        let pic = tree.find("/pic").unwrap();
        let phandle = tree.phandle(pic);
        tree.rename(pic, "pic@60302031b0000").unwrap();
        assert_eq!(tree.path(pic), "/pic@60302031b0000");
        assert_eq!(tree.name(pic), "pic");
        for specifier in ["/pic@60302031b0000", "/@60302031b0000", "/pic"] {
            // A unit address may be left out.
            assert_eq!(tree.find(specifier), Some(pic), "{specifier}");
        }
        tree.rename(pic, "gone").unwrap();
        assert_eq!((tree.find("/pic"), tree.find("/pic@60302031b0000")), (None, None));
        assert_eq!(tree.node_by_phandle(phandle), Some(pic));
        let children: Vec<_> = tree.children(tree.root()).map(|node| tree.name(node)).collect();
        assert_eq!(children, ["gone", "bus", "other"]);
        // What is below moves with it.
        tree.rename(tree.find("/bus").unwrap(), "tram").unwrap();
        assert_eq!(tree.path(tree.find("/tram/pic").unwrap()), "/tram/pic@1");
        let again = DeviceTree::from_blob(&tree.to_blob()).unwrap();
        assert_eq!(again.find("/gone").map(|node| again.phandle(node)), Some(phandle));
    }

    #[test]
    fn names_are_names_and_one_nodes() {
        let mut tree = tree();
        let pic = tree.find("/pic").unwrap();
        for name in ["", "@1", "a/b", "a b", &"x".repeat(MAX_NODE_NAME_BYTES + 1)] {
            assert_eq!(tree.rename(pic, name), Err(RenameError::Name), "{name}");
        }
        assert_eq!(tree.rename(tree.root(), "root"), Err(RenameError::Name));
        assert_eq!(tree.rename(pic, "bus"), Err(RenameError::Taken));
        // Below another node, and what it has.
        assert_eq!(tree.rename(pic, "pic@1"), Ok(()));
        assert_eq!(tree.rename(pic, "pic@1"), Ok(()));
        assert_eq!(tree.find("/pic@1"), Some(pic));
    }

    #[test]
    fn names_that_were_there_take_no_room() {
        let mut tree = tree();
        let pic = tree.find("/pic").unwrap();
        let both = |tree: &mut DeviceTree| {
            tree.rename(pic, "pic@60302031b0000").unwrap();
            tree.rename(pic, "pic").unwrap();
        };
        both(&mut tree);
        let (names, overhead) = (tree.node_names.len(), tree.overhead_bytes());
        for _ in 0..100 {
            both(&mut tree);
        }
        assert_eq!((tree.node_names.len(), tree.overhead_bytes()), (names, overhead));
    }
}
