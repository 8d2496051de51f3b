//! What a network device has done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::virtio::Counters;

/// How many frames went each way, since the device was made. Any thread may look.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Those that the guest got.
    pub received: Count,
    /// Their bytes.
    pub received_bytes: Count,
    /// Those for which its buffers were too small, or that were none.
    pub received_dropped: Count,
    /// Those that the host's end took from the guest.
    pub sent: Count,
    /// Their bytes.
    pub sent_bytes: Count,
    /// Those that were none, or for which there was no other end.
    pub sent_dropped: Count,
}

/// As the guest sees them.
impl Counters for Counts {
    fn read(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("rx_frames", self.received.get()),
            ("rx_bytes", self.received_bytes.get()),
            ("rx_dropped", self.received_dropped.get()),
            ("tx_frames", self.sent.get()),
            ("tx_bytes", self.sent_bytes.get()),
            ("tx_dropped", self.sent_dropped.get()),
        ]
    }
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
