//! Which pages of RAM were written to, and which of them hold decoded code.
//!
//! There is one mechanism for all who write to RAM other than CPUs: vm-memory tells its [`Bitmap`]
//! of every write, be it by the handler of a hypercall, by a device, or by whoever tells of what
//! another process wrote. A CPU marks the pages that it decodes code from, and what is written there
//! reaches the CPUs of all machines that have the memory. A CPU's own stores are marked where the
//! writes are logged.

mod sparse;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vm_memory::bitmap::{Bitmap, BitmapSlice, NewBitmap, WithBitmapSlice};

use sparse::SparseBits;

/// log2 of the granule in which writes, translations and decoded code are kept.
pub(crate) const PAGE_SHIFT: u32 = 12;
/// The granule in bytes.
pub(crate) const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

/// Who has to know of writes to pages with decoded code, and of changes of the log.
pub(crate) trait Watch: fmt::Debug + Send + Sync {
    /// Somebody wrote to the pages of these real addresses.
    fn written(&self, first: u64, last: u64);

    /// Pages that were marked as written are not any more, or the log was switched on.
    fn log_changed(&self);
}

/// The bitmap of a region of guest RAM: the `B` of vm-memory's `GuestRegionMmap<B>` or
/// `GuestMemoryMmap<B>`, in pages of 4 KiB.
///
/// With it, whatever is written to the region through vm-memory is noticed by the CPUs that have
/// decoded code from there, as instruction caches of POWER9 notice. It also logs writes, for those
/// who move or save a running machine: [`Self::start_log`], [`Self::take_dirty`].
///
/// It takes memory only for what is marked: that of a region of terabytes costs a few kilobytes, and
/// 32 KiB for each gibibyte of it that code is executed in, or that is written to while writes are
/// logged.
///
/// A clone is another handle of the same bitmap.
#[derive(Clone)]
pub struct PageMap(Arc<Pages>);

struct Pages {
    count: usize,
    logs: AtomicBool,
    dirty: SparseBits,
    code: SparseBits,
    watchers: Mutex<Vec<Watcher>>,
}

struct Watcher {
    /// The real address of the region there.
    start: u64,
    watch: Weak<dyn Watch>,
}

impl PageMap {
    /// The bitmap of a region of so many bytes. Nothing is logged yet.
    pub fn new(bytes: usize) -> Self {
        let count = bytes.div_ceil(PAGE_BYTES as usize);
        let (dirty, code) = (SparseBits::new(count), SparseBits::new(count));
        Self(Arc::new(Pages {
            count,
            logs: AtomicBool::new(false),
            dirty,
            code,
            watchers: Mutex::default(),
        }))
    }

    /// Logs writes from now on. No page counts as written yet: a first round has to copy all.
    ///
    /// What a CPU stores right now may be missing for the few microseconds until it notices.
    pub fn start_log(&self) {
        self.0.dirty.clear();
        self.0.logs.store(true, Ordering::SeqCst);
        self.tell_of_log();
    }

    /// Logs nothing any more.
    pub fn stop_log(&self) {
        self.0.logs.store(false, Ordering::SeqCst);
        self.tell_of_log();
    }

    /// The pages that were written to since the log was started, or since this was last called: a
    /// bit a page of 4 KiB, the lowest bit of the first word being the first page.
    ///
    /// Of a page that a CPU is storing to right now, the store is in what memory holds when this
    /// returns, or the page is reported by the next call; if the CPU has left guest code before,
    /// by this one.
    pub fn take_dirty(&self) -> Vec<u64> {
        let taken = self.0.dirty.take();
        self.tell_of_log();
        taken
    }

    /// Whether writes are logged.
    pub fn logs(&self) -> bool {
        self.0.logs.load(Ordering::SeqCst)
    }

    /// Whether a CPU may store to the page without saying so.
    pub(crate) fn is_known_dirty(&self, offset: u64) -> bool {
        !self.logs() || self.dirty_at(offset as usize)
    }

    /// A CPU has stored to this page: only the log has to know.
    pub(crate) fn log_store(&self, offset: u64) {
        if self.logs() {
            self.0.dirty.set(offset >> PAGE_SHIFT);
        }
    }

    /// What is decoded from these bytes from now on is to be noticed when it is written to.
    pub(crate) fn mark_code(&self, offset: u64, bytes: u64) {
        if let Some((first, last)) = self.range(offset as usize, bytes as usize) {
            for page in first..=last {
                self.0.code.set(page);
            }
        }
        // Before what is decoded is read: who writes it sees the mark, or has written.
        fence(Ordering::SeqCst);
    }

    /// Somebody wants to know of writes to code, the region being at this real address.
    pub(crate) fn watch(&self, start: u64, watch: &Weak<dyn Watch>) {
        let mut watchers = self.watchers();
        watchers.retain(|known| known.watch.strong_count() > 0);
        if !watchers.iter().any(|known| known.start == start && known.watch.ptr_eq(watch)) {
            watchers.push(Watcher { start, watch: watch.clone() });
        }
    }

    fn tell_of_log(&self) {
        for watch in self.watchers().iter().filter_map(|watcher| watcher.watch.upgrade()) {
            watch.log_changed();
        }
    }

    #[cold]
    fn tell_of_code(&self, page: u64) {
        for Watcher { start, watch } in self.watchers().iter() {
            if let Some(watch) = watch.upgrade() {
                let at = start.wrapping_add(page << PAGE_SHIFT);
                let last = at.saturating_add(PAGE_BYTES - 1);
                watch.written(at >> PAGE_SHIFT, last >> PAGE_SHIFT);
            }
        }
    }

    /// The first and last page of these bytes, if there are any.
    fn range(&self, offset: usize, bytes: usize) -> Option<(u64, u64)> {
        let end = offset.saturating_add(bytes);
        let last = end.checked_sub(1)? >> PAGE_SHIFT;
        let first = offset >> PAGE_SHIFT;
        let last = last.min(self.0.count.checked_sub(1)?);
        (bytes != 0 && first <= last).then_some((first as u64, last as u64))
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bitmap for PageMap {
    fn mark_dirty(&self, offset: usize, bytes: usize) {
        let Some((first, last)) = self.range(offset, bytes) else { return };
        // What was written comes before the look at who has to know.
        fence(Ordering::SeqCst);
        if self.0.logs.load(Ordering::Relaxed) {
            self.0.dirty.set_all(first, last);
        }
        // Who decodes it again marks it again.
        self.0.code.take_range(first, last, |page| self.tell_of_code(page));
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.0.dirty.has(offset as u64 >> PAGE_SHIFT)
    }

    fn slice_at(&self, offset: usize) -> PageMapSlice<'_> {
        PageMapSlice { map: self, offset }
    }
}

impl<'a> WithBitmapSlice<'a> for PageMap {
    type S = PageMapSlice<'a>;
}

impl NewBitmap for PageMap {
    fn with_len(bytes: usize) -> Self {
        Self::new(bytes)
    }
}

impl Default for PageMap {
    /// The bitmap of no memory.
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for PageMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageMap")
            .field("pages", &self.0.count)
            .field("logs", &self.logs())
            .finish_non_exhaustive()
    }
}

/// A [`PageMap`] from some byte of its region on.
#[derive(Debug, Clone, Copy)]
pub struct PageMapSlice<'a> {
    map: &'a PageMap,
    offset: usize,
}

impl<'a> PageMapSlice<'a> {
    /// All of the bitmap.
    pub fn whole(&self) -> &'a PageMap {
        self.map
    }
}

impl WithBitmapSlice<'_> for PageMapSlice<'_> {
    type S = Self;
}

impl BitmapSlice for PageMapSlice<'_> {}

impl Bitmap for PageMapSlice<'_> {
    fn mark_dirty(&self, offset: usize, bytes: usize) {
        self.map.mark_dirty(self.offset.wrapping_add(offset), bytes);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.map.dirty_at(self.offset.wrapping_add(offset))
    }

    fn slice_at(&self, offset: usize) -> Self {
        Self { map: self.map, offset: self.offset.wrapping_add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Log(Mutex<Vec<(u64, u64)>>);

    impl Watch for Log {
        fn written(&self, first: u64, last: u64) {
            self.0.lock().unwrap().push((first, last));
        }
        fn log_changed(&self) {}
    }

    #[test]
    fn only_code_is_told_of_and_once() {
        let map = PageMap::new(0x10_0000);
        let log = Arc::new(Log::default());
        let watch: Weak<dyn Watch> = Arc::downgrade(&(log.clone() as Arc<dyn Watch>));
        map.watch(0x4000_0000, &watch);
        map.watch(0x4000_0000, &watch);
        map.mark_dirty(0, 0x10_0000);
        map.mark_code(0x5000, 0x1000);
        map.mark_dirty(0x4fff, 1);
        map.mark_dirty(0x6000, 0x1000);
        map.mark_dirty(0x5000, 0);
        assert!(log.0.lock().unwrap().is_empty());
        map.slice_at(0x4000).mark_dirty(0xfff, 2);
        map.mark_dirty(0x5000, 4);
        assert_eq!(*log.0.lock().unwrap(), [(0x4_0005, 0x4_0005)]);
    }

    /// 16 TiB: two bitmaps of all of its pages would be a gibibyte.
    #[test]
    fn the_largest_region_costs_what_is_marked() {
        const BYTES: u64 = 16 << 40;
        let map = PageMap::new(BYTES as usize);
        let log = Arc::new(Log::default());
        let watch: Weak<dyn Watch> = Arc::downgrade(&(log.clone() as Arc<dyn Watch>));
        map.watch(0, &watch);
        map.start_log();
        map.mark_code(BYTES - PAGE_BYTES, PAGE_BYTES);
        map.mark_code(5 << 30, PAGE_BYTES);
        assert_eq!(map.0.code.chunks_made(), 2);
        map.mark_dirty((BYTES - 8) as usize, 8);
        assert_eq!(map.0.dirty.chunks_made(), 1);
        assert!(map.dirty_at((BYTES - PAGE_BYTES) as usize) && !map.dirty_at(0));
        map.stop_log();
        // All of it is written to, and what is not marked costs nothing.
        map.mark_dirty(0, BYTES as usize);
        let pages = [BYTES - PAGE_BYTES, 5 << 30].map(|at| at >> PAGE_SHIFT);
        assert_eq!(*log.0.lock().unwrap(), pages.map(|page| (page, page)));
        assert_eq!((map.0.code.chunks_made(), map.0.dirty.chunks_made()), (2, 1));
    }

    #[test]
    fn the_log_has_each_written_page_once() {
        let map = PageMap::new(70 << PAGE_SHIFT);
        map.mark_dirty(0, 1);
        map.start_log();
        assert_eq!(map.take_dirty(), [0, 0]);
        map.mark_dirty(63 << PAGE_SHIFT, 0x1001);
        map.log_store(0x2fff);
        map.mark_dirty(usize::MAX, 8);
        map.mark_dirty(200 << PAGE_SHIFT, 8);
        assert!(map.dirty_at(0x2000) && !map.dirty_at(0x3000));
        assert_eq!(map.take_dirty(), [1 << 63 | 4, 1]);
        assert_eq!(map.take_dirty(), [0, 0]);
        map.stop_log();
        map.mark_dirty(0, 1);
        assert_eq!(map.take_dirty(), [0, 0]);
    }
}
