//! The guest's RAM: in this process, in slots of the VM, and in a file.

use std::io::{Read, Write};
use std::ptr::NonNull;

use arch_ppc64::topology::MemoryMap;
use interp::PageMap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::Result;
use crate::hypervisor::Vm;

/// Each region knows what this process wrote to it. So do CPUs in software, which keep decoded
/// code.
pub(crate) type Ram = GuestMemoryMmap<PageMap>;

/// RAM is saved in pieces of so many bytes, each behind its address; all others are zero.
const PIECE_BYTES: usize = 64 << 10;

/// RAM as the machine has it, all zero.
pub(crate) fn create(map: &MemoryMap) -> Result<Ram> {
    let ranges = map.ram().map(|range| Ok((range.start, usize::try_from(range.bytes)?)));
    Ok(Ram::from_ranges(&ranges.collect::<Result<Vec<_>>>()?)?)
}

/// Makes it the memory of a VM.
///
/// # Safety
/// The RAM must outlive the VM and its CPUs.
#[allow(unsafe_code)]
pub(crate) unsafe fn add_to_vm(ram: &Ram, vm: &dyn Vm) -> Result<()> {
    for (slot, region) in (0..).zip(ram.iter()) {
        let at = region.start_addr();
        let host = NonNull::new(ram.get_host_address(at)?).ok_or("RAM is at address 0")?;
        // SAFETY: it stays mapped, says the caller, and vm-memory accesses it by volatile and
        // atomic operations only.
        unsafe { vm.set_memory_region(slot, at, host, region.len(), (**region).bitmap())? };
    }
    Ok(())
}

/// Writes what is not zero, in the order of addresses. Gives the number of pieces.
pub(crate) fn save(ram: &Ram, file: &mut dyn Write) -> Result<u64> {
    let (mut piece, zero) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut pieces = 0;
    for region in ram.iter() {
        for offset in (0..region.len()).step_by(PIECE_BYTES) {
            let at = GuestAddress(region.start_addr().0 + offset);
            ram.read_slice(&mut piece, at)?;
            if piece != zero {
                file.write_all(&at.0.to_be_bytes())?;
                file.write_all(&piece)?;
                pieces += 1;
            }
        }
    }
    Ok(pieces)
}

/// Takes up so many pieces that were saved, in RAM that is all zero. More than there is room for are
/// not read, as each has to be behind the one before.
pub(crate) fn restore(ram: &Ram, pieces: u64, file: &mut dyn Read) -> Result<()> {
    let (mut piece, mut address) = (vec![0; PIECE_BYTES], [0; 8]);
    let mut free_from = 0;
    for _ in 0..pieces {
        file.read_exact(&mut address)?;
        file.read_exact(&mut piece)?;
        let at = u64::from_be_bytes(address);
        if at < free_from {
            return Err(format!("what is for {at:#x} is not in its place").into());
        }
        let written = ram.write_slice(&piece, GuestAddress(at));
        written.map_err(|error| format!("what is for {at:#x} has no place: {error}"))?;
        free_from = at + PIECE_BYTES as u64;
    }
    match file.read(&mut address)? {
        0 => Ok(()),
        _ => Err(format!("there is more than the state says, {pieces} pieces").into()),
    }
}
