//! Disks for Open Firmware's client interface.

use std::fmt;
use std::io;
use std::sync::Arc;

use vof_device::block::BlockDevice;

use super::Disk;
use crate::iovec::{Gather, Scatter};

/// A disk as the client interface takes it, for a
/// [`BlockPackage`](vof_device::block::BlockPackage). The same disk may be that of a
/// [block device](crate::blk::Block): then the guest's boot loader and its kernel see one disk.
#[derive(Clone)]
pub struct ClientDisk {
    disk: Arc<dyn Disk>,
}

impl ClientDisk {
    /// This disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }
}

impl BlockDevice for ClientDisk {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }

    fn block_bytes(&self) -> u32 {
        self.disk.block_sizes().logical
    }

    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    fn try_read(&self, to: &mut [u8], offset: u64) -> io::Result<bool> {
        self.disk.try_read_at(&mut Scatter::from(to), offset)
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(&mut Scatter::from(to), offset)
    }

    fn write(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write_at(&mut Gather::from(from), offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl fmt::Debug for ClientDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientDisk").field("bytes", &self.disk.size_bytes()).finish_non_exhaustive()
    }
}
