//! The guest's memory as the board's own devices see it: what is in the slots at the time.

use std::sync::Arc;

use arch_ppc64::{GuestRam, MemoryFault};
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress};

use super::memory::{Memory, Slots};
use crate::region::RamRegion;

/// RAM that comes and goes with the slots. What is written is marked as written.
///
/// It waits for whoever changes the slots, and that one for the CPUs that are in guest code: so it
/// is not for them.
pub(super) struct BoardRam(pub(super) Arc<Memory>);

impl GuestRam for BoardRam {
    fn read(&self, at: GuestAddress, buf: &mut [u8]) -> Result<(), MemoryFault> {
        let fault = MemoryFault::new(at, buf.len());
        if self.read_available(at, buf) == buf.len() { Ok(()) } else { Err(fault) }
    }

    fn write(&self, at: GuestAddress, data: &[u8]) -> Result<(), MemoryFault> {
        let fault = || MemoryFault::new(at, data.len());
        let slots = self.0.in_use();
        let mut done = 0;
        while done < data.len() {
            let (region, offset, bytes) =
                piece(&slots, at, done as u64, (data.len() - done) as u64).ok_or_else(fault)?;
            let part = &data[done..done + bytes];
            region.slice().write_slice(part, offset).map_err(|_| fault())?;
            if let Some(pages) = region.pages() {
                pages.mark_dirty(offset, bytes);
            }
            done += bytes;
        }
        Ok(())
    }

    fn read_available(&self, at: GuestAddress, buf: &mut [u8]) -> usize {
        let slots = self.0.in_use();
        let mut done = 0;
        while let Some((region, offset, bytes)) =
            piece(&slots, at, done as u64, (buf.len() - done) as u64)
        {
            if region.slice().read_slice(&mut buf[done..done + bytes], offset).is_err() {
                break;
            }
            done += bytes;
        }
        done
    }

    fn check_ram(&self, at: GuestAddress, bytes: u64) -> Result<(), MemoryFault> {
        let slots = self.0.in_use();
        let mut done = 0;
        while done < bytes {
            let found = piece(&slots, at, done, bytes - done);
            let (_, _, more) = found.ok_or(MemoryFault::new(at, bytes as usize))?;
            done += more as u64;
        }
        Ok(())
    }
}

/// The next part of an access of which `done` bytes are done and so many are left: its region, where
/// it is there, and its size. `None` where there is no RAM, or nothing is left.
fn piece(
    slots: &Slots,
    at: GuestAddress,
    done: u64,
    left: u64,
) -> Option<(&RamRegion<'_>, usize, usize)> {
    let at = at.0.checked_add(done)?;
    let in_region = |region| RamRegion::offset(region, at, 1).map(|offset| (region, offset));
    let (region, offset) = slots.regions().iter().find_map(in_region)?;
    let bytes = left.min(region.slice().len() as u64 - offset);
    (bytes > 0).then_some((region, offset as usize, bytes as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_map::PageMap;
    use vm_memory::VolatileSlice;

    const PAGE: usize = 0x1000;

    fn memory(slots: &[(u64, usize)]) -> (Arc<Memory>, Vec<PageMap>) {
        let memory = Arc::new(Memory::default());
        let set = |(slot, &(at, bytes)): (u32, &(u64, usize))| {
            let host = Box::leak(vec![0_u8; bytes].into_boxed_slice());
            let pages = PageMap::new(bytes);
            pages.start_log();
            let slice = VolatileSlice::from(host);
            memory.set(slot, GuestAddress(at), slice, pages.clone(), || ()).unwrap();
            pages
        };
        let pages = (0..).zip(slots).map(set).collect();
        (memory, pages)
    }

    #[test]
    fn accesses_go_over_slots_and_are_marked() {
        let (memory, pages) = memory(&[(0x1000, PAGE), (0x2000, 2 * PAGE), (0x5000, PAGE)]);
        let ram = BoardRam(memory.clone());
        ram.write(GuestAddress(0x1ffe), &[1, 2, 3, 4]).unwrap();
        let mut data = [0; 4];
        ram.read(GuestAddress(0x1ffe), &mut data).unwrap();
        assert_eq!(data, [1, 2, 3, 4]);
        assert_eq!(pages.iter().map(PageMap::take_dirty).collect::<Vec<_>>(), [[1], [1], [0]]);
        // The hole at 0x4000.
        assert_eq!(ram.read_available(GuestAddress(0x3ffd), &mut data), 3);
        assert!(ram.write(GuestAddress(0x3ffe), &data).is_err());
        assert!(ram.read(GuestAddress(0x4000), &mut data).is_err());
        for (at, bytes, is_ram) in [
            (0x1000, 0x3000, true),
            (0x1000, 0x3001, false),
            (0x5000, 0x1000, true),
            (0xfff, 2, false),
            (0x4000, 0, true),
            (u64::MAX, 2, false),
            (0x1000, u64::MAX, false),
        ] {
            assert_eq!(
                ram.check_ram(GuestAddress(at), bytes).is_ok(),
                is_ram,
                "{at:#x}, {bytes:#x}"
            );
        }
        memory.remove(1, || ()).unwrap();
        assert!(ram.check_ram(GuestAddress(0x2000), 1).is_err());
        assert!(ram.write(GuestAddress(0x1ffe), &data).is_err());
    }
}
