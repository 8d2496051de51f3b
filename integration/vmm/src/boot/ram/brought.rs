//! RAM that a file has the contents of, which are had when somebody looks.
//!
//! The file is mapped over the memory, so that each page is read when it is first used, and copied when
//! it is first written to: the file is never changed. Whoever clears such memory has to take the file
//! away from it, as giving it back to the host would bring the file's contents again.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use vm_memory::MmapRegion;

use super::bus::{Guard, Loss};
use super::{RamError, huge, mapping};
use crate::locks::lock;

/// What a file is mapped over, and how it is guarded.
#[derive(Debug, Default)]
pub(super) struct Brought(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    parts: Vec<Part>,
    guards: Vec<(Guard, Arc<MmapRegion>)>,
    /// Dropped behind the guards.
    loss: Option<Arc<Loss>>,
}

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) mapping: Arc<MmapRegion>,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Part {
    fn start(&self) -> usize {
        self.mapping.as_ptr() as usize + self.offset as usize
    }

    /// Whether they have a byte in common.
    fn meets(&self, start: usize, bytes: u64) -> bool {
        let end = start.saturating_add(bytes as usize);
        self.start() < end && start < self.start() + self.bytes as usize
    }
}

impl Brought {
    /// Maps a part of a file over one of memory, if that can be: false where it has to be copied.
    pub(super) fn map(&self, part: &Part, file: &File, offset: u64) -> Result<bool, RamError> {
        let page_bytes = huge::small_page_bytes();
        let is_whole = |number: u64| number % page_bytes == 0;
        let within = part.offset.checked_add(part.bytes);
        if !is_whole(part.start() as u64)
            || !is_whole(part.bytes)
            || !is_whole(offset)
            || part.bytes == 0
            || within.is_none_or(|end| end > part.mapping.size() as u64)
        {
            return Ok(false);
        }
        let mut state = lock(&self.0);
        if !state.guard(&part.mapping) {
            return Ok(false);
        }
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_NORESERVE,
        );
        let Ok(offset) = libc::off_t::try_from(offset) else { return Ok(false) };
        let (start, bytes) = (part.start() as *mut libc::c_void, part.bytes as usize);
        // SAFETY: whole pages within a mapping of ours, which is memory that others change at any time,
        // and stays that.
        let mapped =
            unsafe { libc::mmap(start, bytes, protection, flags, file.as_raw_fd(), offset) };
        if mapped == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // A file that cannot be mapped can be read.
                Some(libc::ENODEV | libc::EACCES) => Ok(false),
                _ => Err(RamError::Bring(error)),
            };
        }
        state.parts.push(part.clone());
        Ok(true)
    }

    /// Takes files away from what there is of a range of this process: it is zero then.
    pub(super) fn renew(&self, start: usize, bytes: u64) -> Result<(), RamError> {
        let mut state = lock(&self.0);
        let mut failed = None;
        state.parts.retain(|part| {
            if failed.is_some() || !part.meets(start, bytes) {
                return true;
            }
            failed = mapping::renew(&part.mapping, part.offset, part.bytes).err();
            failed.is_some()
        });
        if state.parts.is_empty() {
            state.guards.clear();
        }
        failed.map_or(Ok(()), Err)
    }

    /// Whether a file has what is in some byte of a range of this process.
    pub(super) fn meets(&self, start: usize, bytes: u64) -> bool {
        lock(&self.0).parts.iter().any(|part| part.meets(start, bytes))
    }

    /// Who is told when a file has become shorter, if there is one.
    pub(super) fn loss(&self) -> Option<Arc<Loss>> {
        lock(&self.0).loss.clone()
    }
}

impl State {
    /// Whether a mapping is guarded, from here on if it was not.
    fn guard(&mut self, mapping: &Arc<MmapRegion>) -> bool {
        if self.guards.iter().any(|(_, guarded)| Arc::ptr_eq(guarded, mapping)) {
            return true;
        }
        if self.loss.is_none() {
            self.loss = Loss::new().ok().map(Arc::new);
        }
        let Some(loss) = &self.loss else { return false };
        match Guard::new(mapping.as_ptr() as usize, mapping.size(), loss) {
            Some(guard) => {
                self.guards.push((guard, mapping.clone()));
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use arch_ppc64::GuestRam;
    use arch_ppc64::hotplug::MemoryBlock;
    use arch_ppc64::topology::{MemoryMap, MemoryRange};
    use vm_memory::GuestAddress;

    use super::super::{MachineRam, RamPlan, create};
    use crate::boot::Stopping;
    use crate::config::Backing;

    use super::*;

    const MIB: u64 = 1 << 20;
    const ROOM: GuestAddress = GuestAddress(MemoryBlock::BYTES);

    fn ram(backing: Backing) -> MachineRam {
        let map = [
            MemoryRange::ram(GuestAddress(0), 8 * MIB),
            MemoryRange::hotplug(ROOM, MemoryBlock::BYTES),
        ];
        let plan = RamPlan::uniform(backing);
        create(&MemoryMap::new(map).unwrap(), &plan, &Stopping::new(|| false)).unwrap()
    }

    /// A file of so many bytes, each of which tells its place.
    fn file(bytes: u64) -> File {
        let file = crate::host_file::without_a_name(c"brought", 0).unwrap();
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251 + 1) as u8).collect();
        file.write_all_at(&content, 0).unwrap();
        file
    }

    fn byte(ram: &MachineRam, at: u64) -> u8 {
        let mut buf = [0];
        GuestRam::read(ram, GuestAddress(at), &mut buf).unwrap();
        buf[0]
    }

    #[test]
    fn memory_is_what_the_file_has_and_the_file_stays() {
        let (private, shared) = (Backing::default(), Backing::default().shared());
        for backing in [private, shared, private.with_prefault(true)] {
            let (ram, file) = (ram(backing), file(4 * MIB));
            ram.bring(GuestAddress(2 * MIB), 2 * MIB, &file, MIB).unwrap();
            let expected = |at: u64| (at % 251 + 1) as u8;
            assert_eq!(byte(&ram, 2 * MIB), expected(MIB));
            assert_eq!(byte(&ram, 4 * MIB - 1), expected(3 * MIB - 1));
            assert_eq!((byte(&ram, 2 * MIB - 1), byte(&ram, 4 * MIB)), (0, 0));
            GuestRam::write(&ram, GuestAddress(2 * MIB), &[0; 0x1_0000]).unwrap();
            let mut buf = [0];
            file.read_exact_at(&mut buf, MIB).unwrap();
            assert_eq!((byte(&ram, 2 * MIB), buf[0]), (0, expected(MIB)));
            // The next start has nothing of it.
            ram.clear(&Stopping::new(|| false)).unwrap();
            assert!((0..8 * MIB).step_by(4096).all(|at| byte(&ram, at) == 0), "{backing:?}");
        }
    }

    #[test]
    fn plugged_memory_is_zero_when_it_comes_again() {
        let (ram, file) = (ram(Backing::default()), file(MIB));
        ram.plug(ROOM, MemoryBlock::BYTES).unwrap();
        ram.bring(ROOM, MIB, &file, 0).unwrap();
        assert_eq!(byte(&ram, ROOM.0), 1);
        ram.unplug(ROOM, MemoryBlock::BYTES).unwrap();
        ram.give_back(ROOM, MemoryBlock::BYTES).unwrap();
        ram.plug(ROOM, MemoryBlock::BYTES).unwrap();
        assert!((0..MIB).step_by(4096).all(|at| byte(&ram, ROOM.0 + at) == 0));
    }

    #[test]
    fn what_is_not_there_any_more_is_zero_and_told() {
        let (ram, file) = (ram(Backing::default()), file(4 * MIB));
        ram.bring(GuestAddress(0), 4 * MIB, &file, 0).unwrap();
        let loss = ram.loss().unwrap();
        GuestRam::write(&ram, GuestAddress(3 * MIB), &[7; 8]).unwrap();
        file.set_len(MIB).unwrap();
        assert_eq!((byte(&ram, MIB - 1), loss.was()), (((MIB - 1) % 251 + 1) as u8, false));
        assert_eq!((byte(&ram, 2 * MIB), loss.was()), (0, true));
        assert!(loss.was() && ram.has_lost(), "whoever asks next");
        // What was copied before went with it.
        GuestRam::write(&ram, GuestAddress(2 * MIB), &[5; 8]).unwrap();
        assert_eq!(byte(&ram, 2 * MIB), 5);
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let (ram, file) = (ram(Backing::default()), file(MIB));
        for (at, bytes) in [(8 * MIB, 4096), (7 * MIB, 2 * MIB), (ROOM.0, 4096), (u64::MAX, 4096)] {
            let refused = ram.bring(GuestAddress(at), bytes, &file, 0);
            assert!(matches!(refused, Err(RamError::Place { .. })), "{at:#x} {bytes:#x}");
        }
        // A file that is too short cannot be copied; where it is mapped, who looks finds out.
        assert!(ram.copy_in(GuestAddress(0), 2 * MIB, &file, 0).is_err());
        // What is no whole page is copied.
        ram.bring(GuestAddress(4 * MIB + 1), 5, &file, 3).unwrap();
        assert_eq!([0, 1, 5, 6].map(|at| byte(&ram, 4 * MIB + at)), [0, 4, 8, 0]);
    }
}
