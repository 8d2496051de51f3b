//! The socket device, with those on the host who listen and connect.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use pseries_devices::vsock::Vsock;
use vmm_sys_util::tempdir::TempDir;

use crate::device_ram::{DeviceRam, address};
use crate::input::Input;

use super::kind::{Buffer, Host, Made, Request};
use super::{Goals, length};

pub(super) const GOALS: &[&str] = &[
    "the guest connects",
    "the host connects",
    "the host reads",
    "the guest is given data",
    "a connection is reset",
];
const CONNECTS: usize = 0;
const ASKS: usize = 1;
const READS: usize = 2;
const GIVEN: usize = 3;
const RST: usize = 4;

/// The guest's address.
const CID: u64 = 3;
/// The port at which somebody listens.
const PORT: u32 = 80;

const HEADER_BYTES: u32 = 44;

/// Queues: packets to the guest, and from it.
const RX: usize = 0;
const TX: usize = 1;

/// How many there are on the host at most.
const STREAMS_MAX: usize = 8;

pub(super) fn make(_: u8) -> Made {
    let folder = TempDir::new().expect("a folder");
    let path = folder.as_path().join("vsock");
    let device = Box::new(Vsock::new(CID, &path).expect("a socket"));
    let listener = UnixListener::bind(folder.as_path().join(format!("vsock_{PORT}")));
    let listener = listener.expect("a socket");
    listener.set_nonblocking(true).expect("it can be");
    let host = Sockets { path, listener, streams: Vec::new(), _folder: folder };
    Made { device, host: Box::new(host) }
}

struct Sockets {
    path: PathBuf,
    listener: UnixListener,
    streams: Vec<UnixStream>,
    // Goes last.
    _folder: TempDir,
}

impl Sockets {
    fn keep(&mut self, stream: UnixStream) {
        stream.set_nonblocking(true).expect("it can be");
        self.streams.truncate(STREAMS_MAX - 1);
        self.streams.insert(0, stream);
    }
}

impl Host for Sockets {
    fn request(&self, ram: &DeviceRam, slot: u64, queue: usize, input: &mut Input<'_>) -> Request {
        // More buffers for packets, as drivers give some.
        if queue % 2 == RX {
            let buffers = vec![Buffer::writable(address(input), length(input).max(64))];
            return Request { queue: RX, buffers, ..Request::default() };
        }
        let what = match input.byte() {
            few @ 0..=0xef => u32::from(few % 8),
            _ => input.u16().into(),
        };
        let (data, bytes) = (address(input), length(input));
        let len = match input.byte() {
            0..=0xdf => bytes,
            _ => input.u32(),
        };
        let port = |input: &mut Input<'_>, usual: u32| match input.byte() {
            0..=0x9f => usual,
            few @ 0xa0..=0xcf => u32::from(few & 7),
            // The first that the host's connections have.
            few @ 0xd0..=0xef => (1 << 30) + u32::from(few & 7),
            _ => input.u32(),
        };
        let header = Header {
            src_cid: if input.byte() < 0xf0 { CID } else { input.u64() },
            dst_cid: if input.byte() < 0xf0 { 2 } else { input.u64() },
            src_port: port(input, 7),
            dst_port: port(input, PORT),
            len: if matches!(what, 5) { len } else { 0 },
            kind: if input.byte() < 0xf0 { 1 } else { input.u16() },
            what: what as u16,
            flags: u32::from(input.byte() % 4),
            room: length(input),
            taken: length(input),
        };
        ram.poke(slot, &header.bytes());
        let mut buffers = vec![Buffer::readable(slot, HEADER_BYTES)];
        if what == 5 {
            buffers.push(Buffer::readable(data, bytes));
        }
        Request { queue: TX, buffers, what, ..Request::default() }
    }

    fn used(&mut self, queue: usize, data: &[u8], bytes: u32, goals: &mut Goals) {
        if queue != RX {
            assert_eq!(bytes, 0, "a packet of the guest is written to");
            return;
        }
        assert!(bytes >= HEADER_BYTES, "{bytes} bytes are no packet");
        // A driver may have made the first piece shorter.
        if data.len() < HEADER_BYTES as usize {
            return;
        }
        match data[30] {
            1 => goals.own(ASKS),
            3 => goals.own(RST),
            5 => goals.own(GIVEN),
            _ => {}
        }
    }

    fn act(&mut self, input: &mut Input<'_>, goals: &mut Goals) {
        let what = input.byte();
        let number = usize::from(what >> 5);
        match what % 8 {
            0 => {
                if let Ok((stream, _)) = self.listener.accept() {
                    goals.own(CONNECTS);
                    self.keep(stream);
                }
            }
            // Somebody wants to connect, or says something else.
            1 => {
                if let Ok(mut stream) = UnixStream::connect(&self.path) {
                    let line = match input.byte() {
                        few @ 0..=0xdf => format!("CONNECT {}\n", few % 8).into_bytes(),
                        other => input.bytes((other & 31).into()).to_vec(),
                    };
                    let _ = stream.write(&line);
                    self.keep(stream);
                }
            }
            2 | 3 => {
                let bytes = length(input).min(1 << 14) as usize;
                if let Some(stream) = self.streams.get_mut(number) {
                    let _ = stream.write(&vec![0x33; bytes]);
                }
            }
            4 => {
                if let Some(stream) = self.streams.get_mut(number) {
                    if stream.read(&mut [0; 0x1000]).is_ok_and(|bytes| bytes > 0) {
                        goals.own(READS);
                    }
                }
            }
            5 => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
                if let Some(stream) = self.streams.get(number) {
                    let _ = stream.shutdown(how[usize::from(input.byte() % 3)]);
                }
            }
            _ => {
                if number < self.streams.len() {
                    self.streams.remove(number);
                }
            }
        }
    }
}

/// What a packet begins with (Virtio 1.2 §5.10.6).
struct Header {
    src_cid: u64,
    dst_cid: u64,
    src_port: u32,
    dst_port: u32,
    len: u32,
    kind: u16,
    what: u16,
    flags: u32,
    room: u32,
    taken: u32,
}

impl Header {
    fn bytes(&self) -> Vec<u8> {
        [
            &self.src_cid.to_le_bytes()[..],
            &self.dst_cid.to_le_bytes(),
            &self.src_port.to_le_bytes(),
            &self.dst_port.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.what.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.room.to_le_bytes(),
            &self.taken.to_le_bytes(),
        ]
        .concat()
    }
}
