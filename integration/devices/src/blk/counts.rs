//! What a block device has done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::virtio::Counters;

/// What was done of what the device's driver asked for. What clients of the client interface read is
/// not in it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    write_bytes: AtomicU64,
    flushes: AtomicU64,
    discards: AtomicU64,
    errors: AtomicU64,
}

/// What a request was that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Read(usize),
    Write(usize),
    Flush,
    /// Sectors are free, or zero.
    Discard,
    /// Nothing was done to the disk.
    Other,
}

impl Counts {
    pub(super) fn count(&self, done: Done) {
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        };
        match done {
            Done::Read(bytes) => {
                add(&self.reads, 1);
                add(&self.read_bytes, bytes);
            }
            Done::Write(bytes) => {
                add(&self.writes, 1);
                add(&self.write_bytes, bytes);
            }
            Done::Flush => add(&self.flushes, 1),
            Done::Discard => add(&self.discards, 1),
            Done::Other => {}
        }
    }

    /// The host could not do a request.
    pub(super) fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counters for Counts {
    fn read(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("read_ops", &self.reads),
            ("read_bytes", &self.read_bytes),
            ("write_ops", &self.writes),
            ("write_bytes", &self.write_bytes),
            ("flush_ops", &self.flushes),
            ("discard_ops", &self.discards),
            ("errors", &self.errors),
        ];
        all.into_iter().map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }
}
