//! The other end of a guest's network: frames behind their lengths, on a stream.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

const LENGTH_BYTES: usize = 4;
const FRAME_BYTES_MAX: usize = 1514;

/// How long it waits for bytes, before others have a turn.
const TURN: Duration = Duration::from_millis(2);

pub(super) struct Wire {
    stream: UnixStream,
    came: Vec<u8>,
    frame: Vec<u8>,
    is_open: bool,
}

impl Wire {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(TURN))?;
        Ok(Self { stream, came: Vec::new(), frame: Vec::new(), is_open: true })
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Waits a little for bytes, if no frame is there in whole.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        if self.whole().is_some() {
            return Ok(());
        }
        let mut bytes = [0; 1 << 16];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.is_open = false,
            Ok(count) => self.came.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The length of the next frame, if it is there in whole.
    fn whole(&self) -> Option<usize> {
        let (length, rest) = self.came.split_first_chunk::<LENGTH_BYTES>()?;
        let bytes = u32::from_be_bytes(*length) as usize;
        (rest.len() >= bytes).then_some(bytes)
    }
}

impl Device for Wire {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sender<'_>)> {
        let bytes = self.whole()?;
        self.frame.clear();
        self.frame.extend(self.came.drain(..LENGTH_BYTES + bytes).skip(LENGTH_BYTES));
        Some((Received(&self.frame), Sender { stream: &self.stream, is_open: &mut self.is_open }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        Some(Sender { stream: &self.stream, is_open: &mut self.is_open })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities
    }
}

pub(super) struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

pub(super) struct Sender<'a> {
    stream: &'a UnixStream,
    is_open: &'a mut bool,
}

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, make: F) -> R {
        let mut all = vec![0; LENGTH_BYTES + bytes];
        all[..LENGTH_BYTES].copy_from_slice(&(bytes as u32).to_be_bytes());
        let result = make(&mut all[LENGTH_BYTES..]);
        *self.is_open &= (&mut &*self.stream).write_all(&all).is_ok();
        result
    }
}
