//! Memory slots: what of this process is the guest's memory, and what of it the guest wrote.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch_ppc64::memory_slot::{DirtyPages, MemoryFlags};
use vm_memory::GuestAddress;

use crate::error::KvmError;
use crate::sys;

/// The slots of a VM. The last ones are its own.
#[derive(Debug)]
pub(crate) struct Slots {
    used: Mutex<BTreeMap<u32, Slot>>,
    /// How many there are for others.
    count: u32,
}

/// A slot that is for registers of the VM's devices.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OwnSlot {
    /// The pages of a XIVE's sources.
    Sources,
    /// The thread interrupt management area.
    Threads,
}

/// How many of them there are.
const OWN: u32 = 2;

#[derive(Debug, Clone, Copy)]
struct Slot {
    at: GuestAddress,
    /// The address in this process, only to be told again to the kernel.
    host: u64,
    bytes: u64,
    flags: MemoryFlags,
}

impl Slot {
    fn region(&self, number: u32) -> sys::MemoryRegion {
        sys::MemoryRegion {
            slot: number,
            flags: if self.flags.log_dirty { sys::MEM_LOG_DIRTY_PAGES } else { 0 },
            guest_phys_addr: self.at.0,
            memory_size: self.bytes,
            userspace_addr: self.host,
        }
    }
}

impl Slots {
    /// Those of a VM whose kernel has so many.
    pub(crate) fn new(of_kernel: u32) -> Self {
        Self { used: Mutex::default(), count: of_kernel.saturating_sub(OWN) }
    }

    /// # Safety
    /// That of [`Vm::set_memory_region`](crate::Vm::set_memory_region).
    pub(crate) unsafe fn set(
        &self,
        vm: &OwnedFd,
        number: u32,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
        flags: MemoryFlags,
    ) -> Result<(), KvmError> {
        if number >= self.count {
            let last = self.count.saturating_sub(1);
            let message = format!("there is no memory slot {number}: the last one is {last}");
            return Err(KvmError::Refused(message));
        }
        // SAFETY: says the caller.
        unsafe { self.set_any(vm, number, at, host, bytes, flags) }
    }

    /// The same for one of the VM's own.
    ///
    /// # Safety
    /// As [`set`](Self::set), but that what is mapped is no memory.
    pub(crate) unsafe fn set_own(
        &self,
        vm: &OwnedFd,
        slot: OwnSlot,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
    ) -> Result<(), KvmError> {
        // SAFETY: says the caller.
        unsafe { self.set_any(vm, self.own(slot), at, host, bytes, MemoryFlags::PLAIN) }
    }

    pub(crate) fn remove_own(&self, vm: &OwnedFd, slot: OwnSlot) -> Result<(), KvmError> {
        self.remove(vm, self.own(slot))
    }

    fn own(&self, slot: OwnSlot) -> u32 {
        self.count + slot as u32
    }

    /// # Safety
    /// As [`set`](Self::set).
    unsafe fn set_any(
        &self,
        vm: &OwnedFd,
        number: u32,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
        flags: MemoryFlags,
    ) -> Result<(), KvmError> {
        let slot = Slot { at, host: host.as_ptr().expose_provenance() as u64, bytes, flags };
        check(&slot, host_page_bytes())?;
        let mut slots = self.lock();
        if slots.contains_key(&number) {
            return Err(KvmError::Refused(format!("memory slot {number} is in use")));
        }
        // SAFETY: says the caller.
        unsafe { sys::set_memory_region(vm, &mut slot.region(number)) }
            .map_err(KvmError::kernel("give memory to the guest"))?;
        slots.insert(number, slot);
        Ok(())
    }

    pub(crate) fn remove(&self, vm: &OwnedFd, number: u32) -> Result<(), KvmError> {
        let mut slots = self.lock();
        let slot = slots.get(&number).ok_or_else(|| unknown(number))?;
        let mut gone = Slot { bytes: 0, ..*slot }.region(number);
        // SAFETY: takes memory away.
        unsafe { sys::set_memory_region(vm, &mut gone) }
            .map_err(KvmError::kernel("take memory from the guest"))?;
        slots.remove(&number);
        Ok(())
    }

    pub(crate) fn set_dirty_log(
        &self,
        vm: &OwnedFd,
        number: u32,
        on: bool,
    ) -> Result<(), KvmError> {
        let mut slots = self.lock();
        let slot = slots.get_mut(&number).ok_or_else(|| unknown(number))?;
        let changed = Slot { flags: slot.flags.with_dirty_log(on), ..*slot };
        // SAFETY: the same memory as before, which whoever made the slot vouched for until it is
        // removed.
        unsafe { sys::set_memory_region(vm, &mut changed.region(number)) }
            .map_err(KvmError::kernel("switch the dirty log"))?;
        *slot = changed;
        Ok(())
    }

    pub(crate) fn dirty_log(&self, vm: &OwnedFd, number: u32) -> Result<DirtyPages, KvmError> {
        let slots = self.lock();
        let slot = slots.get(&number).ok_or_else(|| unknown(number))?;
        if !slot.flags.log_dirty {
            let message = format!("memory slot {number} has no dirty log");
            return Err(KvmError::Refused(message));
        }
        let page_bytes = host_page_bytes();
        let words = (slot.bytes / page_bytes).div_ceil(64);
        let mut bitmap = vec![0; words as usize];
        // SAFETY: as many words as the slot has pages; it cannot change while `slots` is locked.
        unsafe { sys::with_bitmap(vm, number, &mut bitmap) }
            .map_err(KvmError::kernel("read the dirty log"))?;
        Ok(DirtyPages::new(page_bytes, bitmap))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Slot>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(number: u32) -> KvmError {
    KvmError::Refused(format!("there is no memory slot {number}"))
}

/// What the kernel would refuse without saying why.
fn check(slot: &Slot, page_bytes: u64) -> Result<(), KvmError> {
    let refuse = |message| Err(KvmError::Refused(message));
    for (what, value) in
        [("guest address", slot.at.0), ("host address", slot.host), ("length", slot.bytes)]
    {
        if value % page_bytes != 0 {
            return refuse(format!(
                "the {what} {value:#x} of memory is not a multiple of this host's page, \
                 {page_bytes:#x} bytes"
            ));
        }
    }
    if slot.bytes == 0 {
        return refuse("memory of no bytes".to_owned());
    }
    match slot.at.0.checked_add(slot.bytes) {
        Some(_) => Ok(()),
        None => refuse(format!("memory of {:#x} bytes cannot be at {:#x}", slot.bytes, slot.at.0)),
    }
}

/// How long a page of this host is.
pub(crate) fn host_page_bytes() -> u64 {
    // SAFETY: asks for a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // It always has one.
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(at: u64, host: u64, bytes: u64) -> Slot {
        Slot { at: GuestAddress(at), host, bytes, flags: MemoryFlags::PLAIN }
    }

    #[test]
    fn slots_are_made_of_whole_host_pages() {
        const PAGE: u64 = 0x1_0000;
        assert!(check(&slot(0, PAGE, PAGE), PAGE).is_ok());
        for (wrong, what) in [
            (slot(0x1000, PAGE, PAGE), "the guest address 0x1000"),
            (slot(0, 0x1000, PAGE), "the host address 0x1000"),
            (slot(0, PAGE, 0x1000), "the length 0x1000"),
            (slot(0, PAGE, 0), "memory of no bytes"),
            (slot(!(PAGE - 1), PAGE, PAGE), "memory of 0x10000 bytes cannot be at"),
        ] {
            let said = check(&wrong, PAGE).unwrap_err().to_string();
            assert!(said.starts_with(what), "{said}");
        }
    }
}
