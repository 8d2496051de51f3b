//! Guest RAM as a back end needs it.

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;

use arch_ppc64::{GuestRam, MemoryFault};
use interp::PageMap;
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress,
};

/// The RAM of a machine: shared memory. What is written to it by way of this type is noticed by
/// processors in software, which may have decoded it.
pub(crate) type Ram = GuestMemoryMmap<PageMap>;

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

/// RAM itself, shared, as handlers see it.
pub(crate) struct SharedRam(pub(crate) Arc<dyn HostRam>);

impl GuestRam for SharedRam {
    fn read(&self, at: GuestAddress, buf: &mut [u8]) -> Result<(), MemoryFault> {
        self.0.as_guest().read(at, buf)
    }

    fn write(&self, at: GuestAddress, data: &[u8]) -> Result<(), MemoryFault> {
        self.0.as_guest().write(at, data)
    }

    fn read_available(&self, at: GuestAddress, buf: &mut [u8]) -> usize {
        self.0.as_guest().read_available(at, buf)
    }

    fn check_ram(&self, at: GuestAddress, bytes: u64) -> Result<(), MemoryFault> {
        self.0.as_guest().check_ram(at, bytes)
    }
}

/// A range of guest RAM.
#[derive(Debug, Clone)]
pub struct HostRegion {
    /// Real address of its first byte in the guest.
    pub start: GuestAddress,
    /// Address of its first byte in this process.
    pub host: NonNull<u8>,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its bitmap, where that is one that processors in software understand.
    pub pages: Option<PageMap>,
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
                let bitmap = (**region).bitmap();
                let host = region.get_host_address(MemoryRegionAddress(0)).ok()?;
                Some(HostRegion {
                    start: region.start_addr(),
                    host: NonNull::new(host)?,
                    bytes: region.len(),
                    pages: (bitmap as &dyn Any).downcast_ref::<PageMap>().cloned(),
                })
            })
            .collect()
    }
}
