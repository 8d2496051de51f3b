//! One connection between a socket of the host and a port of the guest.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::num::Wrapping;
use std::os::unix::net::UnixStream;

use super::header::{Header, NO_RECEIVE, NO_SEND, op};
use crate::iovec::{Gather, Scatter};

/// How many bytes of a guest are kept for a reader on the host who does not read, for each
/// connection: what the guest is told as `buf_alloc`.
pub(super) const BUFFER_BYTES: u32 = 64 << 10;

/// What tells a connection from others: its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub(super) host: u32,
    pub(super) guest: u32,
}

/// A guest that breaks the rules of its connection, or a host's socket that is gone: the connection
/// ends with RST.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// How a packet of the guest was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The connection goes on.
    Open,
    /// It has ended, with nothing more to be said.
    Ended,
}

/// What a connection says to its guest next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing for now.
    Nothing,
    /// This operation, with these flags.
    Control(u16, u32),
    /// Up to so many bytes of the host's, if there are any.
    Data(u32),
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ports: Ports,
    stream: UnixStream,
    /// The guest has accepted, or asked for the connection.
    is_open: bool,
    owed: Owed,
    to_host: ToHost,
    to_guest: ToGuest,
}

/// Packets that are to be sent.
#[derive(Debug, Default)]
struct Owed {
    request: bool,
    response: bool,
    reset: bool,
    credit_update: bool,
    credit_request: bool,
    shutdown: u32,
}

/// From the guest to the host.
#[derive(Debug)]
struct ToHost {
    /// What the socket has not taken yet.
    buffer: VecDeque<u8>,
    writable: bool,
    /// The guest's bytes, all and those that have left the buffer, modulo 2^32; and how many of the
    /// latter it was told of.
    received: Wrapping<u32>,
    forwarded: Wrapping<u32>,
    told: Wrapping<u32>,
    /// The guest has said that it sends nothing any more; that was passed on.
    ended: bool,
    closed: bool,
    /// The socket takes nothing any more: what comes is thrown away.
    is_dead: bool,
}

/// From the host to the guest.
#[derive(Debug)]
struct ToGuest {
    readable: bool,
    /// The host has sent its last byte; it takes none either.
    ended: bool,
    hung_up: bool,
    /// What the guest was told when it was last told of an end.
    told: u32,
    /// The guest receives nothing any more.
    refused: bool,
    sent: Wrapping<u32>,
    room: u32,
    taken: Wrapping<u32>,
    /// The guest was asked for more room.
    asked: bool,
}

impl Connection {
    /// The guest asks for a connection by this packet, and the host has accepted.
    pub(super) fn from_guest(ports: Ports, stream: UnixStream, request: &Header) -> Self {
        let mut connection = Self::new(ports, stream);
        connection.is_open = true;
        connection.owed.response = true;
        connection.to_guest.learn(request);
        connection
    }

    /// The host asks for a connection.
    pub(super) fn from_host(ports: Ports, stream: UnixStream) -> Self {
        let mut connection = Self::new(ports, stream);
        connection.owed.request = true;
        connection
    }

    fn new(ports: Ports, stream: UnixStream) -> Self {
        let to_host = ToHost {
            buffer: VecDeque::new(),
            writable: true,
            received: Wrapping(0),
            forwarded: Wrapping(0),
            told: Wrapping(0),
            ended: false,
            closed: false,
            is_dead: false,
        };
        let to_guest = ToGuest {
            readable: true,
            ended: false,
            hung_up: false,
            told: 0,
            refused: false,
            sent: Wrapping(0),
            room: 0,
            taken: Wrapping(0),
            asked: false,
        };
        Self { ports, stream, is_open: false, owed: Owed::default(), to_host, to_guest }
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Takes a packet of the guest's for this connection, with the data that follows it.
    pub(super) fn take(
        &mut self,
        header: &Header,
        data: &mut Gather<'_>,
    ) -> Result<Outcome, Broken> {
        if self.owed.reset && header.op != op::RST {
            return Ok(Outcome::Open);
        }
        self.to_guest.learn(header);
        match header.op {
            op::RESPONSE if !self.is_open && !self.owed.request => self.accepted()?,
            op::RST => return Ok(Outcome::Ended),
            op::RW if self.is_open && !self.to_host.ended => {
                self.to_host.take(data, &self.stream)?;
            }
            op::SHUTDOWN if self.is_open => self.shut_down(header.flags),
            op::CREDIT_UPDATE => {}
            op::CREDIT_REQUEST => self.owed.credit_update = true,
            _ => return Err(Broken("a packet that the state of its connection does not allow")),
        }
        self.after_forwarding();
        Ok(Outcome::Open)
    }

    /// The host's socket has become readable, writable, or was closed at its other end.
    pub(super) fn ready(
        &mut self,
        readable: bool,
        writable: bool,
        hung_up: bool,
    ) -> Result<(), Broken> {
        if self.owed.reset {
            return Ok(());
        }
        if readable {
            self.to_guest.readable = true;
        }
        if hung_up {
            if !self.is_open {
                return Err(Broken("the host has given up"));
            }
            // What was sent before is still to be read; the end is behind it.
            self.to_guest.readable = true;
            self.to_guest.hung_up = true;
            if self.to_guest.ended {
                self.owed.shutdown = NO_RECEIVE | NO_SEND;
            }
        }
        if writable {
            self.to_host.writable = true;
            self.to_host.flush(&self.stream);
            self.after_forwarding();
        }
        Ok(())
    }

    /// Nothing goes on any more; the guest is to be told. Whatever comes until then is left alone.
    pub(super) fn break_off(&mut self) {
        self.owed.reset = true;
        self.to_host.buffer = VecDeque::new();
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// What is to be said to the guest next.
    pub(super) fn next(&self) -> Next {
        let Owed { request, response, reset, credit_update, credit_request, shutdown } = self.owed;
        let room = self.to_guest.room_left();
        if reset {
            Next::Control(op::RST, 0)
        } else if request {
            Next::Control(op::REQUEST, 0)
        } else if response {
            Next::Control(op::RESPONSE, 0)
        } else if self.is_open && self.to_guest.has_more() && room != 0 {
            Next::Data(room)
        } else if credit_update {
            Next::Control(op::CREDIT_UPDATE, 0)
        } else if credit_request || self.is_open && self.to_guest.has_to_ask() {
            Next::Control(op::CREDIT_REQUEST, 0)
        } else if shutdown & !self.to_guest.told != 0 {
            Next::Control(op::SHUTDOWN, shutdown)
        } else {
            Next::Nothing
        }
    }

    /// A packet of this operation goes to the guest now.
    pub(super) fn say(&mut self, operation: u16, flags: u32) {
        match operation {
            op::REQUEST => self.owed.request = false,
            op::RESPONSE => self.owed.response = false,
            op::CREDIT_REQUEST => {
                self.owed.credit_request = false;
                self.to_guest.asked = true;
            }
            op::SHUTDOWN => self.to_guest.told |= flags,
            _ => {}
        }
    }

    /// Reads what the host has for the guest. 0 where it has nothing now: what is said next may be
    /// another thing then.
    pub(super) fn read(&mut self, to: &mut Scatter<'_>) -> Result<u32, Broken> {
        match to.read(&self.stream) {
            Ok(0) => {
                self.to_guest.ended = true;
                let both = if self.to_guest.hung_up { NO_RECEIVE | NO_SEND } else { NO_SEND };
                self.owed.shutdown |= both;
                Ok(0)
            }
            Ok(count) => {
                // No packet is that long.
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.to_guest.sent += count;
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.to_guest.readable = false;
                Ok(0)
            }
            Err(_) => Err(Broken("the host's socket cannot be read")),
        }
    }

    /// The header of a packet of this connection to the guest of this address.
    pub(super) fn header(&mut self, guest_cid: u64, operation: u16, flags: u32) -> Header {
        self.owed.credit_update = false;
        self.to_host.told = self.to_host.forwarded;
        Header {
            src_cid: super::header::HOST_CID,
            dst_cid: guest_cid,
            src_port: self.ports.host,
            dst_port: self.ports.guest,
            len: 0,
            kind: super::header::STREAM,
            op: operation,
            flags,
            buf_alloc: BUFFER_BYTES,
            fwd_cnt: self.to_host.forwarded.0,
        }
    }

    /// The guest has accepted: the host is told, as who asked by `CONNECT` waits for it.
    fn accepted(&mut self) -> Result<(), Broken> {
        self.is_open = true;
        let line = format!("OK {}\n", self.ports.host);
        // The first bytes on this socket have room.
        match (&self.stream).write(line.as_bytes()) {
            Ok(count) if count == line.len() => Ok(()),
            _ => Err(Broken("the host is not there any more")),
        }
    }

    fn shut_down(&mut self, flags: u32) {
        if flags & NO_RECEIVE != 0 && !self.to_guest.refused {
            self.to_guest.refused = true;
            // Whoever writes there is to notice.
            let _ = self.stream.shutdown(Shutdown::Read);
        }
        if flags & NO_SEND != 0 {
            self.to_host.ended = true;
        }
    }

    /// What there is to do when bytes have left the buffer, or no more come.
    fn after_forwarding(&mut self) {
        self.owed.credit_update |= self.to_host.is_to_be_told();
        if self.to_host.is_dead {
            self.owed.shutdown |= NO_RECEIVE;
        }
        if self.to_host.ended && self.to_host.buffer.is_empty() {
            if !self.to_host.closed {
                self.to_host.closed = true;
                let _ = self.stream.shutdown(Shutdown::Write);
            }
            // All has been said in both directions (§5.10.6.6).
            self.owed.reset |= self.to_guest.refused;
        }
    }
}

impl ToHost {
    /// Passes bytes on to the socket, and keeps what it does not take.
    fn take(&mut self, data: &mut Gather<'_>, stream: &UnixStream) -> Result<(), Broken> {
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if bytes > BUFFER_BYTES - (self.received - self.forwarded).0 {
            return Err(Broken("more data than there is room for"));
        }
        self.received += bytes;
        if self.buffer.is_empty() && self.writable && !self.is_dead && bytes != 0 {
            match data.write(stream) {
                Ok(count) => self.forwarded += count as u32,
                Err(error) => self.failed(&error),
            }
        }
        if self.is_dead {
            self.forwarded = self.received;
        } else if !data.is_empty() {
            let start = self.buffer.len();
            self.buffer.resize(start + data.len(), 0);
            let (front, back) = self.buffer.as_mut_slices();
            let (skip, rest) = (start.min(front.len()), start.saturating_sub(front.len()));
            data.copy_to(&mut front[skip..]);
            data.copy_to(&mut back[rest..]);
            self.flush(stream);
        }
        Ok(())
    }

    /// Writes what is in the buffer, as far as the socket takes it.
    fn flush(&mut self, mut stream: &UnixStream) {
        while self.writable && !self.buffer.is_empty() {
            match stream.write(self.buffer.as_slices().0) {
                Ok(count) => {
                    self.buffer.drain(..count);
                    self.forwarded += count as u32;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.failed(&error),
            }
        }
        if self.buffer.is_empty() {
            // A connection that is idle, as most are, costs nothing.
            self.buffer = VecDeque::new();
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if error.kind() == ErrorKind::WouldBlock {
            self.writable = false;
        } else {
            self.is_dead = true;
            self.buffer.clear();
            self.forwarded = self.received;
        }
    }

    /// Whether the guest, by what it was told, has less than half of the room left, and there is
    /// more.
    fn is_to_be_told(&self) -> bool {
        self.forwarded != self.told && (self.received - self.told).0 > BUFFER_BYTES / 2
    }
}

impl ToGuest {
    /// Learns of the guest's room, which each packet tells (§5.10.6.3).
    fn learn(&mut self, header: &Header) {
        self.room = header.buf_alloc;
        self.taken = Wrapping(header.fwd_cnt);
        if self.room_left() != 0 {
            self.asked = false;
        }
    }

    /// How many bytes the guest has room for. None if it says to have taken more than it got.
    fn room_left(&self) -> u32 {
        self.room.saturating_sub((self.sent - self.taken).0)
    }

    fn has_more(&self) -> bool {
        self.readable && !self.ended && !self.refused
    }

    /// Whether the guest has to be asked for room.
    fn has_to_ask(&self) -> bool {
        self.has_more() && self.room_left() == 0 && !self.asked
    }
}
