//! A disk as all who have it open share it.

use std::sync::Arc;
#[cfg(feature = "serde")]
use std::sync::{Mutex, Weak};

use super::device::{BlockDevice, SECTOR_BYTES};
#[cfg(feature = "serde")]
use super::label::Arguments;
use super::parts::Parts;
use super::region::Region;
use super::worker::Worker;

/// The largest block that clients can count in, in bytes.
const MAX_BLOCK_BYTES: u32 = 16 << 10;

pub(super) struct Disk {
    pub(super) device: Arc<dyn BlockDevice>,
    /// All of it.
    pub(super) whole: Arc<Region>,
    pub(super) worker: Worker,
    pub(super) parts: Arc<Parts>,
    /// What was opened anew and is open still: a state may have the same part many times.
    #[cfg(feature = "serde")]
    pub(super) reopened: Mutex<Vec<(Arguments, Weak<Region>)>>,
}

impl Disk {
    pub(super) fn new(device: Arc<dyn BlockDevice>) -> Self {
        let bytes = device.size_bytes() / SECTOR_BYTES * SECTOR_BYTES;
        let (whole, worker) = (Arc::new(Region::whole(bytes)), Worker::new(device.clone()));
        Self {
            device,
            whole,
            worker,
            parts: Arc::default(),
            #[cfg(feature = "serde")]
            reopened: Mutex::default(),
        }
    }

    /// What clients count blocks in, in bytes.
    pub(super) fn block_bytes(&self) -> u32 {
        let bytes = self.device.block_bytes();
        let sizes = SECTOR_BYTES as u32..=MAX_BLOCK_BYTES;
        if bytes.is_power_of_two() && sizes.contains(&bytes) { bytes } else { SECTOR_BYTES as u32 }
    }
}
