//! Guest RAM.

use std::io;
use std::sync::Arc;

use arch_ppc64::Machine;
use arch_ppc64::topology::{MemoryMap, MemoryRange};
use vm_memory::{
    FileOffset, GuestAddress, GuestAddressSpace, GuestMemoryBackend, MmapRegion,
};

use super::BootError;
use crate::host_file;
use crate::ram::{MachineRam, Memory, Ram, RamRegion};

/// Makes the RAM of a machine: a region a range, all zero, shared memory without a name, so that it
/// can be given to other processes.
pub(crate) fn create(machine: &Machine) -> Result<MachineRam, BootError> {
    let map = machine.memory_map();
    create_regions(map).map_err(|source| BootError::Memory { bytes: map.ram_bytes(), source })
}

/// The same of a map.
pub(crate) fn create_regions(map: &MemoryMap) -> io::Result<MachineRam> {
    let at_start = Ram::from_regions(regions(map.ram(), RamRegion::whole)?).map_err(io::Error::other)?;
    Ok(MachineRam::new(at_start, regions(map.hotplug(), RamRegion::room)?))
}

/// Makes RAM all zero again, by giving it back to the host: a page that nobody touches after that
/// costs nothing. No virtual CPU may run meanwhile, nor keep anything of what was in RAM, such as
/// decoded code.
pub(crate) fn clear(ram: &Memory) -> Result<(), BootError> {
    ram.memory().iter().try_for_each(RamRegion::clear).map_err(BootError::Clear)
}

/// All in one file: range follows range, without the holes.
fn regions<'a>(
    ranges: impl Iterator<Item = &'a MemoryRange>,
    region: fn(Arc<MmapRegion>, GuestAddress) -> RamRegion,
) -> io::Result<Vec<RamRegion>> {
    let file = Arc::new(host_file::without_a_name(c"pseries-ram")?);
    let ranges: Vec<_> = ranges.collect();
    file.set_len(ranges.iter().map(|range| range.bytes).sum())?;
    let mut offset = 0;
    let mut regions = Vec::new();
    for range in ranges {
        let bytes = usize::try_from(range.bytes).map_err(io::Error::other)?;
        let part = FileOffset::from_arc(file.clone(), offset);
        let mapping = MmapRegion::from_file(part, bytes).map_err(io::Error::other)?;
        regions.push(region(Arc::new(mapping), range.start));
        offset += range.bytes;
    }
    Ok(regions)
}

#[cfg(test)]
mod tests {
    use vm_memory::{
        Bytes, GuestMemoryRegion,
    };

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
        let machine_ram = create_regions(&map).unwrap();
        let ram = machine_ram.memory().memory();
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
        clear(machine_ram.memory()).unwrap();
        for (_, at) in places() {
            assert_eq!(ram.read_obj::<u64>(at).unwrap(), 0);
        }
    }
}
