//! Which package belongs to which node: said by the machine, looked up in the tree that there is.

use std::sync::Arc;
use std::time::Instant;

use arch_ppc64::Console;
use arch_ppc64::platform::StateError;

use crate::block::support;
use crate::memory_node::MemoryNode;
use crate::package::Package;
use crate::state::is_cpu;
use crate::tree::{DeviceTree, NodeId};

/// What a machine has attached, whatever tree it gets.
pub(crate) struct Attachments {
    /// Those of nodes that have to be there, by their full paths.
    pub(crate) by_path: Vec<(String, Arc<dyn Package>)>,
    /// That of the root, where the machine negotiates.
    pub(crate) root: Option<Arc<dyn Package>>,
    /// That of `/rtas`.
    pub(crate) rtas: Arc<dyn Package>,
    /// That of the support packages for disks.
    pub(crate) support: Arc<dyn Package>,
    /// That of the memory at 0.
    pub(crate) memory: Arc<dyn Package>,
    /// That of processors.
    pub(crate) mmu: Arc<dyn Package>,
    pub(crate) console: Option<ConsolePath>,
}

/// The console, and the full path and the arguments that it is opened by.
pub(crate) struct ConsolePath {
    pub(crate) path: String,
    pub(crate) arguments: Box<str>,
    pub(crate) device: Arc<dyn Console>,
}

/// Why packages cannot be attached to a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AttachError {
    /// There is no node of this path.
    NoNode(String),
    /// This node would have two.
    Two(String),
}

impl Attachments {
    /// Has the machine's packages come to rest; where one does not, all go on.
    pub(crate) fn pause(&self, until: Instant) -> Result<(), StateError> {
        for (number, (path, package)) in self.by_path.iter().enumerate() {
            let Err(error) = package.pause(until) else { continue };
            for (_, paused) in self.by_path.iter().take(number) {
                paused.resume();
            }
            return Err(error.of(path));
        }
        Ok(())
    }

    /// Has them go on.
    pub(crate) fn resume(&self) {
        for (_, package) in &self.by_path {
            package.resume();
        }
    }

    /// Waits until nothing is still to be done of what was asked of the machine's packages.
    #[cfg(feature = "serde")]
    pub(crate) fn settle(&self) {
        for (_, package) in &self.by_path {
            package.settle();
        }
    }

    /// The packages of the nodes of a tree. One that `is_older` may lack nodes of devices that have come to
    /// the machine since: clients of this start do not know them. The console is no such device.
    pub(crate) fn in_tree(
        &self,
        tree: &DeviceTree,
        memory: Option<MemoryNode>,
        is_older: bool,
    ) -> Result<Packages, AttachError> {
        let is_console =
            |path: &String| self.console.as_ref().is_some_and(|console| console.path == *path);
        let root = tree.root();
        let named = |of, name: &str| tree.children(of).find(|&node| tree.full_name(node) == name);
        let rtas = named(root, "rtas");
        let own = [
            self.root.as_ref().map(|package| (root, package.clone())),
            rtas.map(|node| (node, self.rtas.clone())),
            memory.map(|memory| (memory.node, self.memory.clone())),
        ];
        let mut list: Vec<_> = own.into_iter().flatten().collect();
        if let Some(packages) = named(root, "packages") {
            let support = support::NAMES.into_iter().filter_map(|name| named(packages, name));
            list.extend(support.map(|node| (node, self.support.clone())));
        }
        for (path, package) in &self.by_path {
            let Some(node) = node_at(tree, path) else {
                if is_older && !is_console(path) {
                    continue;
                }
                return Err(AttachError::NoNode(path.clone()));
            };
            if is_cpu(tree, node) {
                return Err(AttachError::Two(path.clone()));
            }
            list.push((node, package.clone()));
        }
        list.sort_by_key(|(node, _)| *node);
        match list.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(AttachError::Two(tree.path(pair[0].0))),
            None => Ok(Packages { list, mmu: self.mmu.clone() }),
        }
    }
}

/// The node of a full path.
pub(crate) fn node_at(tree: &DeviceTree, path: &str) -> Option<NodeId> {
    tree.find(path).filter(|&node| tree.path(node) == path)
}

/// The packages of the nodes of one tree.
pub(crate) struct Packages {
    /// In the order of nodes.
    list: Vec<(NodeId, Arc<dyn Package>)>,
    mmu: Arc<dyn Package>,
}

impl Packages {
    /// The package of a node of `tree`.
    pub(crate) fn of(&self, tree: &DeviceTree, node: NodeId) -> Option<&Arc<dyn Package>> {
        match self.list.binary_search_by_key(&node, |(node, _)| *node) {
            Ok(at) => self.list.get(at).map(|(_, package)| package),
            Err(_) => is_cpu(tree, node).then_some(&self.mmu),
        }
    }
}
