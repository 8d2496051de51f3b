//! What of a machine's RAM is in which slot of its virtual machine, and what was written there.

use std::collections::{BTreeMap, BTreeSet};

use arch_ppc64::memory_slot::DirtyPages;
use interp::PageMap;
use vm_memory::GuestAddress;

use crate::dirty_log::{DirtyRange, LOG_PAGE_BYTES};
use crate::ram::{HostRam, HostRegion};
use crate::vcpu::BackendError;

/// Which range of RAM is in which slot of a virtual machine.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// By where the range begins: it may need several.
    used: BTreeMap<u64, Vec<Part>>,
    /// How many there are in use.
    count: u32,
    /// Those that were used once: all others up to that many are.
    free: BTreeSet<u32>,
    /// Whether writes are noted.
    logs: bool,
}

/// What is in a slot.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) slot: u32,
    pub(crate) start: GuestAddress,
    /// Where it begins in its range, in bytes.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// What takes note of what this process writes to the range.
    pub(crate) pages: Option<PageMap>,
}

impl Slots {
    /// Finds the range of `ram` that begins at `start` and slots for it, which have at most so many
    /// bytes, and has each part `set` there.
    pub(crate) fn add(
        &mut self,
        ram: &dyn HostRam,
        start: GuestAddress,
        bytes_max: u64,
        mut set: impl FnMut(u32, HostRegion) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let no_ram = || BackendError::Unsuitable(format!("there is no RAM at {:#x}", start.0));
        let region = ram.region(start).ok_or_else(no_ram)?;
        if self.used.contains_key(&start.0) {
            let message = format!("the RAM at {:#x} is in a slot already", start.0);
            return Err(BackendError::Unsuitable(message));
        }
        if self.logs {
            let message = format!("RAM cannot come at {:#x} while writes are noted", start.0);
            return Err(BackendError::Unsuitable(message));
        }
        let mut offset = 0;
        while offset < region.bytes {
            let bytes = (region.bytes - offset).min(bytes_max);
            // SAFETY: within the region, which is mapped.
            let host = unsafe { region.host.add(offset as usize) };
            let part = HostRegion {
                start: GuestAddress(start.0 + offset),
                host,
                bytes,
                pages: region.pages.clone(),
            };
            let slot = self.free.first().copied().unwrap_or(self.count);
            let pages = region.pages.clone();
            let known = Part { slot, start: part.start, offset, bytes, pages };
            // What was set before belongs to the range all the same, and can be removed.
            set(slot, part)?;
            self.free.remove(&slot);
            self.count += 1;
            self.used.entry(start.0).or_default().push(known);
            offset += bytes;
        }
        Ok(())
    }

    /// Has the slot `removed` of the range that begins at `start`.
    pub(crate) fn remove(
        &mut self,
        start: GuestAddress,
        mut removed: impl FnMut(u32) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let none = || BackendError::Unsuitable(format!("no slot has the RAM at {:#x}", start.0));
        let slots = self.used.get_mut(&start.0).ok_or_else(none)?;
        while let Some(&Part { slot, .. }) = slots.last() {
            removed(slot)?;
            slots.pop();
            self.free.insert(slot);
            self.count -= 1;
        }
        self.used.remove(&start.0);
        Ok(())
    }

    /// Has writes noted from now on, or not any more: those of this process in the bitmaps of RAM, and
    /// those of guests as `set` does it for a slot.
    pub(crate) fn set_dirty_log(
        &mut self,
        on: bool,
        set: impl Fn(u32, bool) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let all = |on| {
            self.used.values().try_for_each(|range| {
                note_own_writes(range, on)?;
                range.iter().try_for_each(|part| set(part.slot, on))
            })
        };
        let done = all(on);
        if on && done.is_err() {
            // The first reason is the one that counts.
            let _ = all(false);
        }
        self.logs = on && done.is_ok();
        done
    }

    /// What was written, in the order of addresses: `of_guest` tells it of a slot, unless the bitmap
    /// has it as well.
    pub(crate) fn take_dirty(
        &self,
        of_guest: impl Fn(&Part) -> Result<Option<DirtyPages>, BackendError>,
    ) -> Result<Vec<DirtyRange>, BackendError> {
        if !self.logs {
            return Err(BackendError::Unsuitable("writes to RAM are not noted".to_owned()));
        }
        self.used.values().filter_map(|range| taken(range, &of_guest).transpose()).collect()
    }
}

/// Switches the notes that this process takes of its own writes on or off.
///
/// # Errors
/// [`BackendError::Unsuitable`] where there is RAM that nobody takes notes of; no notes are taken then.
fn note_own_writes(range: &[Part], on: bool) -> Result<(), BackendError> {
    for part in range {
        match (&part.pages, on) {
            (Some(pages), true) => pages.start_log(),
            (Some(pages), false) => pages.stop_log(),
            (None, true) => {
                let message = format!("nobody notes writes to the RAM at {:#x}", part.start.0);
                return Err(BackendError::Unsuitable(message));
            }
            (None, false) => {}
        }
    }
    Ok(())
}

/// What was written to a range: what its notes say, and `of_guest` of each part of it.
fn taken(
    range: &[Part],
    of_guest: impl Fn(&Part) -> Result<Option<DirtyPages>, BackendError>,
) -> Result<Option<DirtyRange>, BackendError> {
    let Some(first) = range.first() else { return Ok(None) };
    // One bitmap for all of them. It is read before the guest's: a page of both is told of once.
    let own = first.pages.as_ref().map(|pages| pages.take_dirty());
    let bytes: u64 = range.iter().map(|part| part.bytes).sum();
    let mut all = own.unwrap_or_default();
    all.resize(bytes.div_ceil(LOG_PAGE_BYTES).div_ceil(64) as usize, 0);
    for part in range {
        let Some(pages) = of_guest(part)? else { continue };
        for offset in pages.offsets().filter(|offset| *offset < part.bytes) {
            let end = (offset + pages.page_bytes).min(part.bytes);
            let page = |offset: u64| (part.offset + offset) / LOG_PAGE_BYTES;
            for page in page(offset)..=page(end - 1) {
                all[(page / 64) as usize] |= 1 << (page % 64);
            }
        }
    }
    Ok(Some(DirtyRange { start: first.start, pages: DirtyPages::new(LOG_PAGE_BYTES, all) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use interp::PageMap;
    use vm_memory::bitmap::Bitmap;

    fn part(slot: u32, offset: u64, bytes: u64, pages: &PageMap) -> Part {
        let start = GuestAddress(0x10_0000 + offset);
        Part { slot, start, offset, bytes, pages: Some(pages.clone()) }
    }

    /// The kernel's pages are longer than those of the bitmap, and its slots shorter than a range.
    #[test]
    fn what_guest_and_vmm_wrote_is_one_log() {
        let notes = PageMap::new(0x8_0000);
        let range = [part(3, 0, 0x4_0000, &notes), part(5, 0x4_0000, 0x4_0000, &notes)];
        note_own_writes(&range, true).unwrap();
        notes.mark_dirty(0x1_1fff, 2);
        let of_guest = |part: &Part| {
            let bits = if part.slot == 3 { 0 } else { 1 << 1 };
            Ok(Some(DirtyPages::new(0x1_0000, vec![bits])))
        };
        let dirty = taken(&range, of_guest).unwrap().unwrap();
        assert_eq!(dirty.bytes(), 0x1_2000);
        let found: Vec<_> = dirty.stretches(0x8000).map(|(at, bytes)| (at.0, bytes)).collect();
        let expected = [(0x11_1000, 0x2000), (0x15_0000, 0x8000), (0x15_8000, 0x8000)];
        assert_eq!(found, expected);
        // It is told of once.
        let nothing = |_: &Part| Ok(Some(DirtyPages::new(0x1_0000, vec![0])));
        assert_eq!(taken(&range, nothing).unwrap().unwrap().bytes(), 0);
        note_own_writes(&range, false).unwrap();
        assert!(!notes.logs());
    }

    /// A log of a host says no more than there is.
    #[test]
    fn pages_behind_the_end_are_none() {
        let notes = PageMap::new(0x3000);
        let range = [part(0, 0, 0x3000, &notes)];
        let of_guest = |_: &Part| Ok(Some(DirtyPages::new(0x1_0000, vec![!0, !0])));
        let dirty = taken(&range, of_guest).unwrap().unwrap();
        assert_eq!(
            dirty.stretches(u64::MAX).collect::<Vec<_>>(),
            [(GuestAddress(0x10_0000), 0x3000)]
        );
    }

    #[test]
    fn ram_without_notes_has_no_log() {
        let range = [Part { pages: None, ..part(0, 0, 0x1000, &PageMap::default()) }];
        let error = note_own_writes(&range, true).unwrap_err().to_string();
        assert!(error.contains("0x100000"), "{error}");
        note_own_writes(&range, false).unwrap();
    }
}
