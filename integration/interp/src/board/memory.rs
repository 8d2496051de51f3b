//! Memory slots: what of this process is the guest's memory, and what of it was written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vm_memory::{GuestAddress, VolatileSlice};

use super::error::VmError;
use crate::page_map::{PAGE_BYTES, PageMap};
use crate::region::RamRegion;

/// The slots of a machine. A CPU reads them for as long as it is in guest code, so that a slot that
/// is removed is used by nobody any more.
#[derive(Debug, Default)]
pub(super) struct Memory {
    slots: RwLock<Slots>,
    /// Held by who changes them: no CPU that leaves guest code for that enters it again before.
    gate: Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Where each begins, and its bitmap.
    numbers: BTreeMap<u32, (GuestAddress, PageMap)>,
    /// Those of the numbers, in the order of their addresses.
    regions: Vec<RamRegion<'static>>,
}

impl Slots {
    pub(super) fn regions(&self) -> &[RamRegion<'_>] {
        &self.regions
    }
}

impl Memory {
    /// For a run of a CPU.
    pub(super) fn in_use(&self) -> RwLockReadGuard<'_, Slots> {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change them. `kick` gets all CPUs out of guest code.
    fn change(&self, kick: impl FnOnce()) -> RwLockWriteGuard<'_, Slots> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        kick();
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a slot. The caller of [`super::Vm::set_memory_region`] vouches for the memory.
    pub(super) fn set(
        &self,
        slot: u32,
        at: GuestAddress,
        memory: VolatileSlice<'static>,
        pages: PageMap,
        kick: impl FnOnce(),
    ) -> Result<(), VmError> {
        let bytes = memory.len() as u64;
        let refused = |why: &str| {
            Err(VmError::Refused(format!("slot {slot} of {bytes} bytes at {:#x}: {why}", at.0)))
        };
        if bytes == 0 || (at.0 | bytes) % PAGE_BYTES != 0 || at.0.checked_add(bytes).is_none() {
            return refused("no whole pages of 4 KiB");
        }
        let mut slots = self.change(kick);
        if slots.numbers.contains_key(&slot) {
            return refused("the slot is in use");
        }
        let overlaps = |region: &RamRegion<'_>| {
            let (start, len) = (region.start().0, region.slice().len() as u64);
            at.0 < start.saturating_add(len) && start < at.0 + bytes
        };
        if slots.regions.iter().any(overlaps) {
            return refused("there is memory already");
        }
        slots.numbers.insert(slot, (at, pages.clone()));
        let place = slots.regions.partition_point(|region| region.start() < at);
        slots.regions.insert(place, RamRegion::new(at, memory).with_pages(pages));
        Ok(())
    }

    pub(super) fn remove(&self, slot: u32, kick: impl FnOnce()) -> Result<(), VmError> {
        let mut slots = self.change(kick);
        let (at, _) = slots.numbers.remove(&slot).ok_or_else(|| no_slot(slot))?;
        slots.regions.retain(|region| region.start() != at);
        Ok(())
    }

    pub(super) fn pages(&self, slot: u32) -> Result<PageMap, VmError> {
        let known = self.in_use().numbers.get(&slot).map(|(_, pages)| pages.clone());
        known.ok_or_else(|| no_slot(slot))
    }
}

fn no_slot(slot: u32) -> VmError {
    VmError::Refused(format!("there is no slot {slot}"))
}
