//! Short names of nodes.

use std::fmt;

use super::device::{Describe, Device};
use crate::fdt::{FdtError, Tree};

/// Short names for paths of the machine's nodes, such as `disk` for that of its first disk:
/// properties of `/aliases` (IEEE 1275 §3.5), which the first component of a device specifier may be
/// the name of. A VMM may have several of these, each with an id of its own.
///
/// ```
/// use arch_ppc64::layout::VTY_PATH;
/// use arch_ppc64::platform::Aliases;
///
/// let aliases = Aliases::new("aliases").with("console", VTY_PATH);
/// # let _ = aliases;
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Aliases {
    id: String,
    list: Vec<(String, String)>,
}

impl Aliases {
    /// None yet, as a device of this id. It is added to the machine behind the devices that it names.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), list: Vec::new() }
    }

    /// And this name for the node of this full path, which is there by then. Arguments may follow
    /// it, behind a colon.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, path: impl Into<String>) -> Self {
        self.list.push((name.into(), path.into()));
        self
    }

    /// Names and paths, in the order in which they are in the tree.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(name, path)| (name.as_str(), path.as_str()))
    }
}

impl Device for Aliases {
    fn id(&self) -> &str {
        &self.id
    }

    /// A name that is taken is an error, and so is one for a node that is not there.
    fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
        for (name, path) in self.iter() {
            tree.phandle(path.split(':').next().unwrap_or(path))?;
            tree.existing("/aliases")?.text(name, &[path])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Aliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_memory::GuestAddress;

    use super::*;
    use crate::fdt::Start;
    use crate::layout::VTY_PATH;
    use crate::machine::Machine;
    use crate::machine::tests::TestConfig;
    use crate::platform::{PlatformError, outline_with};

    fn tree(lists: Vec<Aliases>) -> Result<Tree, FdtError> {
        let machine = Machine::new(&TestConfig::default()).unwrap();
        let platform = outline_with(&machine, |builder| {
            lists.into_iter().for_each(|aliases| {
                builder.add(Arc::new(aliases));
            });
            Ok::<_, PlatformError>(())
        });
        platform.unwrap().tree(&Start::new(GuestAddress(0x40_0000), [0; 32]))
    }

    #[test]
    fn names_are_properties_of_the_node() {
        let first = Aliases::new("first").with("console", VTY_PATH).with("a", "/vdevice:args");
        let tree = tree(vec![first, Aliases::new("second").with("b", "/cpus")]).unwrap();
        for (name, path) in [("console", VTY_PATH), ("a", "/vdevice:args"), ("b", "/cpus")] {
            let value = tree.value("/aliases", name).unwrap();
            assert_eq!(value, [path.as_bytes(), &[0]].concat());
        }
    }

    #[test]
    fn names_are_there_once_and_for_something() {
        let twice =
            vec![Aliases::new("1").with("a", "/cpus"), Aliases::new("2").with("a", "/cpus")];
        assert!(matches!(tree(twice), Err(FdtError::DuplicateProperty { .. })));
        let nowhere = vec![Aliases::new("1").with("a", "/cpus/none")];
        assert!(matches!(tree(nowhere), Err(FdtError::NoSuchNode { .. })));
    }
}
