//! Guest RAM as a back end needs it.

mod region;

use std::any::Any;
use std::fs::File;
use std::ptr::NonNull;
use std::sync::Arc;

use arch_ppc64::{FillError, GuestRam, MemoryFault};
use interp::PageMap;
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    GuestAddress, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionCollection, MemoryRegionAddress,
};

pub(crate) use region::RamRegion;

/// The RAM of a machine at some moment: shared memory. What is written to it by way of this type is
/// noticed by processors in software, which may have decoded it.
pub(crate) type Ram = GuestRegionCollection<RamRegion>;

/// Guest memory as devices have it: what there is whenever they look.
pub(crate) type Memory = GuestMemoryAtomic<Ram>;

/// Guest RAM that is memory of this process: what hypercall handlers and a back end both use.
///
/// It is implemented for `GuestMemoryMmap` with any kind of dirty tracking. A back end is given
/// an `Arc<dyn HostRam>` and keeps it for as long as the guest can run.
///
/// # Safety
/// As long as the implementor lives, every range that [`regions`](Self::regions) or
/// [`region`](Self::region) has ever given must be mapped readable and writable, and be accessed by
/// this process only as memory that others (the guest) change at any time.
pub unsafe trait HostRam: Send + Sync {
    /// RAM as the handlers of hypercalls see it.
    fn as_guest(&self) -> &dyn GuestRam;

    /// The ranges that it is made of now, none overlapping another. They change only where memory
    /// is plugged: [`Vm::add_memory`](crate::vcpu::Vm::add_memory).
    fn regions(&self) -> Vec<HostRegion>;

    /// The range that begins at `start`, if there is one now.
    fn region(&self, start: GuestAddress) -> Option<HostRegion> {
        self.regions().into_iter().find(|region| region.start == start)
    }
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

    fn fill(
        &self,
        at: GuestAddress,
        bytes: u64,
        file: &File,
        offset: u64,
    ) -> Result<(), FillError> {
        self.0.as_guest().fill(at, bytes, file, offset)
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
                let pages = ((**region).bitmap() as &dyn Any).downcast_ref::<PageMap>().cloned();
                host_range(region, pages)
            })
            .collect()
    }
}

/// A region as back ends have it.
pub(crate) fn host_region(region: &RamRegion) -> Option<HostRegion> {
    host_range(region, Some(region.pages().clone()))
}

fn host_range(region: &impl GuestMemoryRegion, pages: Option<PageMap>) -> Option<HostRegion> {
    let host = region.get_host_address(MemoryRegionAddress(0)).ok()?;
    let (start, bytes) = (region.start_addr(), region.len());
    Some(HostRegion { start, host: NonNull::new(host)?, bytes, pages })
}
