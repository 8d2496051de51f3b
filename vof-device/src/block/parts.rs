//! The parts of a disk that are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::region::Region;
use crate::limits::MAX_DISK_EXTENTS;

/// How many pieces they lie in together.
#[derive(Debug, Default)]
pub(super) struct Parts {
    extents: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) region: Arc<Region>,
    parts: Arc<Parts>,
}

impl Parts {
    /// Adds one; `None` where there would be more than [`MAX_DISK_EXTENTS`].
    pub(super) fn add(self: &Arc<Self>, region: Arc<Region>) -> Option<Part> {
        let more = region.extents().len();
        let sum = |extents: usize| extents.checked_add(more).filter(|&sum| sum <= MAX_DISK_EXTENTS);
        self.extents.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).ok()?;
        Some(Part { region, parts: self.clone() })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.parts.extents.fetch_sub(self.region.extents().len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Extent;

    #[test]
    fn pieces_of_files_have_a_limit() {
        const PIECES: usize = 1 << 15;
        let extents = (0..PIECES as u64).map(|number| Extent::new(2 * number, 1)).collect();
        let region = Arc::new(Region::new(extents, 1 << 20).unwrap());
        let parts = Arc::<Parts>::default();
        let open = || parts.add(region.clone());
        let mut all: Vec<Part> = (0..MAX_DISK_EXTENTS / PIECES).map(|_| open().unwrap()).collect();
        assert!(open().is_none());
        let one = Arc::new(Region::whole(512));
        assert!(parts.add(one.clone()).is_none());
        all.pop();
        let whole = parts.add(one).unwrap();
        assert!(open().is_none());
        drop(whole);
        assert!(open().is_some());
    }
}
