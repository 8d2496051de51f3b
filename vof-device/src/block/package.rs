//! The package of a disk.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arch_ppc64::platform::StateError;
#[cfg(feature = "serde")]
use arch_ppc64::platform::StateValue;

use super::device::BlockDevice;
use super::disk::Disk;
#[cfg(feature = "serde")]
use super::instance;
use super::instance::{METHODS, OpenDisk};
use super::label::Arguments;
use crate::args::Failed;
use crate::package::{Instance, Package};

/// A disk for clients: a package of the type `block` (IEEE 1275 §3.7.2, §3.8), which a VMM
/// [attaches](crate::VofBuilder::package) to the disk's node.
///
/// What is behind the `:` of the path that it is opened by says which [part](Arguments) of the disk
/// is meant. `read`, `write` and `seek` work on its bytes, and `read-blocks` and `write-blocks` on
/// the blocks of the whole disk.
///
/// - A transfer is made in full, however long, up to the end of the part. Where the host fails in
///   the middle of one, the client learns how much was moved before.
/// - What the host [has at hand](BlockDevice::try_read) is read in the call. For all else, a thread
///   of the disk's own waits for the host, with one buffer for all who have the disk open: it is
///   there while there is something to do for it.
/// - What is written is [flushed](BlockDevice::flush) before the client gets its answer, as clients
///   have no word for that. If the client's CPU gives the call up, what was taken for it by then
///   (up to [`MAX_DISK_TRANSFER_BYTES`](crate::limits::MAX_DISK_TRANSFER_BYTES) at a time) is
///   written once, and the instance stays where it was.
/// - When the machine that it was attached in is paused, saved or goes away, it waits until what was
///   taken is written. In a machine that is paused, it takes nothing.
pub struct BlockPackage {
    disk: Arc<Disk>,
}

impl BlockPackage {
    /// The package of this disk, whose size and blocks stay as they are.
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        Self { disk: Arc::new(Disk::new(device)) }
    }
}

impl Package for BlockPackage {
    fn open(&self, arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        let arguments = Arguments::parse(arguments).map_err(|_| Failed)?;
        Ok(Box::new(OpenDisk::new(&self.disk, arguments)?))
    }

    fn methods(&self) -> &[&'static str] {
        &METHODS
    }

    /// All that a cell can say: a transfer goes on at the client's next try.
    fn max_transfer_bytes(&self) -> usize {
        u32::MAX as usize
    }

    fn pause(&self, until: Instant) -> Result<(), StateError> {
        self.disk.worker.pause(until).map_err(|what| StateError::Busy(what.to_owned()))
    }

    fn resume(&self) {
        self.disk.worker.resume();
    }

    #[cfg(feature = "serde")]
    fn settle(&self) {
        self.disk.worker.settle();
    }

    #[cfg(feature = "serde")]
    fn reopen(&self, arguments: &str, state: &StateValue) -> Result<Box<dyn Instance>, StateError> {
        Ok(Box::new(instance::reopen(&self.disk, arguments, state)?))
    }
}

impl fmt::Debug for BlockPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockPackage")
            .field("bytes", &self.disk.whole.bytes())
            .field("block_bytes", &self.disk.block_bytes())
            .finish_non_exhaustive()
    }
}
