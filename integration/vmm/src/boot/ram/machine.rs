//! The RAM of a machine as it is right now: what is plugged comes and goes.

use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError};

use arch_ppc64::hotplug::MemoryBlock;
use arch_ppc64::topology::MemoryMap;
use arch_ppc64::{FillError, GuestRam, MemoryFault};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryBackend, GuestMemoryRegion};

use super::brought::{Brought, Part};
use super::fill;
use super::mapping::{self, Reserve};
use super::sweep::{self, Piece, Sweep};
use super::{BootError, Loss, RamError, RamPlan, Stopping, huge};
use crate::config::{Backing, Pages};
use crate::ram::{HostRam, HostRegion, Memory, Ram, RamRegion, host_region};

/// The RAM of a machine: what it has at its start, and what was plugged into the ranges that are
/// kept free for that.
///
/// Those are mapped from the start, which costs nothing but addresses: memory that is plugged is a
/// part of the mapping that is shown to the guest and its devices from then on. Who looks at
/// memory by [`memory`](Self::memory) or as [`GuestRam`] sees what is there at that moment, and has
/// no access to what is not.
#[derive(Debug)]
pub(crate) struct MachineRam {
    memory: Memory,
    rooms: Vec<Room>,
    plan: RamPlan,
    brought: Brought,
}

/// A range that is kept free.
#[derive(Debug)]
struct Room {
    /// All of it, plugged or not.
    all: RamRegion,
    backing: Backing,
}

impl MachineRam {
    /// RAM at the start of a machine of this map, with its ranges for more.
    pub(super) fn new(at_start: Ram, map: &MemoryMap, plan: &RamPlan) -> Result<Self, RamError> {
        let mut rooms = Vec::new();
        for range in map.hotplug() {
            let backing = plan.backing(range.start);
            let page_bytes = huge::page_bytes(backing.pages)?;
            if MemoryBlock::BYTES % page_bytes != 0 {
                return Err(RamError::PartOfPage { bytes: MemoryBlock::BYTES, page_bytes });
            }
            let (mapping, offset) =
                mapping::map_at(range.start, backing, range.bytes, Reserve::Later)?;
            let all = RamRegion::room(Arc::new(mapping), offset, range.bytes, range.start);
            rooms.push(Room { all, backing });
        }
        let brought = Brought::default();
        Ok(Self { memory: Memory::new(at_start), rooms, plan: plan.clone(), brought })
    }

    /// Memory as devices have it.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A part of a range that is kept free, and how that is had.
    fn part(&self, start: GuestAddress, bytes: u64) -> Result<(RamRegion, Backing), RamError> {
        let part = |room: &Room| Some((room.all.part(start, bytes)?, room.backing));
        self.rooms.iter().find_map(part).ok_or(RamError::Place { bytes })
    }

    /// Makes these bytes RAM, all zero. They are of a range that is kept free, and none are RAM.
    pub(crate) fn plug(&self, start: GuestAddress, bytes: u64) -> Result<(), RamError> {
        let (region, backing) = self.part(start, bytes)?;
        // Whoever had it before, and was not done, may have written there since it was taken away.
        self.brought.renew(region.pointer(0) as usize, bytes)?;
        mapping::give_back(region.mapping(), backing, region.offset(), bytes)?;
        // Huge pages that nobody was promised have to be there before somebody needs one.
        if backing.prefault || matches!(backing.pages, Pages::Huge(_)) {
            let taken = sweep::run(Sweep::Populate, &[Piece::of(&region, backing)?], &|| false);
            if let Err(error) = taken {
                let _ = mapping::give_back(region.mapping(), backing, region.offset(), bytes);
                return Err(error);
            }
        }
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let more = self.memory.memory().insert_region(Arc::new(region));
        memory.replace(more.map_err(|_| RamError::Place { bytes })?);
        Ok(())
    }

    /// Takes away what was plugged by one call: nobody who looks from here on sees it.
    pub(crate) fn unplug(&self, start: GuestAddress, bytes: u64) -> Result<(), RamError> {
        self.part(start, bytes)?;
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let less = self.memory.memory().remove_region(start, bytes);
        memory.replace(less.map_err(|_| RamError::Place { bytes })?.0);
        Ok(())
    }

    /// Gives what is not plugged any more back to the host, once no CPU and no device uses it.
    pub(crate) fn give_back(&self, start: GuestAddress, bytes: u64) -> Result<(), RamError> {
        let (region, backing) = self.part(start, bytes)?;
        self.brought.renew(region.pointer(0) as usize, bytes)?;
        mapping::give_back(region.mapping(), backing, region.offset(), bytes)
    }

    /// Makes all of it zero again, as [`clear`](super::clear) does, files included that were
    /// [brought](Self::bring).
    pub(crate) fn clear(&self, stopping: &Stopping) -> Result<(), BootError> {
        for region in self.memory.memory().iter() {
            self.brought.renew(region.pointer(0) as usize, region.len())?;
        }
        super::clear(&self.memory, &self.plan, stopping)
    }

    /// Has RAM be what is in a file, from `offset` on, which is not written to. Where it can, what is
    /// there is read when it is first used: the file has to stay as it is. What it is no longer long
    /// enough for is zero, and [told](Self::loss). Nobody may use that RAM yet.
    ///
    /// # Errors
    /// [`RamError::Place`] where there is no RAM, and [`RamError::Bring`] where the file is too short or
    /// cannot be read.
    pub(crate) fn bring(
        &self,
        start: GuestAddress,
        bytes: u64,
        file: &File,
        offset: u64,
    ) -> Result<(), RamError> {
        let memory = self.memory.memory();
        let mut done = 0;
        while done < bytes {
            let at = GuestAddress(start.0.checked_add(done).ok_or(RamError::Place { bytes })?);
            let region = memory.find_region(at).ok_or(RamError::Place { bytes })?;
            let within = at.0 - region.start_addr().0;
            let part = Part {
                mapping: region.mapping().clone(),
                offset: region.offset() + within,
                bytes: (bytes - done).min(region.len() - within),
            };
            let offset = offset.checked_add(done).ok_or(RamError::Place { bytes })?;
            let is_lazy = region.file_offset().is_none() && !self.plan.backing(at).prefault;
            if !is_lazy || !self.brought.map(&part, file, offset)? {
                self.copy_in(at, part.bytes, file, offset)?;
            }
            done += part.bytes;
        }
        Ok(())
    }

    /// The same at once: whatever becomes of the file then.
    ///
    /// # Errors
    /// As [`bring`](Self::bring).
    pub(crate) fn copy_in(
        &self,
        start: GuestAddress,
        bytes: u64,
        file: &File,
        offset: u64,
    ) -> Result<(), RamError> {
        fill::fill(&self.memory.memory(), start, bytes, file, offset).map_err(|error| match error {
            FillError::File(error) => RamError::Bring(error),
            FillError::Ram(_) => RamError::Place { bytes },
            other => RamError::Bring(io::Error::other(other)),
        })
    }

    /// Who is told when a file that was brought has become shorter, if one is mapped.
    pub(crate) fn loss(&self) -> Option<Arc<Loss>> {
        self.brought.loss()
    }

    /// Whether something of RAM is zero because the file that it was in has become shorter.
    pub(crate) fn has_lost(&self) -> bool {
        self.loss().is_some_and(|loss| loss.was())
    }

    /// Whether a file has what is in some of these bytes of a region, which nobody may have used yet.
    pub(crate) fn is_brought(&self, region: &RamRegion, offset: u64, bytes: u64) -> bool {
        self.brought.meets(region.pointer(offset as usize) as usize, bytes)
    }
}

impl GuestRam for MachineRam {
    fn read(&self, at: GuestAddress, buf: &mut [u8]) -> Result<(), MemoryFault> {
        GuestRam::read(&*self.memory.memory(), at, buf)
    }

    fn write(&self, at: GuestAddress, data: &[u8]) -> Result<(), MemoryFault> {
        GuestRam::write(&*self.memory.memory(), at, data)
    }

    fn read_available(&self, at: GuestAddress, buf: &mut [u8]) -> usize {
        Bytes::read(&*self.memory.memory(), buf, at).unwrap_or(0)
    }

    fn check_ram(&self, at: GuestAddress, bytes: u64) -> Result<(), MemoryFault> {
        GuestRam::check_ram(&*self.memory.memory(), at, bytes)
    }

    fn fill(
        &self,
        at: GuestAddress,
        bytes: u64,
        file: &File,
        offset: u64,
    ) -> Result<(), FillError> {
        self.check_ram(at, bytes)?;
        fill::fill(&self.memory.memory(), at, bytes, file, offset)
    }
}

// SAFETY: all regions are parts of mappings that live as long as this: those of the start, which
// stay in `memory`, and those of `rooms`. vm-memory accesses them by volatile and atomic operations
// only.
unsafe impl HostRam for MachineRam {
    fn as_guest(&self) -> &dyn GuestRam {
        self
    }

    fn regions(&self) -> Vec<HostRegion> {
        self.memory.memory().iter().filter_map(host_region).collect()
    }

    fn region(&self, start: GuestAddress) -> Option<HostRegion> {
        let memory = self.memory.memory();
        let region = memory.find_region(start)?;
        (region.start_addr() == start).then(|| host_region(region)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{clear, create};
    use super::*;
    use crate::boot::Stopping;
    use arch_ppc64::topology::MemoryRange;
    use vm_memory::Address;

    const MIB: u64 = 1 << 20;
    const ROOM: GuestAddress = GuestAddress(2 * MIB);

    fn goes_on() -> Stopping {
        Stopping::new(|| false)
    }

    fn ram() -> MachineRam {
        of_plan(&RamPlan::default())
    }

    fn of_plan(plan: &RamPlan) -> MachineRam {
        let map = [
            MemoryRange::ram(GuestAddress(0), MIB),
            MemoryRange::hotplug(ROOM, 4 * MIB),
            MemoryRange::ram(GuestAddress(8 * MIB), MIB),
        ];
        create(&MemoryMap::new(map).unwrap(), plan, &goes_on()).unwrap()
    }

    fn starts(ram: &MachineRam) -> Vec<u64> {
        ram.regions().iter().map(|region| region.start.0 / MIB).collect()
    }

    #[test]
    fn what_is_not_plugged_is_not_ram() {
        let ram = ram();
        let devices = ram.memory().clone();
        let all = |at: u64| {
            let at = GuestAddress(at);
            let seen = ram.check_ram(at, 8).is_ok();
            assert_eq!(GuestRam::write(&ram, at, &[1; 8]).is_ok(), seen);
            assert_eq!(GuestRam::read(&ram, at, &mut [0; 8]).is_ok(), seen);
            assert_eq!(ram.read_available(at, &mut [0; 8]) == 8, seen);
            assert_eq!(devices.memory().write_obj(1_u64, at).is_ok(), seen);
            seen
        };
        assert_eq!(starts(&ram), [0, 8]);
        assert!(!all(2 * MIB) && !all(6 * MIB - 8));
        ram.plug(GuestAddress(3 * MIB), MIB).unwrap();
        assert_eq!(starts(&ram), [0, 3, 8]);
        assert!(all(3 * MIB) && all(4 * MIB - 8) && !all(3 * MIB - 8) && !all(4 * MIB));
        ram.unplug(GuestAddress(3 * MIB), MIB).unwrap();
        assert_eq!(starts(&ram), [0, 8]);
        assert!(!all(3 * MIB));
    }

    /// Adjacent parts lie next to each other in this process and in the file.
    #[test]
    fn parts_follow_each_other() {
        let ram = of_plan(&RamPlan::uniform(Backing::default().shared()));
        ram.plug(ROOM, MIB).unwrap();
        ram.plug(ROOM.unchecked_add(MIB), MIB).unwrap();
        let regions = ram.regions();
        let [_, first, second, _] = &regions[..] else { panic!("{regions:?}") };
        assert_eq!(first.host.as_ptr() as u64 + MIB, second.host.as_ptr() as u64);
        let memory = ram.memory().memory();
        let offset = |at: GuestAddress| {
            memory.find_region(at).and_then(|region| Some(region.file_offset()?.start()))
        };
        let first = offset(ROOM).unwrap();
        assert_eq!(offset(ROOM.unchecked_add(MIB)), Some(first + MIB));
        // It is none of the file's other bytes.
        ram.write(ROOM, &[7; 16]).unwrap();
        ram.write(GuestAddress(0), &[1; 16]).unwrap();
        let mut buf = [0; 16];
        ram.read(ROOM, &mut buf).unwrap();
        assert_eq!(buf, [7; 16]);
        assert_eq!(ram.region(ROOM.unchecked_add(MIB)).unwrap().bytes, MIB);
        assert!(ram.region(ROOM.unchecked_add(MIB / 2)).is_none());
    }

    #[test]
    fn plugged_memory_is_zero_each_time() {
        let ram = ram();
        for _ in 0..10 {
            ram.plug(ROOM, MIB).unwrap();
            // Who is late with memory that is not there any more: its writes are in no other.
            let late = ram.memory().memory();
            let mut buf = [1; 8];
            ram.read(ROOM, &mut buf).unwrap();
            assert_eq!(buf, [0; 8]);
            ram.write(ROOM, &[5; 8]).unwrap();
            ram.unplug(ROOM, MIB).unwrap();
            ram.give_back(ROOM, MIB).unwrap();
            late.write_obj(9_u64, ROOM).unwrap();
        }
        // All of it is cleared for another start.
        ram.plug(ROOM, MIB).unwrap();
        ram.write(ROOM, &[5; 8]).unwrap();
        ram.write(GuestAddress(0), &[5; 8]).unwrap();
        clear(ram.memory(), &RamPlan::default(), &goes_on()).unwrap();
        for at in [ROOM, GuestAddress(0)] {
            let mut buf = [1; 8];
            ram.read(at, &mut buf).unwrap();
            assert_eq!(buf, [0; 8]);
        }
    }

    /// However memory is had, what is plugged is had so, too.
    #[test]
    fn plugged_memory_is_had_as_the_other() {
        let (shared, private) = (Backing::default().shared(), Backing::default());
        let huge = shared.with_pages(Pages::Huge(None));
        for backing in
            [shared, private, shared.with_prefault(true), private.with_prefault(true), huge]
        {
            let plan = RamPlan::uniform(backing);
            let bytes = MemoryBlock::BYTES;
            let map = [
                MemoryRange::ram(GuestAddress(0), bytes),
                MemoryRange::hotplug(GuestAddress(bytes), 2 * bytes),
            ];
            let is_huge = matches!(backing.pages, Pages::Huge(_));
            let ram = match create(&MemoryMap::new(map).unwrap(), &plan, &goes_on()) {
                Ok(ram) => ram,
                // Most hosts have no huge pages that nobody uses.
                Err(_) if is_huge => continue,
                Err(error) => panic!("{backing:?}: {error}"),
            };
            let (start, end) = (GuestAddress(bytes), GuestAddress(2 * bytes - 8));
            for _ in 0..2 {
                match ram.plug(start, bytes) {
                    Ok(()) => {}
                    Err(RamError::Populate { .. } | RamError::HugePages { .. }) if is_huge => {
                        assert!(ram.check_ram(start, 1).is_err());
                        break;
                    }
                    Err(error) => panic!("{backing:?}: {error}"),
                }
                for at in [start, end] {
                    let mut buf = [1; 8];
                    GuestRam::read(&ram, at, &mut buf).unwrap();
                    assert_eq!(buf, [0; 8], "{backing:?}");
                    GuestRam::write(&ram, at, &[7; 8]).unwrap();
                }
                let is_file = |ram: &MachineRam| {
                    ram.memory().memory().find_region(start).unwrap().file_offset().is_some()
                };
                assert_eq!(is_file(&ram), backing.shared);
                clear(ram.memory(), &plan, &goes_on()).unwrap();
                let mut buf = [1; 8];
                GuestRam::read(&ram, end, &mut buf).unwrap();
                assert_eq!(buf, [0; 8], "{backing:?}");
                GuestRam::write(&ram, end, &[7; 8]).unwrap();
                ram.unplug(start, bytes).unwrap();
                ram.give_back(start, bytes).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_plugged_is_refused() {
        let ram = ram();
        for (start, bytes) in [
            (0, MIB),
            (MIB, MIB),
            (8 * MIB, MIB),
            (5 * MIB, 2 * MIB),
            (2 * MIB, 0),
            (u64::MAX, MIB),
            (2 * MIB, u64::MAX),
        ] {
            assert!(ram.plug(GuestAddress(start), bytes).is_err(), "{start:#x} {bytes:#x}");
        }
        ram.plug(ROOM, MIB).unwrap();
        assert!(ram.plug(ROOM, MIB).is_err());
        // Nor can be taken away what was not plugged.
        assert!(ram.unplug(ROOM, 2 * MIB).is_err());
        assert!(ram.unplug(GuestAddress(0), MIB).is_err());
        assert!(ram.give_back(GuestAddress(0), MIB).is_err());
        assert_eq!(starts(&ram), [0, 2, 8]);
        ram.unplug(ROOM, MIB).unwrap();
        assert!(ram.unplug(ROOM, MIB).is_err());
    }
}
