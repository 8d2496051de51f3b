mod connection;
#[cfg(feature = "vof")]
mod for_clients;
mod passt;
mod receive;
mod saved;
mod tap;
mod transmit;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::*;
use crate::active::{Active, DATA, Memory};
use crate::virtio::driver::Buffer;

const SIZE: u16 = 64;
const RX: usize = RECEIVE as usize;
const TX: usize = TRANSMIT as usize;

const MERGEABLE: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

/// An Ethernet of the device, and a peer at the other end of a socket.
struct Network {
    net: Net,
    peer: UnixStream,
}

impl Network {
    fn new() -> Self {
        let (host, peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let backend = Socket::from_stream(host).unwrap();
        Self { net: Net::new(config(), Box::new(backend)), peer }
    }

    fn active(&mut self, features: u64) -> Active {
        Active::new(&mut self.net, features, SIZE)
    }

    fn status(&self) -> u8 {
        status(&self.net)
    }

    /// Sends a frame to the guest.
    fn send(&mut self, frame: &[u8]) {
        self.peer.write_all(&prefixed(frame)).unwrap();
    }

    /// The next frame from the guest, if it is there.
    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        match self.peer.read(&mut length) {
            Ok(4) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            other => panic!("{other:?}"),
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.peer.read_exact(&mut frame).unwrap();
        Some(frame)
    }
}

fn config() -> NetConfig {
    NetConfig::new("52:54:00:12:34:56".parse().unwrap())
}

fn status(net: &Net) -> u8 {
    let device: &dyn VirtioDevice<Memory> = net;
    let mut status = [0; 2];
    device.read_config(6, &mut status);
    status[0]
}

fn prefixed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

/// A frame that differs from others.
fn frame(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(31) ^ at >> 8).wrapping_add(number * 7) as u8).collect()
}

/// What a guest gets before a frame: nothing but how many buffers it is in.
fn header(buffers: u8) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[10] = buffers;
    header
}

#[test]
fn configuration_says_what_the_network_is() {
    let (host, _peer) = UnixStream::pair().unwrap();
    let backend = Box::new(Socket::from_stream(host).unwrap());
    let net = Net::new(config().with_mtu(9000).unwrap(), backend);
    let device: &dyn VirtioDevice<Memory> = &net;
    assert_eq!(device.kind().id, 1);
    assert_eq!(device.queue_sizes().len(), 2);
    let features = device.features();
    for bit in [VIRTIO_NET_F_MAC, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS, VIRTIO_NET_F_MRG_RXBUF] {
        assert_ne!(features & 1 << bit, 0, "{bit}");
    }
    assert_eq!(features & OFFLOADS, 0);
    let mut space = [0; 20];
    device.read_config(0, &mut space);
    let expected = [0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 1, 0, 0x28, 0x23];
    assert_eq!(space[..12], expected);
    assert_eq!(space[12..], [0; 8]);
    for offset in [12, 1000, u64::MAX] {
        let mut byte = [0];
        device.read_config(offset, &mut byte);
        assert_eq!(byte, [0]);
    }
}

#[test]
fn an_mtu_has_a_minimum() {
    assert_eq!(config().with_mtu(67), Err(MtuError(67)));
    assert_eq!(config().with_mtu(68).unwrap().mtu, Some(68));
    let features = {
        let device: &dyn VirtioDevice<Memory> = &Network::new().net;
        device.features()
    };
    assert_eq!(features & 1 << VIRTIO_NET_F_MTU, 0, "nothing is said");
}

/// "VIRTIO_NET_F_GUEST_TSO4 Requires VIRTIO_NET_F_GUEST_CSUM" (§5.1.3.1), and so on.
#[test]
fn features_need_others() {
    let tso = bits(&[VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_ECN]);
    assert_eq!(usable(tso), 0);
    let all = tso | bits(&[VIRTIO_NET_F_GUEST_CSUM]);
    assert_eq!(usable(all), all);
    let no_tso = bits(&[VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN]);
    assert_eq!(usable(no_tso), bits(&[VIRTIO_NET_F_GUEST_CSUM]));
}
