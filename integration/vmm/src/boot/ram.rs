//! Guest RAM.

use std::io;

use arch_ppc64::Machine;
use arch_ppc64::layout::RAM_START;
use vm_memory::{FileOffset, GuestMemoryMmap};

use super::BootError;
use crate::host_file;

/// Shared memory, without dirty tracking.
pub(crate) type Ram = GuestMemoryMmap<()>;

/// Makes the RAM of a machine: one range, all zero, shared memory without a name, so that it can
/// be given to other processes.
pub(crate) fn create(machine: &Machine) -> Result<Ram, BootError> {
    let bytes = machine.memory_bytes();
    map(bytes).map_err(|source| BootError::Memory { bytes, source })
}

fn map(bytes: u64) -> io::Result<Ram> {
    let file = host_file::without_a_name(c"pseries-ram")?;
    file.set_len(bytes)?;
    let len = usize::try_from(bytes).map_err(io::Error::other)?;
    let ranges = [(RAM_START, len, Some(FileOffset::new(file, 0)))];
    Ram::from_ranges_with_files(ranges).map_err(io::Error::other)
}
