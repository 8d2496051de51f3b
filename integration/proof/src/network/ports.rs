//! The machines' ends of the network: frames behind their lengths, on a stream each.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

const LENGTH_BYTES: usize = 4;
const FRAME_BYTES_MAX: usize = 1514;

/// Who takes nothing misses what is behind so much.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long it waits for something to happen, in milliseconds.
const TURN_MS: i32 = 2;

/// A network's ends, of which one is in use: that of the machine which was heard last.
pub(super) struct Ports {
    listener: UnixListener,
    ports: Vec<Port>,
    next_number: usize,
    /// Frames that came, and from where.
    came: VecDeque<(usize, Vec<u8>)>,
    in_use: Option<usize>,
}

struct Port {
    number: usize,
    stream: UnixStream,
    came: Vec<u8>,
    waiting: Vec<u8>,
    is_open: bool,
}

impl Ports {
    pub(super) fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            ports: Vec::new(),
            next_number: 0,
            came: VecDeque::new(),
            in_use: None,
        })
    }

    /// Waits a little, and takes what is there. `heard` is told of each frame, the frames of machines
    /// that connected earlier first: of two machines, one of which began when the other had ended,
    /// frames come in the order in which they were sent.
    pub(super) fn wait(&mut self, mut heard: impl FnMut(usize)) -> io::Result<()> {
        if !self.came.is_empty() {
            return Ok(());
        }
        let fds: Vec<RawFd> = self.ports.iter().map(|port| port.stream.as_raw_fd()).collect();
        let mut polled: Vec<libc::pollfd> = fds
            .iter()
            .chain([&self.listener.as_raw_fd()])
            .map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
            .collect();
        // SAFETY: the array is there while it is written to, and has so many entries.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, TURN_MS) };
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            let number = self.next_number;
            self.next_number += 1;
            let (came, waiting) = (Vec::new(), Vec::new());
            self.ports.push(Port { number, stream, came, waiting, is_open: true });
        }
        // Of an earlier one there may be more by the time that a later one was read: it is read again
        // before the later one's frames count.
        let mut later = Vec::new();
        for at in 0..self.ports.len() {
            let frames = self.ports[at].take();
            if frames.is_empty() {
                continue;
            }
            let number = self.ports[at].number;
            for earlier in 0..at {
                let port = self.ports[earlier].number;
                later.extend(self.ports[earlier].take().into_iter().map(|frame| (port, frame)));
            }
            later.extend(frames.into_iter().map(|frame| (number, frame)));
        }
        for (number, _) in &later {
            heard(*number);
            self.in_use = Some(*number);
        }
        self.came.extend(later);
        self.ports.iter_mut().for_each(Port::flush);
        self.ports.retain(|port| port.is_open);
        Ok(())
    }

    fn send(&mut self, bytes: usize, make: impl FnOnce(&mut [u8])) {
        let mut all = vec![0; LENGTH_BYTES + bytes];
        all[..LENGTH_BYTES].copy_from_slice(&(bytes as u32).to_be_bytes());
        make(&mut all[LENGTH_BYTES..]);
        let in_use = self.in_use;
        if let Some(port) = self.ports.iter_mut().find(|port| Some(port.number) == in_use) {
            if port.waiting.len() <= WAITING_BYTES_MAX {
                port.waiting.extend_from_slice(&all);
                port.flush();
            }
        }
    }
}

impl Port {
    /// The frames that are there in whole.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = [0; 1 << 16];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.is_open = false,
                Ok(count) => {
                    self.came.extend_from_slice(&bytes[..count]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.is_open = false,
            }
            break;
        }
        let mut frames = Vec::new();
        while let Some((length, rest)) = self.came.split_first_chunk::<LENGTH_BYTES>() {
            let bytes = u32::from_be_bytes(*length) as usize;
            if rest.len() < bytes {
                break;
            }
            frames.push(rest[..bytes].to_vec());
            self.came.drain(..LENGTH_BYTES + bytes);
        }
        frames
    }

    fn flush(&mut self) {
        while !self.waiting.is_empty() {
            match (&self.stream).write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_open = false;
                    return;
                }
            }
        }
    }
}

impl Device for Ports {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sender<'_>)> {
        let (_, frame) = self.came.pop_front()?;
        Some((Received(frame), Sender(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        Some(Sender(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities
    }
}

pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

pub(super) struct Sender<'a>(&'a mut Ports);

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, make: F) -> R {
        let mut result = None;
        self.0.send(bytes, |frame| result = Some(make(frame)));
        result.expect("the frame was made")
    }
}
