//! Guest RAM as a machine gives it to its CPUs.

use vm_memory::{GuestAddress, GuestMemoryRegion, VolatileSlice};

use crate::page_map::PageMap;

/// A region of guest RAM: real addresses, and the memory of this process that is there.
///
/// Regions of one machine do not overlap. Between them there is no RAM: see
/// [`crate::Exit::MmioRead`].
#[derive(Debug, Clone)]
pub struct RamRegion<'a> {
    start: u64,
    slice: VolatileSlice<'a>,
    pages: Option<PageMap>,
}

// SAFETY: a volatile slice is for memory that others change at any time, from any thread; what it
// gives access by is volatile or atomic.
#[expect(unsafe_code, reason = "a slice holds a pointer")]
unsafe impl Send for RamRegion<'_> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a slice holds a pointer")]
unsafe impl Sync for RamRegion<'_> {}

impl<'a> RamRegion<'a> {
    /// `slice` at `start`, as far as real addresses go. Nobody but the CPUs writes to it while they
    /// run, or they execute code that is not there any more.
    pub fn new(start: GuestAddress, slice: VolatileSlice<'a>) -> Self {
        let fits = (u64::MAX - start.0).min(slice.len() as u64) as usize;
        let slice = slice.subslice(0, fits).unwrap_or(slice);
        Self { start: start.0, slice, pages: None }
    }

    /// The same with a bitmap, which is that of all who write to it.
    #[must_use]
    pub fn with_pages(self, pages: PageMap) -> Self {
        Self { pages: Some(pages), ..self }
    }

    /// A region of vm-memory; `None` for one that is not memory of this process.
    pub fn of<R: GuestMemoryRegion<B = PageMap>>(region: &'a R) -> Option<Self> {
        let slice = region.as_volatile_slice().ok()?;
        let pages = slice.bitmap().whole().clone();
        let guard = slice.ptr_guard_mut();
        // SAFETY: the same memory for the same lifetime. CPUs tell the bitmap of their stores where
        // it has to know.
        #[expect(unsafe_code, reason = "a slice has no other way to lose its bitmap")]
        let slice = unsafe { VolatileSlice::new(guard.as_ptr(), slice.len()) };
        Some(Self::new(region.start_addr(), slice).with_pages(pages))
    }

    /// The first real address.
    pub fn start(&self) -> GuestAddress {
        GuestAddress(self.start)
    }

    /// The memory.
    pub fn slice(&self) -> &VolatileSlice<'a> {
        &self.slice
    }

    /// The bitmap, if it has one.
    pub fn pages(&self) -> Option<&PageMap> {
        self.pages.as_ref()
    }

    /// Where in the region these bytes are, if all of them are there.
    pub(crate) fn offset(&self, at: u64, bytes: u64) -> Option<u64> {
        let offset = at.checked_sub(self.start)?;
        (offset.checked_add(bytes)? <= self.slice.len() as u64).then_some(offset)
    }

    /// What tells it from another one.
    pub(crate) fn identity(&self) -> RegionIdentity {
        let host = self.slice.ptr_guard().as_ptr() as usize;
        RegionIdentity { start: self.start, host, bytes: self.slice.len() }
    }
}

/// Which memory is at which real addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegionIdentity {
    start: u64,
    host: usize,
    bytes: usize,
}
