//! What the tree says of connectors (LoPAPR §13.5.2 and §13.7.2).

use super::Hotplug;
use super::lists::{Listed, list};
use super::resource::number_of;
use crate::fdt::{FdtError, Tree};
use crate::platform::{Describe, Device};
use crate::rtas::RtasHandler;

/// The [id](Device::id) of [`Hotplug`].
pub const ID: &str = "hotplug";

/// What it calls its interrupt, which tells of hotplug events: an edge.
pub const EVENTS: &str = "events";

/// Logical connectors are of "a live-insertion power domain".
const LIVE_INSERTION: u32 = u32::MAX;

impl Device for Hotplug {
    fn id(&self) -> &str {
        ID
    }

    /// The connectors: those of cores in `/cpus`, those of memory in the root; a host bridge lists its
    /// slots. The nodes of what is there say which is theirs (`ibm,my-drc-index`), and memory is in
    /// `/ibm,dynamic-reconfiguration-memory`; all of that is written by who writes the nodes.
    fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
        let connectors = self.connectors().clone();
        if connectors.of_cores().next().is_some() {
            list(&mut tree.existing("/cpus")?, listed("CPU", "CPU", connectors.of_cores()))?;
        }
        if connectors.of_memory().next().is_some() {
            list(&mut tree.root(), listed("LMB", "MEM", connectors.of_memory()))?;
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

/// Connectors of a kind. "CPU x", "LMB x", "where x is a decimal number" (table "ibm,drc-names
/// Property Format").
fn listed(
    name: &'static str,
    kind: &'static str,
    indexes: impl Iterator<Item = u32>,
) -> impl Iterator<Item = Listed> {
    indexes.map(move |index| Listed {
        index,
        name: format!("{name} {}", number_of(index)),
        kind,
        power_domain: LIVE_INSERTION,
    })
}
