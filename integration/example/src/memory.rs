//! The guest's RAM: in this process, in slots of the VM, and in a file.

use std::io::{ErrorKind, Read, Write};
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

/// Writes what is not zero.
pub(crate) fn save(ram: &Ram, file: &mut dyn Write) -> Result<()> {
    let (mut piece, zero) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    for region in ram.iter() {
        for offset in (0..region.len()).step_by(PIECE_BYTES) {
            let at = GuestAddress(region.start_addr().0 + offset);
            ram.read_slice(&mut piece, at)?;
            if piece != zero {
                file.write_all(&at.0.to_be_bytes())?;
                file.write_all(&piece)?;
            }
        }
    }
    Ok(())
}

/// Takes up what was saved, in RAM that is all zero.
pub(crate) fn restore(ram: &Ram, file: &mut dyn Read) -> Result<()> {
    let (mut piece, mut address) = (vec![0; PIECE_BYTES], [0; 8]);
    loop {
        match file.read_exact(&mut address) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        file.read_exact(&mut piece)?;
        ram.write_slice(&piece, GuestAddress(u64::from_be_bytes(address)))?;
    }
}
