//! `ibm,configure-connector`: the node of what the guest has taken, told piece by piece (LoPAPR
//! §13.5.3.5 and §13.7.4.3).
//!
//! "The work area contains the intermediate state that RTAS needs to retain between calls": how
//! far a guest has got is written there and nowhere else. So any number of connectors can be
//! configured at once, nothing grows, and a saved machine has it in its RAM. What comes back is
//! looked at as anything from a guest.

use vm_memory::GuestAddress;

use super::Hotplug;
use super::connectors::State;
use super::resource::Resource;
use crate::fdt::{self, FdtError, Tree};
use crate::ram::GuestRam;
use crate::rtas::{RtasInvocation, RtasStatus};
use crate::topology::MemoryRange;

/// A work area: one page, which is enough for any piece of a node.
const WORK_AREA_BYTES: usize = 4096;

/// Its entries, of four bytes each as RTAS is instantiated in 32-bit mode: the index of the
/// connector, how many pieces were told, offset of the name, length of the value, its offset.
const ENTRIES_BYTES: usize = 5 * 4;
const NAME_AT: usize = 32;

const CHILD: RtasStatus = RtasStatus(2);
const PROPERTY: RtasStatus = RtasStatus(3);
/// "Cannot configure - Logical DR connector unusable, available for exchange, or available for
/// recovery".
const UNUSABLE: RtasStatus = RtasStatus(-9003);

impl Hotplug {
    /// Inputs: address of the work area, and of one page more, which is never needed.
    pub(super) fn configure(&self, call: &RtasInvocation<'_>) -> RtasStatus {
        let &[area, _] = call.inputs else { return RtasStatus::PARAMETER_ERROR };
        let area = GuestAddress(area.into());
        if call.ram.check_ram(area, WORK_AREA_BYTES as u64).is_err() {
            return RtasStatus::PARAMETER_ERROR;
        }
        let mut entries = [0; 8];
        if call.ram.read(area, &mut entries).is_err() {
            return RtasStatus::PARAMETER_ERROR;
        }
        let [index, told] = [0, 4].map(|at| {
            entries[at..at + 4].iter().fold(0, |cell: u32, &byte| cell << 8 | u32::from(byte))
        });
        let (resource, entity) = {
            let connectors = self.connectors();
            let Some(resource) = connectors.resource(index) else {
                return RtasStatus::PARAMETER_ERROR;
            };
            (resource, connectors.entity(index))
        };
        match entity.map(|entity| entity.state) {
            None | Some(State::Unusable) => return UNUSABLE,
            // "If a request […] specifies a connector that is isolated, ibm,configure-connector must
            // immediately return configuration complete."
            Some(State::Isolated) => return RtasStatus::SUCCESS,
            Some(State::Unisolated | State::Configured) => {}
        }
        let Ok(node) = self.node(resource, index) else { return RtasStatus::HARDWARE_ERROR };
        let count = node.properties.len() as u32;
        let (status, name, value) = match told {
            0 => (CHILD, &*node.name, &[][..]),
            _ if told <= count => {
                let (name, value) = &node.properties[told as usize - 1];
                (PROPERTY, &**name, &**value)
            }
            _ if told == count + 1 => {
                let notice = self.connectors().configured(index);
                self.tell(false, notice);
                return RtasStatus::SUCCESS;
            }
            // "The work area must be returned unmodified from its state at the last return".
            _ => return RtasStatus::PARAMETER_ERROR,
        };
        match tell(call.ram, area, [index, told + 1], name, value) {
            Some(()) => status,
            None => RtasStatus::HARDWARE_ERROR,
        }
    }

    /// The node as it would be in the tree of a machine that starts with it: by the writer of that.
    fn node(&self, resource: Resource, index: u32) -> Result<Node, FdtError> {
        let machine = &self.0.machine;
        let mut tree = Tree::new();
        let name = match resource {
            Resource::Core(first) => machine.cpu_node(first),
            Resource::Memory(block) => fdt::memory_node(block.start),
        };
        let path = format!("/{name}");
        let mut node = tree.node(&path)?;
        match resource {
            Resource::Core(first) => fdt::describe_core(&mut node, machine, first)?,
            Resource::Memory(block) => {
                let map = machine.memory_map();
                let range = map
                    .hotplug()
                    .find(|range| range.start <= block.start && block.start < range.end());
                let node_number = range.map_or_else(Default::default, |range| range.node);
                let bytes = super::MemoryBlock::BYTES;
                let block = MemoryRange::hotplug(block.start, bytes).on_node(node_number);
                fdt::describe_memory(&mut node, machine, &block)?;
                node.cell("ibm,my-drc-index", index)?;
            }
        }
        // "Unique and consistent with any phandle visible to an OF client program": those of the
        // tree count up from 1, and it has fewer nodes than this.
        node.cell("ibm,phandle", index)?;
        let properties = tree.properties_of(&path).map(|(name, value)| {
            let negotiated = self.cpu_version().filter(|_| name == "cpu-version");
            let value = negotiated.map_or(value.to_vec(), |version| version.to_be_bytes().to_vec());
            (name.to_owned(), value)
        });
        Ok(Node { name, properties: properties.collect() })
    }
}

struct Node {
    name: String,
    properties: Vec<(String, Vec<u8>)>,
}

/// Writes a piece of a node into a work area; `None` where it has no room there, or is no RAM any
/// more.
fn tell(
    ram: &dyn GuestRam,
    area: GuestAddress,
    [index, told]: [u32; 2],
    name: &str,
    value: &[u8],
) -> Option<()> {
    let value_at = (NAME_AT + name.len() + 1).next_multiple_of(8);
    let mut bytes = vec![0; value_at + value.len()];
    if bytes.len() > WORK_AREA_BYTES {
        return None;
    }
    let entries = [index, told, NAME_AT as u32, value.len() as u32, value_at as u32];
    for (place, entry) in bytes[..ENTRIES_BYTES].chunks_exact_mut(4).zip(entries) {
        place.copy_from_slice(&entry.to_be_bytes());
    }
    bytes[NAME_AT..][..name.len()].copy_from_slice(name.as_bytes());
    bytes[value_at..].copy_from_slice(value);
    ram.write(area, &bytes).ok()
}
