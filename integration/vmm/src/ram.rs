//! Guest RAM as a back end needs it.

use std::ptr::NonNull;

use arch_ppc64::GuestRam;
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress,
};

/// Guest RAM that is memory of this process: what hypercall handlers and a back end both use.
///
/// It is implemented for `GuestMemoryMmap` with any kind of dirty tracking. A back end is given
/// an `Arc<dyn HostRam>` and keeps it for as long as the guest can run.
///
/// # Safety
/// As long as the implementor lives, every range that [`regions`](Self::regions) gives must be
/// mapped readable and writable, and be accessed by this process only as memory that others (the
/// guest) change at any time.
pub unsafe trait HostRam: Send + Sync {
    /// RAM as the handlers of hypercalls see it.
    fn as_guest(&self) -> &dyn GuestRam;

    /// The ranges that it is made of, none overlapping another; always the same.
    fn regions(&self) -> Vec<HostRegion>;
}

/// A range of guest RAM.
#[derive(Debug, Clone, Copy)]
pub struct HostRegion {
    /// Real address of its first byte in the guest.
    pub start: GuestAddress,
    /// Address of its first byte in this process.
    pub host: NonNull<u8>,
    /// Its length in bytes.
    pub bytes: u64,
}

// SAFETY: a region of `GuestMemoryMmap` is a mapping that lives as long as it, and vm-memory
// accesses it by volatile and atomic operations only. Regions that cannot be had are left out.
unsafe impl<B: Bitmap + Send + Sync + 'static> HostRam for GuestMemoryMmap<B>
where
    GuestMemoryMmap<B>: GuestRam,
{
    fn as_guest(&self) -> &dyn GuestRam {
        self
    }

    fn regions(&self) -> Vec<HostRegion> {
        self.iter()
            .filter_map(|region| {
                let host = region.get_host_address(MemoryRegionAddress(0)).ok()?;
                Some(HostRegion {
                    start: region.start_addr(),
                    host: NonNull::new(host)?,
                    bytes: region.len(),
                })
            })
            .collect()
    }
}
