//! Files that the C library looks at when it first needs to, from any thread: it is made to do so
//! before threads are confined.
//!
//! glibc's allocator reads `/proc/sys/vm/overcommit_memory` when it gives memory of a thread back for
//! the first time, and, before 2.34, `/sys/devices/system/cpu/online` when the ninth thread first
//! allocates. Most threads here may open no file at all.

#[cfg(target_env = "gnu")]
pub(super) fn prepare() {
    use std::num::NonZero;
    use std::thread;

    /// The number of heaps that it has at most is this many for each processor (mallopt(3)).
    const HEAPS_A_PROCESSOR: usize = 8;
    /// More than one piece of this many bytes is given back when it is free at a heap's end.
    const PIECE_BYTES: usize = 64 << 10;
    const PIECES: usize = 16;

    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let heaps = i32::try_from(processors * HEAPS_A_PROCESSOR).unwrap_or(i32::MAX);
    // SAFETY: sets a number.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) };
    // A thread has a heap of its own, unlike this one.
    let warm = thread::Builder::new().name("heap".to_owned()).spawn(|| {
        let pieces: Vec<Vec<u8>> = (0..PIECES).map(|_| vec![1; PIECE_BYTES]).collect();
        std::hint::black_box(&pieces);
        pieces.into_iter().rev().for_each(drop);
    });
    // Without that thread there will be no others.
    let _ = warm.map(thread::JoinHandle::join);
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn prepare() {}
