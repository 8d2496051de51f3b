//! Guest RAM: what of the host it is, and how it is zero again for the next start.

mod brought;
mod bus;
mod error;
mod fill;
mod huge;
mod machine;
mod mapping;
mod sweep;
mod touched;

use std::sync::Arc;

use arch_ppc64::topology::{MemoryMap, MemoryRange};
use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryBackend, GuestMemoryRegion};

use super::{BootError, Stopping};
use crate::config::{Backing, Pages, VmConfig};
use crate::ram::{Memory, Ram, RamRegion};

pub(crate) use bus::Loss;
pub use error::RamError;
pub(crate) use machine::MachineRam;
use mapping::Reserve;
use sweep::{Piece, Sweep};
pub(crate) use touched::Touched;

/// How each part of a machine's memory is had from the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RamPlan {
    /// Where parts begin, in order of that. What is below the first is as by default.
    parts: Vec<(GuestAddress, Backing)>,
}

impl RamPlan {
    /// As `config` says; what it says of NUMA nodes does not matter.
    pub fn of(config: &VmConfig) -> Self {
        let mut parts: Vec<_> = config.backings().collect();
        parts.sort_by_key(|(start, _)| *start);
        Self { parts }
    }

    /// All of it had in this way.
    #[cfg(test)]
    pub(super) fn uniform(backing: Backing) -> Self {
        Self { parts: vec![(GuestAddress(0), backing)] }
    }

    /// How memory is had that begins at `start`, be it RAM or what can be plugged.
    pub(crate) fn backing(&self, start: GuestAddress) -> Backing {
        let behind = self.parts.partition_point(|(part, _)| *part <= start);
        let part = behind.checked_sub(1).and_then(|last| self.parts.get(last));
        part.map_or_else(Backing::default, |(_, backing)| *backing)
    }
}

/// Makes the RAM of a machine, all zero. Ranges that touch each other and are had in the same way are
/// one region. What is to be there before the machine starts is waited for, until somebody wants the
/// machine to stop. Ranges that can be plugged are mapped, and none of it is there.
pub(crate) fn create(
    map: &MemoryMap,
    plan: &RamPlan,
    stopping: &Stopping,
) -> Result<MachineRam, BootError> {
    let mut regions = Vec::new();
    for (start, bytes, backing) in stretches(map, plan) {
        let (mapping, offset) = mapping::map_at(start, backing, bytes, Reserve::Now)?;
        regions.push(RamRegion::new(Arc::new(mapping), offset, bytes, start));
    }
    let ram = Ram::from_regions(regions).map_err(|_| RamError::Place { bytes: map.ram_bytes() })?;
    let ram = MachineRam::new(ram, map, plan)?;
    sweep(&ram.memory().memory(), plan, Sweep::Populate, stopping)?;
    Ok(ram)
}

/// Makes RAM all zero again. It is given back to the host: a page that nobody touches after that costs
/// nothing; what was taken before the start is written over, and stays. No virtual CPU may run
/// meanwhile, nor keep anything of what was in RAM, such as decoded code.
pub(crate) fn clear(memory: &Memory, plan: &RamPlan, stopping: &Stopping) -> Result<(), BootError> {
    let ram = memory.memory();
    for region in ram.iter() {
        let backing = plan.backing(region.start_addr());
        if !stays(region, backing) {
            mapping::give_back(region.mapping(), backing, region.offset(), region.len())?;
            mapping::reserve_again(region.mapping(), backing)?;
        }
    }
    sweep(&ram, plan, Sweep::Zero, stopping)
}

/// Whether memory is never given back before it is unplugged: what was taken at once, and huge pages
/// that were not promised before.
fn stays(region: &RamRegion, backing: Backing) -> bool {
    backing.prefault || (region.is_part() && matches!(backing.pages, Pages::Huge(_)))
}

/// Goes through all memory that is there from the start.
fn sweep(ram: &Ram, plan: &RamPlan, what: Sweep, stopping: &Stopping) -> Result<(), BootError> {
    let mut pieces = Vec::new();
    for region in ram.iter() {
        let backing = plan.backing(region.start_addr());
        if stays(region, backing) {
            pieces.push(Piece::of(region, backing)?);
        }
    }
    match sweep::run(what, &pieces, &|| stopping.is_wanted()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BootError::Ending),
        Err(error) => Err(error.into()),
    }
}

/// RAM in stretches without a hole that are had in the same way: start, bytes, how.
fn stretches(map: &MemoryMap, plan: &RamPlan) -> Vec<(GuestAddress, u64, Backing)> {
    let mut stretches: Vec<(GuestAddress, u64, Backing)> = Vec::new();
    for &MemoryRange { start, bytes, .. } in map.ram() {
        let backing = plan.backing(start);
        match stretches.last_mut() {
            Some((last, sum, same)) if last.0 + *sum == start.0 && *same == backing => {
                *sum += bytes;
            }
            _ => stretches.push((start, bytes, backing)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests;
