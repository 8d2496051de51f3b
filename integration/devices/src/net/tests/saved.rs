//! Networks that are saved, and taken up by others.

use serde_json::json;

use super::*;
use crate::virtio::saved::{changed, written};

fn other_mac() -> NetConfig {
    NetConfig::new("52:54:00:00:00:01".parse().unwrap())
}

#[test]
fn the_station_moves_with_its_guest() {
    let mut network = Network::new();
    let mut active = network.active(EVENT_IDX);
    for number in 0..5 {
        active.write(DATA, &[&[0; HEADER_BYTES][..], &frame(number, 60)].concat());
        active.add(TX, &[Buffer::readable(DATA, 72)]);
        active.notify(TX);
        active.next_used(TX);
    }
    active.add(RX, &[Buffer::writable(DATA + 0x1000, 2000)]);
    active.notify(RX);
    let state = written::<Memory>(&network.net);

    // Half a frame had come, and does not come back.
    network.peer.write_all(&prefixed(&frame(9, 100))[..50]).unwrap();
    active.run();
    let mut other = Network::new();
    other.net = Net::new(other_mac(), {
        let (host, peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        other.peer = peer;
        Box::new(Socket::from_stream(host).unwrap())
    });
    VirtioDevice::<Memory>::restore(&mut other.net, 1, &state).unwrap();
    assert_eq!(written::<Memory>(&other.net), state);
    #[cfg(feature = "vof")]
    assert_eq!(other.net.for_clients().mac_address(), config().mac.bytes());
    let mut active = active.hand_over(&mut other.net, EVENT_IDX);
    // The network hears of the station first (RFC 903), and once.
    let announced = other.next_frame().unwrap();
    let mac = config().mac.bytes();
    assert_eq!((&announced[..6], &announced[6..12]), (&[0xff; 6][..], &mac[..]));
    assert_eq!(announced[12..22], [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
    assert_eq!((announced.len(), &announced[22..28], &announced[32..38]), (60, &mac[..], &mac[..]));
    assert_eq!(other.next_frame(), None);
    // Both ways go on.
    other.send(&frame(1, 60));
    assert_eq!(active.next_used(RX), (0, 72));
    assert_eq!(active.read(DATA + 0x100c, 60), frame(1, 60));
    active.write(DATA, &[&[0; HEADER_BYTES][..], &frame(2, 60)].concat());
    active.add(TX, &[Buffer::readable(DATA, 72)]);
    active.notify(TX);
    active.next_used(TX);
    assert_eq!(other.next_frame(), Some(frame(2, 60)));
    assert_eq!(other.status(), 1);
}

#[test]
fn states_that_cannot_be_are_refused() {
    let network = Network::new();
    let state = written::<Memory>(&network.net);
    let mut other = Network::new();
    other.net.config = other_mac();
    let before = written::<Memory>(&other.net);
    let refused = |net: &mut Net, state: &StateValue| {
        let error = VirtioDevice::<Memory>::restore(net, 1, state).unwrap_err();
        assert_eq!(written::<Memory>(net), before);
        error.to_string()
    };
    let net = &mut other.net;
    let mtu = refused(net, &changed(&state, "mtu", json!(9000)));
    assert_eq!(mtu, "the saved state cannot be: its MTU is 9000, and this one's none");
    for mac in [json!("52:54:00:12:34"), json!("ff:ff:ff:ff:ff:ff"), json!(""), json!(1)] {
        refused(net, &changed(&state, "mac", mac));
    }
    refused(net, &changed(&state, "more", json!(1)));
    assert!(VirtioDevice::<Memory>::restore(net, 2, &state).is_err());
    VirtioDevice::<Memory>::restore(net, 1, &state).unwrap();
}
