//! What a machine can have.

use arch_ppc64::Machine;
use arch_ppc64::hotplug::MemoryBlock;

use super::ResizeError;

/// How many cores so many CPUs are.
pub(super) fn cores(machine: &Machine, cpus: u32) -> Result<usize, ResizeError> {
    let topology = machine.topology();
    let (threads, max) = (topology.threads_per_core(), topology.cpus());
    if cpus < threads {
        return Err(ResizeError::TooFewCpus { cpus, min: threads });
    }
    if cpus > max {
        return Err(ResizeError::TooManyCpus { cpus, max });
    }
    if cpus % threads != 0 {
        return Err(ResizeError::PartOfCore { cpus, threads });
    }
    Ok((cpus / threads) as usize)
}

/// How many blocks make so much memory, beside that of the start.
pub(super) fn blocks(machine: &Machine, bytes: u64) -> Result<usize, ResizeError> {
    let map = machine.memory_map();
    let boot = map.ram_bytes();
    let max = boot + map.hotplug_bytes();
    if bytes > max {
        return Err(ResizeError::TooMuchMemory { bytes, max });
    }
    let Some(plugged) = bytes.checked_sub(boot) else {
        return Err(ResizeError::TooLittleMemory { bytes, min: boot });
    };
    if plugged % MemoryBlock::BYTES != 0 {
        return Err(ResizeError::PartOfBlock { bytes, boot });
    }
    Ok((plugged / MemoryBlock::BYTES) as usize)
}
