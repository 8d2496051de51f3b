//! A region of guest RAM: a mapping, or a part of one.

use std::sync::Arc;

use interp::PageMap;
use vm_memory::bitmap::{BS, Bitmap};
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestUsize, MemoryRegionAddress, MmapRegion, VolatileSlice,
};

/// Some bytes of a mapping of this process, which are guest RAM from an address on.
///
/// Regions of one mapping follow each other there as they do in the guest, so that whoever tells
/// others of memory can make one range of them.
#[derive(Debug)]
pub(crate) struct RamRegion {
    mapping: Arc<MmapRegion>,
    /// Where it begins in the mapping.
    offset: usize,
    bytes: usize,
    start: GuestAddress,
    file: Option<FileOffset>,
    pages: PageMap,
    /// Whether it is of a range that is kept free.
    is_part: bool,
}

impl RamRegion {
    /// These bytes of a mapping, which has them: all, or all but the ends.
    pub(crate) fn new(
        mapping: Arc<MmapRegion>,
        offset: usize,
        bytes: u64,
        start: GuestAddress,
    ) -> Self {
        let pages = PageMap::new(bytes as usize);
        Self { pages, ..Self::room(mapping, offset, bytes, start) }
    }

    /// A range that is kept free: only [parts](Self::part) of it are ever shown to anybody.
    pub(crate) fn room(
        mapping: Arc<MmapRegion>,
        offset: usize,
        bytes: u64,
        start: GuestAddress,
    ) -> Self {
        let bytes = bytes as usize;
        debug_assert!(offset + bytes <= mapping.size());
        let file = mapping.file_offset().cloned();
        Self { mapping, offset, bytes, start, file, pages: PageMap::default(), is_part: false }
    }

    /// These bytes of it, as a region of their own, of which nobody has noted anything. `None` where
    /// they are not all in it.
    pub(crate) fn part(&self, start: GuestAddress, bytes: u64) -> Option<Self> {
        let from = usize::try_from(start.0.checked_sub(self.start.0)?).ok()?;
        let bytes = usize::try_from(bytes).ok()?;
        if bytes == 0 || from.checked_add(bytes)? > self.bytes {
            return None;
        }
        let at = |file: &FileOffset| {
            FileOffset::from_arc(file.arc().clone(), file.start() + from as u64)
        };
        Some(Self {
            mapping: self.mapping.clone(),
            offset: self.offset + from,
            bytes,
            start,
            file: self.file.as_ref().map(at),
            pages: PageMap::new(bytes),
            is_part: true,
        })
    }

    /// The mapping that it is, or is a part of.
    pub(crate) const fn mapping(&self) -> &Arc<MmapRegion> {
        &self.mapping
    }

    /// Whether it is a part of a range that is kept free.
    pub(crate) const fn is_part(&self) -> bool {
        self.is_part
    }

    /// Where it begins there.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// What takes note of writes to it.
    pub(super) fn pages(&self) -> &PageMap {
        &self.pages
    }

    /// Where a byte of it is in this process; at most one behind its end.
    pub(crate) fn pointer(&self, offset: usize) -> *mut u8 {
        let offset = offset.min(self.bytes);
        // SAFETY: in the mapping, or one behind it.
        unsafe { self.mapping.as_ptr().add(self.offset + offset) }
    }
}

impl GuestMemoryRegion for RamRegion {
    type B = PageMap;

    fn len(&self) -> GuestUsize {
        self.bytes as GuestUsize
    }

    fn start_addr(&self) -> GuestAddress {
        self.start
    }

    fn bitmap(&self) -> BS<'_, PageMap> {
        self.pages.slice_at(0)
    }

    fn get_host_address(&self, at: MemoryRegionAddress) -> Result<*mut u8, GuestMemoryError> {
        let at = self.check_address(at).ok_or(GuestMemoryError::InvalidBackendAddress)?;
        Ok(self.pointer(at.0 as usize))
    }

    fn file_offset(&self) -> Option<&FileOffset> {
        self.file.as_ref()
    }

    fn get_slice(
        &self,
        at: MemoryRegionAddress,
        count: usize,
    ) -> Result<VolatileSlice<'_, BS<'_, PageMap>>, GuestMemoryError> {
        let outside = GuestMemoryError::InvalidBackendAddress;
        let offset = usize::try_from(at.0).map_err(|_| outside)?;
        let end = offset.checked_add(count);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(GuestMemoryError::InvalidBackendAddress);
        }
        let bitmap = self.pages.slice_at(offset);
        // SAFETY: `count` bytes of the mapping, which lives as long as `self`; all of this process
        // access it by volatile and atomic operations only.
        Ok(unsafe { VolatileSlice::with_bitmap(self.pointer(offset), count, bitmap, None) })
    }
}

impl GuestMemoryRegionBytes for RamRegion {}
