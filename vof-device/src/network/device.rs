//! What the client interface needs of a network.

use std::time::Duration;

/// The shortest frame in bytes: two addresses and a type (IEEE 802.3 §3.2), without the check
/// sequence.
pub const FRAME_BYTES_MIN: usize = 14;

/// The longest frame in bytes of an Ethernet that says nothing else: packets of 1,500 bytes.
pub const FRAME_BYTES: usize = 1500 + FRAME_BYTES_MIN;

/// A network of the host, as the client interface needs it: whole Ethernet frames, without the check
/// sequence. Whatever else uses it, such as a virtio device, may have taken it over for good.
///
/// No method but [`wait`](Self::wait) waits for anything.
pub trait NetworkDevice: Send + Sync {
    /// The address of the guest's station (IEEE 802.3 §3.2.3), in the order in which it is sent.
    fn mac_address(&self) -> [u8; 6];

    /// The longest frame that it sends, and that it gives; in bytes, 60 at the least.
    fn max_frame_bytes(&self) -> usize {
        FRAME_BYTES
    }

    /// Puts the next frame that has come into the front of `frame`, which has
    /// [room](Self::max_frame_bytes) for it, and tells its length; `None` where none has come. Frames
    /// for another station may come, too.
    ///
    /// # Errors
    /// [`NetworkError`].
    fn receive(&self, frame: &mut [u8]) -> Result<Option<usize>, NetworkError>;

    /// Sends a frame, of 14 bytes to [the most](Self::max_frame_bytes); `false` where there is no
    /// room for it at the moment, and nothing is sent then.
    ///
    /// # Errors
    /// [`NetworkError`].
    fn send(&self, frame: &[u8]) -> Result<bool, NetworkError>;

    /// Waits until a frame is likely to have come, for `limit` at most.
    fn wait(&self, limit: Duration) {
        std::thread::sleep(limit);
    }
}

/// Why there is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The host's end is gone, and may come again.
    #[error("the link is down")]
    Down,
    /// The guest's own driver has the device.
    #[error("a driver of the guest has the device")]
    Taken,
}
