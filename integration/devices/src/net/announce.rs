//! A station that has moved says so.

use super::backend::{Backend, HEADER_BYTES, Lost};
use super::mac::MacAddress;
use crate::iovec::Gather;

/// The shortest frame, without its checksum.
const FRAME_BYTES: usize = 60;

/// A request by Reverse ARP (RFC 903): everybody gets it, and nobody answers it who has no list of
/// stations. What is between learns where the station is from here on.
fn frame(mac: MacAddress) -> [u8; FRAME_BYTES] {
    let mac = mac.bytes();
    let mut frame = [0; FRAME_BYTES];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    // Ethernet's addresses and IPv4's, of 6 and 4 bytes; "request reverse".
    frame[12..22].copy_from_slice(&[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
    frame[22..28].copy_from_slice(&mac);
    frame[32..38].copy_from_slice(&mac);
    frame
}

/// Sends such a frame, if there is room.
pub(super) fn announce(backend: &mut dyn Backend, mac: MacAddress) -> Result<(), Lost> {
    let frame = frame(mac);
    let mut all = Gather::from(&[0; HEADER_BYTES][..]);
    all.append(Gather::from(&frame[..]));
    backend.send(all).map(drop)
}
