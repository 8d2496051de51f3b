//! Guest RAM.

use std::io;

use arch_ppc64::Machine;
use arch_ppc64::layout::RAM_START;
use vm_memory::{FileOffset, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::fallocate::{FallocateMode, fallocate};

use super::BootError;
use crate::host_file;

/// Shared memory, without dirty tracking.
pub(crate) type Ram = GuestMemoryMmap<interp::PageMap>;

/// Makes the RAM of a machine: one range, all zero, shared memory without a name, so that it can
/// be given to other processes.
pub(crate) fn create(machine: &Machine) -> Result<Ram, BootError> {
    let bytes = machine.memory_bytes();
    map(bytes).map_err(|source| BootError::Memory { bytes, source })
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

fn map(bytes: u64) -> io::Result<Ram> {
    let file = host_file::without_a_name(c"pseries-ram")?;
    file.set_len(bytes)?;
    let len = usize::try_from(bytes).map_err(io::Error::other)?;
    let ranges = [(RAM_START, len, Some(FileOffset::new(file, 0)))];
    Ram::from_ranges_with_files(ranges).map_err(io::Error::other)
}
