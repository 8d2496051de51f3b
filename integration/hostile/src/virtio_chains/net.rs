//! The network device, on a stream socket, with who is at its other end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use pseries_devices::net::{MacAddress, Net, NetConfig, Socket};

use crate::device_ram::{DeviceRam, address};
use crate::input::Input;

use super::kind::{Buffer, Host, Made, Request};
use super::{Goals, length};

pub(super) const GOALS: &[&str] =
    &["a frame is sent", "a frame comes", "a frame comes in several buffers", "the link is lost"];
const SENT: usize = 0;
const COMES: usize = 1;
const MERGED: usize = 2;
const LOST: usize = 3;

/// `virtio_net_hdr` (Virtio 1.2 §5.1.6), and where it says how many buffers a frame has.
const HEADER_BYTES: u32 = 12;
const NUM_BUFFERS_AT: usize = 10;

/// Queues: frames to the guest, and from it.
const RX: usize = 0;
const TX: usize = 1;

pub(super) fn make(flags: u8) -> Made {
    let (near, far) = UnixStream::pair().expect("two sockets");
    far.set_nonblocking(true).expect("it can be");
    let backend = Socket::from_stream(near).expect("it can be");
    let mac = MacAddress::new([2, 0, 0, 0, 0, flags]).expect("an address of a station");
    let config = NetConfig::new(mac).with_mtu(1500).expect("one that can be");
    let device = Box::new(Net::new(config, Box::new(backend)));
    Made { device, host: Box::new(Peer(Some(far))) }
}

struct Peer(Option<UnixStream>);

impl Host for Peer {
    fn request(&self, ram: &DeviceRam, slot: u64, queue: usize, input: &mut Input<'_>) -> Request {
        let count = input.byte() % 4;
        let mut buffers = Vec::new();
        let is_writable = queue % 2 == RX;
        if !is_writable {
            let mut header = [0; HEADER_BYTES as usize];
            header[0] = input.byte() >> 6;
            header[1] = input.byte() & 7;
            ram.poke(slot, &header);
            buffers.push(Buffer::readable(slot, HEADER_BYTES));
        }
        for _ in 0..=count {
            let (at, bytes) = (address(input), length(input));
            buffers.push(Buffer { at, bytes, is_writable });
        }
        Request { queue: if is_writable { RX } else { TX }, buffers, ..Request::default() }
    }

    fn used(&mut self, queue: usize, data: &[u8], bytes: u32, goals: &mut Goals) {
        if queue != RX {
            assert_eq!(bytes, 0, "a frame of the guest is written to");
            return;
        }
        goals.own(COMES);
        // The others of a frame have no header.
        if data.get(..NUM_BUFFERS_AT).is_some_and(|header| header.iter().all(|&byte| byte == 0))
            && data.get(NUM_BUFFERS_AT).is_some_and(|&count| (2..9).contains(&count))
        {
            goals.own(MERGED);
        }
    }

    fn act(&mut self, input: &mut Input<'_>, goals: &mut Goals) {
        let Some(stream) = &mut self.0 else { return };
        match input.byte() % 8 {
            // A frame, in one part or in two.
            0..=2 => {
                let bytes = length(input).min(1 << 17);
                let mut frame = vec![0x33; bytes as usize + 4];
                frame[..4].copy_from_slice(&bytes.to_be_bytes());
                let _ = stream.write(&frame);
            }
            3 => {
                let (bytes, part) = (length(input), length(input).min(1 << 16));
                let _ = stream.write(&bytes.to_be_bytes());
                let _ = stream.write(&vec![0x33; part as usize]);
            }
            4 => {
                let bytes = usize::from(input.byte() % 64);
                let _ = stream.write(input.bytes(bytes));
            }
            5 | 6 => {
                if stream.read(&mut [0; 0x4000]).is_ok_and(|bytes| bytes > 0) {
                    goals.own(SENT);
                }
            }
            _ => {
                goals.own(LOST);
                self.0 = None;
            }
        }
    }
}
