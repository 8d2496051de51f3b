//! The pages of the kernel's XIVE in this process, and in the guest.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use arch_ppc64::layout::PAGE_BYTES;
use arch_ppc64::xive::Load;

use crate::sys;

/// Pages of a device, mapped.
#[derive(Debug)]
pub(super) struct Pages {
    start: NonNull<u8>,
    bytes: u64,
}

// SAFETY: registers of a device, which any thread may use; nothing of them is memory.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// The thread interrupt management area: its four pages, of which the third is that for
    /// operating systems. The kernel finds whose it is when a CPU uses it.
    pub(super) fn of_threads(device: &OwnedFd) -> io::Result<Self> {
        Self::map(device, sys::XIVE_TIMA_PAGE, 4)
    }

    /// The pages of sources from 0 on, two a source: that for events first. Each is there when the
    /// source is.
    pub(super) fn of_sources(device: &OwnedFd, sources: u32) -> io::Result<Self> {
        Self::map(device, sys::XIVE_ESB_PAGE, u64::from(sources) * 2)
    }

    fn map(device: &OwnedFd, first: u64, pages: u64) -> io::Result<Self> {
        let bytes = pages * PAGE_BYTES;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing is overwritten.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                device.as_raw_fd(),
                (first * PAGE_BYTES) as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, bytes })
    }

    /// Where the page of this number is.
    ///
    /// # Panics
    /// For a page that was not mapped.
    pub(super) fn page(&self, number: u64) -> NonNull<u8> {
        assert!(number < self.bytes / PAGE_BYTES, "page {number} was not mapped");
        // SAFETY: within the mapping.
        unsafe { self.start.add((number * PAGE_BYTES) as usize) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An event of a source.
    ///
    /// # Safety
    /// The kernel has the source: an access of the pages of one that it has not ends the process.
    pub(super) unsafe fn trigger(&self, source: u32) {
        // What the device has written before is there for whoever is interrupted.
        fence(Ordering::SeqCst);
        // SAFETY: mapped and aligned, and the caller vouches for the device behind it.
        unsafe { self.page(u64::from(source) * 2).cast::<u64>().write_volatile(0) };
    }

    /// A load of a source's management page: its value.
    ///
    /// # Safety
    /// As [`trigger`](Self::trigger).
    pub(super) unsafe fn load(&self, source: u32, load: Load) -> u64 {
        fence(Ordering::SeqCst);
        let page = self.page(u64::from(source) * 2 + 1);
        // SAFETY: as above; the offset is one within the page, and of 8 bytes.
        let value = unsafe { page.add(load.offset() as usize).cast::<u64>().read_volatile() };
        u64::from_be(value)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and no slot of the VM has it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes as usize) };
    }
}
