//! What clients of the client interface have of a device that may be taken out: from then on, nothing,
//! and the host's end is nobody's.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use vof_device::block::BlockDevice;
use vof_device::network::{NetworkDevice, NetworkError};

/// A device, until it is taken out.
pub(crate) struct Detachable<D: ?Sized>(RwLock<Option<Arc<D>>>);

impl<D: ?Sized> Detachable<D> {
    pub(super) fn new(device: Arc<D>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Some(device))))
    }

    pub(super) fn detach(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn device(&self) -> Option<Arc<D>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the disk was taken out")
}

impl BlockDevice for Detachable<dyn BlockDevice> {
    fn size_bytes(&self) -> u64 {
        self.device().map_or(0, |disk| disk.size_bytes())
    }

    fn block_bytes(&self) -> u32 {
        self.device().map_or(512, |disk| disk.block_bytes())
    }

    fn is_read_only(&self) -> bool {
        self.device().is_none_or(|disk| disk.is_read_only())
    }

    fn works_in_calls(&self) -> bool {
        self.device().is_some_and(|disk| disk.works_in_calls())
    }

    fn try_read(&self, to: &mut [u8], offset: u64) -> io::Result<bool> {
        self.device().ok_or_else(gone)?.try_read(to, offset)
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        self.device().ok_or_else(gone)?.read(to, offset)
    }

    fn write(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.device().ok_or_else(gone)?.write(from, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.device().ok_or_else(gone)?.flush()
    }
}

impl NetworkDevice for Detachable<dyn NetworkDevice> {
    fn mac_address(&self) -> [u8; 6] {
        self.device().map_or([0; 6], |network| network.mac_address())
    }

    fn max_frame_bytes(&self) -> usize {
        // The usual frame of Ethernet.
        self.device().map_or(1514, |network| network.max_frame_bytes())
    }

    fn receive(&self, frame: &mut [u8]) -> Result<Option<usize>, NetworkError> {
        self.device().ok_or(NetworkError::Down)?.receive(frame)
    }

    fn send(&self, frame: &[u8]) -> Result<bool, NetworkError> {
        self.device().ok_or(NetworkError::Down)?.send(frame)
    }

    fn wait(&self, limit: Duration) {
        match self.device() {
            Some(network) => network.wait(limit),
            None => std::thread::sleep(limit),
        }
    }
}
