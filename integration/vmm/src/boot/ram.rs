//! Guest RAM.

use std::io;
use std::sync::Arc;

use arch_ppc64::Machine;
use arch_ppc64::topology::MemoryMap;
use vm_memory::{FileOffset, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::fallocate::{FallocateMode, fallocate};

use super::BootError;
use crate::host_file;
use crate::ram::Ram;

/// Makes the RAM of a machine: a region a range, all zero, shared memory without a name, so that it
/// can be given to other processes.
pub(crate) fn create(machine: &Machine) -> Result<Ram, BootError> {
    let map = machine.memory_map();
    regions(map).map_err(|source| BootError::Memory { bytes: map.ram_bytes(), source })
}

/// Makes RAM all zero again, by giving it back to the host: a page that nobody touches after that
/// costs nothing. No virtual CPU may run meanwhile, nor keep anything of what was in RAM, such as
/// decoded code.
pub(crate) fn clear(ram: &Ram) -> Result<(), BootError> {
    for region in ram.iter() {
        // Each has one: it was made here.
        let Some(part) = region.file_offset() else { continue };
        fallocate(part.file(), FallocateMode::PunchHole, true, part.start(), region.len())
            .map_err(|error| BootError::Clear(error.into()))?;
    }
    Ok(())
}

/// All in one file: range follows range, without the holes.
fn regions(map: &MemoryMap) -> io::Result<Ram> {
    let file = Arc::new(host_file::without_a_name(c"pseries-ram")?);
    file.set_len(map.ram_bytes())?;
    let mut offset = 0;
    let mut ranges = Vec::new();
    for range in map.ram() {
        let len = usize::try_from(range.bytes).map_err(io::Error::other)?;
        ranges.push((range.start, len, Some(FileOffset::from_arc(file.clone(), offset))));
        offset += range.bytes;
    }
    Ram::from_ranges_with_files(ranges).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use arch_ppc64::topology::MemoryRange;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    #[test]
    fn ranges_are_apart_and_cleared() {
        let ram = |start, bytes| MemoryRange::ram(GuestAddress(start), bytes);
        let map = MemoryMap::new([
            ram(0, 1 << 20),
            MemoryRange::hotplug(GuestAddress(2 << 20), 1 << 20),
            ram(4 << 20, 2 << 20),
            ram(1 << 32, 1 << 20),
        ]);
        let map = map.unwrap();
        let ram = regions(&map).unwrap();
        let regions: Vec<_> =
            ram.iter().map(|region| (region.start_addr(), region.len())).collect();
        let ranges: Vec<_> = map.ram().map(|range| (range.start, range.bytes)).collect();
        assert_eq!(regions, ranges);
        let places = || {
            let edges = |&(start, bytes): &(GuestAddress, u64)| [start.0, start.0 + bytes - 8];
            ranges.iter().flat_map(edges).map(GuestAddress).enumerate()
        };
        for (number, at) in places() {
            ram.write_obj(number as u64 + 1, at).unwrap();
        }
        for (number, at) in places() {
            assert_eq!(ram.read_obj::<u64>(at).unwrap(), number as u64 + 1);
        }
        for hole in [1 << 20, 2 << 20, (4 << 20) - 1, 6 << 20, (1 << 32) + (1 << 20)] {
            assert!(ram.read_obj::<u8>(GuestAddress(hole)).is_err(), "{hole:#x}");
        }
        clear(&ram).unwrap();
        for (_, at) in places() {
            assert_eq!(ram.read_obj::<u64>(at).unwrap(), 0);
        }
    }
}
