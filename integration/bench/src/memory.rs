//! How much memory the program has from its allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use vof_device::DeviceTree;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a count of the bytes that are in use. For programs to install.
#[derive(Debug)]
pub struct Counting;

// SAFETY: the system's allocator does everything.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        LIVE.fetch_add(bytes, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(block, layout, bytes) }
    }
}

/// Makes the tree of a blob; gives it with how many bytes a node it takes, besides the characters
/// of names and the bytes of values. Only a program that has installed [`Counting`] can tell.
///
/// # Panics
/// If the blob is none.
pub fn tree(blob: &[u8]) -> (DeviceTree, f64) {
    let before = LIVE.load(Ordering::Relaxed);
    let tree = DeviceTree::from_blob(blob).expect("the tree is a valid one");
    let taken = LIVE.load(Ordering::Relaxed) - before;
    let nodes = tree.nodes().len();
    let texts: usize = tree.nodes().map(|node| tree.full_name(node).len()).sum();
    // Short values have no memory but that of the property's own entry.
    let values = tree.nodes().flat_map(|node| tree.properties(node).map(|(_, value)| value.len()));
    let values: usize = values.filter(|&bytes| bytes > 4).sum();
    (tree, (taken - texts - values) as f64 / nodes as f64)
}
