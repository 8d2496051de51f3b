//! What the tree says of connectors (LoPAPR §13.5.2 and §13.7.2).

use super::Hotplug;
use crate::fdt::{FdtError, NodeBuilder, Tree};
use crate::platform::{Describe, Device};
use crate::rtas::RtasHandler;

/// The [id](Device::id) of [`Hotplug`].
pub const ID: &str = "hotplug";

/// What it calls its interrupt, which tells of hotplug events: an edge.
pub const EVENTS: &str = "events";

/// Logical connectors are of "a live-insertion power domain".
const POWER_DOMAIN: u32 = u32::MAX;

impl Device for Hotplug {
    fn id(&self) -> &str {
        ID
    }

    /// The connectors: those of cores in `/cpus`, those of memory in the root. The nodes of what is
    /// there say which is theirs (`ibm,my-drc-index`), and memory is in
    /// `/ibm,dynamic-reconfiguration-memory`; all of that is written by who writes the nodes.
    fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
        let connectors = self.connectors().clone();
        list(&mut tree.existing("/cpus")?, "CPU", connectors.of_cores())?;
        if connectors.of_memory().next().is_some() {
            list(&mut tree.root(), "MEM", connectors.of_memory())?;
        }
        Ok(())
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }
}

/// The four properties of a node that lists connectors: each begins with how many there are.
fn list(
    node: &mut NodeBuilder<'_>,
    kind: &str,
    indexes: impl Iterator<Item = u32>,
) -> Result<(), FdtError> {
    let indexes: Vec<u32> = indexes.collect();
    let count = indexes.len() as u32;
    // "CPU x", "LMB x", "where x is a decimal number" (table "ibm,drc-names Property Format").
    let name = if kind == "MEM" { "LMB" } else { kind };
    let mut names = count.to_be_bytes().to_vec();
    let mut types = names.clone();
    for index in &indexes {
        let number = index & 0xfff_ffff;
        names.extend_from_slice(format!("{name} {number}\0").as_bytes());
        types.extend_from_slice(kind.as_bytes());
        types.push(0);
    }
    let domains = vec![POWER_DOMAIN; indexes.len()];
    node.cells("ibm,drc-indexes", &[&[count], &indexes[..]].concat())?
        .bytes("ibm,drc-names", &names)?
        .bytes("ibm,drc-types", &types)?
        .cells("ibm,drc-power-domains", &[&[count], &domains[..]].concat())?;
    Ok(())
}
