//! A network of the host as smoltcp has devices.

use std::sync::Arc;

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::network::{FRAME_BYTES, NetworkDevice, NetworkError};

/// How many frames are looked at before others have a turn.
const FRAMES_AT_ONCE: u32 = 32;

/// A network, with room for a frame each way.
pub(super) struct Link {
    device: Arc<dyn NetworkDevice>,
    received: Vec<u8>,
    sent: Vec<u8>,
    /// How many more frames are looked at in this turn.
    turns: u32,
    /// What the network said last.
    state: Result<(), NetworkError>,
}

impl Link {
    pub(super) fn new(device: Arc<dyn NetworkDevice>) -> Self {
        let received = vec![0; device.max_frame_bytes()];
        Self { device, received, sent: Vec::new(), turns: 0, state: Ok(()) }
    }

    pub(super) fn mac_address(&self) -> [u8; 6] {
        self.device.mac_address()
    }

    /// What is sent is no longer than on any Ethernet.
    pub(super) fn max_frame_bytes(&self) -> usize {
        self.device.max_frame_bytes().min(FRAME_BYTES)
    }

    /// What the network said last.
    pub(super) fn state(&self) -> Result<(), NetworkError> {
        self.state
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.turns = FRAMES_AT_ONCE;
    }

    /// The next frame of this turn.
    pub(super) fn next_frame(&mut self) -> Option<&[u8]> {
        let bytes = self.receive_frame()?;
        self.received.get(..bytes)
    }

    /// Sends a frame, or loses it: whoever waits for an answer tries again.
    pub(super) fn send_frame(&mut self, frame: &[u8]) {
        self.state = self.device.send(frame).map(drop);
    }

    fn receive_frame(&mut self) -> Option<usize> {
        self.turns = self.turns.checked_sub(1)?;
        match self.device.receive(&mut self.received) {
            Ok(bytes) => {
                self.state = Ok(());
                bytes
            }
            Err(error) => {
                self.state = Err(error);
                None
            }
        }
    }
}

impl Device for Link {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sender<'_>)> {
        let bytes = self.receive_frame()?;
        let received = Received(self.received.get(..bytes)?);
        let sender =
            Sender { device: &*self.device, frame: &mut self.sent, state: &mut self.state };
        Some((received, sender))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        Some(Sender { device: &*self.device, frame: &mut self.sent, state: &mut self.state })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.max_frame_bytes();
        capabilities
    }
}

/// A frame that has come.
pub(super) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

/// What a frame is sent by.
pub(super) struct Sender<'a> {
    device: &'a dyn NetworkDevice,
    frame: &'a mut Vec<u8>,
    state: &'a mut Result<(), NetworkError>,
}

impl phy::TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, make: F) -> R {
        self.frame.clear();
        self.frame.resize(bytes, 0);
        let result = make(self.frame);
        *self.state = self.device.send(self.frame).map(drop);
        result
    }
}
