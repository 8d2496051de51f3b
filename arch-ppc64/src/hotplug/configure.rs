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
use super::resource::{PciSlot, Resource};
use crate::fdt::{self, FdtError, Tree};
use crate::ram::GuestRam;
use crate::rtas::{RtasInvocation, RtasStatus};
use crate::topology::MemoryRange;

/// A work area: one page, which is enough for any piece of a node.
const WORK_AREA_BYTES: usize = 4096;

/// Where the phandle of a device's further function has its number: above all slots that there can be.
const FUNCTION_SHIFT: u32 = 16;

/// Its entries, of four bytes each as RTAS is instantiated in 32-bit mode: the index of the
/// connector, how many pieces were told, offset of the name, length of the value, its offset.
const ENTRIES_BYTES: usize = 5 * 4;
const NAME_AT: usize = 32;

const SIBLING: RtasStatus = RtasStatus(1);
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
        let pieces = match self.pieces(resource, index) {
            Ok(pieces) if !pieces.is_empty() => pieces,
            _ => return RtasStatus::HARDWARE_ERROR,
        };
        let Some(piece) = pieces.get(told as usize) else {
            // "The work area must be returned unmodified from its state at the last return".
            if told as usize > pieces.len() {
                return RtasStatus::PARAMETER_ERROR;
            }
            let notice = self.connectors().configured(index);
            self.tell(false, notice);
            return RtasStatus::SUCCESS;
        };
        match tell(call.ram, area, [index, told + 1], &piece.name, &piece.value) {
            Some(()) => piece.status,
            None => RtasStatus::HARDWARE_ERROR,
        }
    }

    /// The node, or those of a device of several functions, as they would be in the tree of a machine
    /// that starts with them: by the writer of that. There is none of a device that its bridge does not
    /// have.
    fn pieces(&self, resource: Resource, index: u32) -> Result<Vec<Piece>, FdtError> {
        let mut tree = Tree::new();
        let paths = match resource {
            Resource::Slot(slot) => self.slot_nodes(&mut tree, slot)?,
            Resource::Core(_) | Resource::Memory(_) => {
                vec![self.node(&mut tree, resource, index)?]
            }
        };
        let mut pieces = Vec::new();
        for (path, function) in paths.iter().zip(0..) {
            // "Unique and consistent with any phandle visible to an OF client program": those of the
            // tree count up from 1, and it has fewer nodes than this.
            let phandle = index + (function << FUNCTION_SHIFT);
            tree.existing(path)?.cell("ibm,phandle", phandle)?;
            let status = if pieces.is_empty() { CHILD } else { SIBLING };
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            pieces.push(Piece { status, name, value: Vec::new() });
            pieces.extend(tree.properties_of(path).map(|(name, value)| {
                let negotiated = self.cpu_version().filter(|_| name == "cpu-version");
                let value = negotiated
                    .map_or_else(|| value.to_vec(), |version| version.to_be_bytes().to_vec());
                Piece { status: PROPERTY, name: name.to_owned(), value }
            }));
        }
        Ok(pieces)
    }

    /// Adds the node of a core or of a block of memory; its path.
    fn node(&self, tree: &mut Tree, resource: Resource, index: u32) -> Result<String, FdtError> {
        let machine = &self.0.machine;
        Ok(match resource {
            Resource::Core(first) => {
                let path = format!("/{}", machine.cpu_node(first));
                fdt::describe_core(&mut tree.node(&path)?, machine, first)?;
                path
            }
            Resource::Memory(block) => {
                let path = format!("/{}", fdt::memory_node(block.start));
                let mut node = tree.node(&path)?;
                let map = machine.memory_map();
                let range = map
                    .hotplug()
                    .find(|range| range.start <= block.start && block.start < range.end());
                let node_number = range.map_or_else(Default::default, |range| range.node);
                let bytes = super::MemoryBlock::BYTES;
                let block = MemoryRange::hotplug(block.start, bytes).on_node(node_number);
                fdt::describe_memory(&mut node, machine, &block)?;
                node.cell("ibm,my-drc-index", index)?;
                path
            }
            Resource::Slot(_) => String::new(),
        })
    }

    /// Adds the nodes of the functions of a device; their paths.
    fn slot_nodes(&self, tree: &mut Tree, slot: PciSlot) -> Result<Vec<String>, FdtError> {
        let bridge = self.0.bridge(slot.bridge);
        let paths = bridge.map(|bridge| bridge.describe_device(tree, slot.device));
        paths.unwrap_or(Ok(Vec::new()))
    }
}

/// What one call tells: that a node begins, or a property of it.
struct Piece {
    status: RtasStatus,
    name: String,
    value: Vec<u8>,
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
