//! What a network device has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many frames went each way, since the device was made. Any thread may look.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Those that the guest got.
    pub received: Count,
    /// Those for which its buffers were too small, or that were none.
    pub received_dropped: Count,
    /// Those that the host's end took from the guest.
    pub sent: Count,
    /// Those that were none, or for which there was no other end.
    pub sent_dropped: Count,
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// What it is by now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One thread at a time.
    pub(super) fn add(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Ordering::Relaxed);
    }
}
