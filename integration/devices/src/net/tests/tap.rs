//! With an interface of this host, where that can be made.

use std::net::UdpSocket;
use std::process::{Command, Stdio};

use super::*;

/// Makes an interface that is up, with an address and a neighbour; each test has its own.
fn tap(number: u8) -> Option<(Tap, [u8; 4])> {
    let name = format!("vt{number}x{}", std::process::id() % 1_000_000);
    let tap = match Tap::open(&name) {
        Ok(tap) => tap,
        Err(error) => {
            eprintln!("skipped: {error}: {}", std::error::Error::source(&error)?);
            return None;
        }
    };
    assert_eq!(tap.name(), name);
    // Of a network for documentation (RFC 5737).
    let host = [198, 51, 100, 4 * number + 1];
    let [a, b, c, d] = host;
    // Nothing but what the test sends shall come.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    let mac = config().mac;
    let is_set = ip(&format!("address add {a}.{b}.{c}.{d}/30 dev {name}"))
        && ip(&format!("link set {name} up"))
        && ip(&format!("neighbour add {a}.{b}.{c}.{} lladdr {mac} dev {name}", d + 1));
    if !is_set {
        eprintln!("skipped: `ip` cannot set up {name}");
        return None;
    }
    Some((tap, host))
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments.split(' ')).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A frame with a datagram from the guest to the host, its checksum not made: what is there instead
/// is that of the pseudo header.
fn datagram(to: [u8; 6], host: [u8; 4], port: u16, text: &[u8]) -> Vec<u8> {
    let mut guest = host;
    guest[3] += 1;
    let udp_bytes = 8 + text.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_bytes).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend(guest);
    ip.extend(host);
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut pseudo = [guest, host].concat();
    pseudo.extend([0, 17]);
    pseudo.extend(udp_bytes.to_be_bytes());
    let mut frame = [to, config().mac.bytes()].concat();
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(9999u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend(udp_bytes.to_be_bytes());
    frame.extend(sum(&pseudo).to_be_bytes());
    frame.extend(text);
    frame
}

fn sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn datagrams_go_both_ways() {
    let Some((tap, host)) = tap(1) else { return };
    let offloads = bits(&[VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM]);
    let has_offloads = tap.offloads() & offloads == offloads;
    let mut net = Net::new(config(), Box::new(tap));
    let socket = UdpSocket::bind((std::net::Ipv4Addr::from(host), 0)).unwrap();
    let mut guest = host;
    guest[3] += 1;
    for features in [0, MERGEABLE, MERGEABLE | EVENT_IDX | offloads] {
        let mut active = Active::new(&mut net, features, SIZE);
        for number in 0..32 {
            active.add(RX, &[Buffer::writable(DATA + 2048 * number, 2048)]);
        }
        active.notify(RX);
        let text = frame(0, 1000);
        socket.send_to(&text, (std::net::Ipv4Addr::from(guest), 9999)).unwrap();
        // There may be others, such as those of programs that look for new networks.
        let (header, got) = loop {
            let (number, bytes) = active.next_used(RX);
            let got = active.read(DATA + 2048 * u64::from(number), bytes as usize);
            if got.ends_with(&text) {
                break (got[..12].to_vec(), got[12..].to_vec());
            }
        };
        assert_eq!(got.len(), 14 + 20 + 8 + 1000);
        assert_eq!(got[..6], config().mac.bytes());
        // Whether it left the checksum to the guest.
        let is_left = features & offloads != 0 && has_offloads;
        assert_eq!(header[0], u8::from(is_left));
        assert_eq!(header[10..], [1, 0]);
        // Back: the host makes the checksum, if it can.
        let station: [u8; 6] = got[6..12].try_into().unwrap();
        let port = socket.local_addr().unwrap().port();
        let text = frame(7, 1200);
        // In a header, where it begins and where it goes to.
        let header = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
        let sent = [&header[..], &datagram(station, host, port, &text)].concat();
        active.write(DATA + 0x10_0000, &sent);
        active.add(TX, &[Buffer::readable(DATA + 0x10_0000, sent.len() as u32)]);
        active.notify(TX);
        active.next_used(TX);
        let mut buf = [0; 2000];
        let (bytes, from) = socket.recv_from(&mut buf).unwrap();
        assert_eq!(from.ip(), std::net::IpAddr::from(guest));
        assert_eq!(buf[..bytes], text);
    }
}

/// Frames that are longer than the buffers that were there for them.
#[test]
fn a_long_datagram_is_in_several_buffers() {
    let Some((tap, host)) = tap(2) else { return };
    let name = tap.name().to_owned();
    assert!(ip(&format!("link set {name} mtu 9000")));
    let mut net = Net::new(config(), Box::new(tap));
    let socket = UdpSocket::bind((std::net::Ipv4Addr::from(host), 0)).unwrap();
    let mut guest = host;
    guest[3] += 1;
    let mut active = Active::new(&mut net, MERGEABLE, SIZE);
    let text = frame(0, 8000);
    for round in 0..2 {
        // At first, three buffers are there: the rest waits for others.
        for number in 0..3 {
            active.add(RX, &[Buffer::writable(DATA + 1600 * number, 1600)]);
        }
        active.notify(RX);
        socket.send_to(&text, (std::net::Ipv4Addr::from(guest), 9999)).unwrap();
        active.run();
        assert_eq!(active.queues[RX].next_used(), None);
        assert_eq!(active.run(), 0, "nobody looks again and again");
        for number in 3..6 {
            active.add(RX, &[Buffer::writable(DATA + 1600 * number, 1600)]);
        }
        active.notify(RX);
        let lengths = [(); 6].map(|()| active.next_used(RX).1);
        assert_eq!(lengths, [1600, 1600, 1600, 1600, 1600, 54], "{round}");
        let got = active.read(DATA, 8054);
        assert_eq!(got[10..12], [6, 0]);
        assert!(got.ends_with(&text));
    }
    // One that goes away takes the link down.
    active.add(RX, &[Buffer::writable(DATA, 1600)]);
    active.notify(RX);
    assert_eq!(status(&net), 1);
    assert!(ip(&format!("link delete {name}")));
    active.until(|active| active.interrupts.change_count() == 1);
    assert_eq!(status(&net), 0);
    assert_eq!(active.run(), 0);
}

#[test]
fn one_that_is_in_use_is_named() {
    let Some((tap, _)) = tap(3) else { return };
    let error = Tap::open(tap.name()).unwrap_err();
    assert_eq!(error.to_string(), format!("interface {}: cannot attach to it", tap.name()));
}

#[test]
fn one_that_is_not_there_is_named() {
    let Some((made, _)) = tap(5) else { return };
    let name = made.name().to_owned();
    drop(made);
    let error = Tap::open_existing(&name).unwrap_err();
    assert!(matches!(error, TapError::Missing { .. }), "{error}");
    assert!(!ip(&format!("link show {name}")), "it was made");
    assert!(ip(&format!("tuntap add {name} mode tap")));
    let opened = Tap::open_existing(&name).map(drop);
    assert!(ip(&format!("link delete {name}")));
    opened.unwrap();
}

/// Frames for an interface that is down are lost, and nothing else.
#[test]
fn one_that_is_down_takes_nothing() {
    let Some((tap, _)) = tap(4) else { return };
    let name = tap.name().to_owned();
    let mut net = Net::new(config(), Box::new(tap));
    let mut active = Active::new(&mut net, 0, SIZE);
    active.add(RX, &[Buffer::writable(DATA, 2048)]);
    active.notify(RX);
    assert!(ip(&format!("link set {name} down")));
    active.write(DATA + 0x1_0000, &[&[0; 12][..], &frame(0, 60)].concat());
    active.add(TX, &[Buffer::readable(DATA + 0x1_0000, 72)]);
    active.notify(TX);
    active.next_used(TX);
    assert_eq!(active.run(), 0);
    assert_eq!(net.counts.sent_dropped.get(), 1);
    assert_eq!(status(&net), 1);
}
