use std::fs;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Instant;

use vmm_sys_util::tempdir::TempDir;
use vof_device::network::NetworkError;

use super::*;

/// What hangs is ended so late.
const HANGS: Duration = Duration::from_secs(120);

/// The next frame for clients, if it is there.
fn next(clients: &dyn NetworkDevice) -> Result<Option<Vec<u8>>, NetworkError> {
    let mut frame = vec![0; clients.max_frame_bytes()];
    let bytes = clients.receive(&mut frame)?;
    Ok(bytes.map(|bytes| frame[..bytes].to_vec()))
}

/// "It is there until the guest's driver sets the device up, and again after the device's reset."
#[test]
fn the_network_is_the_clients_until_a_driver_has_it() {
    let mut network = Network::new();
    let clients = network.net.for_clients();
    assert_eq!(clients.mac_address(), [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!(clients.max_frame_bytes(), 1514);
    assert_eq!(next(&*clients), Ok(None));
    for bytes in [60, 1514, 14] {
        network.send(&frame(bytes, bytes));
        assert_eq!(next(&*clients), Ok(Some(frame(bytes, bytes))));
        assert_eq!(clients.send(&frame(1, bytes)), Ok(true));
        assert_eq!(network.next_frame(), Some(frame(1, bytes)));
    }
    assert_eq!(next(&*clients), Ok(None));

    // One of which they have a part is not the driver's.
    let half = prefixed(&frame(2, 100));
    network.peer.write_all(&half[..70]).unwrap();
    assert_eq!(next(&*clients), Ok(None));
    let mut active = network.active(0);
    active.add(RX, &[Buffer::writable(DATA, 2000)]);
    active.notify(RX);
    assert_eq!(next(&*clients), Err(NetworkError::Taken));
    assert_eq!(clients.send(&frame(3, 60)), Err(NetworkError::Taken));
    network.peer.write_all(&half[70..]).unwrap();
    network.send(&frame(4, 60));
    assert_eq!(active.next_used(RX), (0, HEADER_BYTES as u32 + 60));
    assert_eq!(active.read(DATA + HEADER_BYTES as u64, 60), frame(4, 60));
    // Nor is one of the driver's theirs.
    network.peer.write_all(&half[..70]).unwrap();
    active.run();
    assert_eq!(next(&*clients), Err(NetworkError::Taken));
    drop(active);
    VirtioDevice::<Memory>::reset(&mut network.net);
    assert_eq!(next(&*clients), Ok(None));
    network.peer.write_all(&half[70..]).unwrap();
    network.send(&frame(5, 61));
    assert_eq!(next(&*clients), Ok(Some(frame(5, 61))));
    let counts = network.net.counts();
    assert_eq!((counts.received.get(), counts.sent.get()), (5, 3));
    // Those of clients, and those of the driver, in the same numbers.
    let counters = VirtioDevice::<Memory>::counters(&network.net).unwrap().read();
    let count = |name| counters.iter().find(|(known, _)| *known == name).unwrap().1;
    assert_eq!((count("rx_frames"), count("tx_frames"), count("rx_dropped")), (5, 3, 0));
    let of_clients = 60 + 1514 + 14;
    assert_eq!((count("rx_bytes"), count("tx_bytes")), (of_clients + 60 + 61, of_clients));
}

#[test]
fn frames_may_come_in_pieces() {
    let mut network = Network::new();
    let clients = network.net.for_clients();
    for byte in prefixed(&frame(1, 100)) {
        assert_eq!(next(&*clients), Ok(None));
        network.peer.write_all(&[byte]).unwrap();
    }
    assert_eq!(next(&*clients), Ok(Some(frame(1, 100))));
}

/// What is too long for clients, or too short for anybody, is left out.
#[test]
fn frames_for_nobody_are_left_out() {
    let mut network = Network::new();
    let clients = network.net.for_clients();
    for bytes in [1515, 1, 13, 60_000] {
        network.peer.set_nonblocking(false).unwrap();
        let (mut peer, long) = (network.peer.try_clone().unwrap(), prefixed(&frame(1, bytes)));
        let sender = thread::spawn(move || peer.write_all(&long));
        let start = Instant::now();
        while !sender.is_finished() {
            assert_eq!(next(&*clients), Ok(None));
            assert!(start.elapsed() < HANGS);
        }
        sender.join().unwrap().unwrap();
    }
    network.send(&frame(2, 60));
    assert_eq!(next(&*clients), Ok(Some(frame(2, 60))));
    assert_eq!(network.net.counts().received_dropped.get(), 4);
}

/// A peer that reads nothing: frames are taken, in whole, until there is no room.
#[test]
fn what_there_is_no_room_for_is_not_taken() {
    let mut network = Network::new();
    let clients = network.net.for_clients();
    let mut sent = 0;
    while clients.send(&frame(sent, 1000)).unwrap() {
        sent += 1;
    }
    assert!(sent > 10);
    // The rest of one goes when clients look for frames.
    let mut came = 0;
    let start = Instant::now();
    while came < sent {
        assert_eq!(next(&*clients), Ok(None));
        let Some(frame_of_it) = whole_frame(&mut network) else { continue };
        assert_eq!(frame_of_it, frame(came, 1000));
        came += 1;
        assert!(start.elapsed() < HANGS);
    }
    assert_eq!(clients.send(&frame(1, 60)), Ok(true));
}

/// The next frame, which may be there in part only.
fn whole_frame(network: &mut Network) -> Option<Vec<u8>> {
    let mut peeked = vec![0; 4 + 1000];
    let there = crate::unix_socket::peek(&network.peer, &mut peeked).unwrap_or(0);
    (there == peeked.len()).then(|| network.next_frame().unwrap())
}

#[test]
fn a_connection_that_is_lost_is_made_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.as_path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let backend = Socket::connect(&path).unwrap();
    let net = Net::new(config(), Box::new(backend));
    let clients = net.for_clients();
    let (peer, _) = listener.accept().unwrap();
    assert_eq!(next(&*clients), Ok(None));
    assert_eq!(status(&net), 1);
    drop(peer);
    drop(listener);
    fs::remove_file(&path).unwrap();
    assert_eq!(next(&*clients), Err(NetworkError::Down));
    assert_eq!(clients.send(&frame(1, 60)), Err(NetworkError::Down));
    assert_eq!(status(&net), 0);
    let listener = UnixListener::bind(&path).unwrap();
    let start = Instant::now();
    while next(&*clients) == Err(NetworkError::Down) {
        assert!(start.elapsed() < HANGS);
        clients.wait(Duration::from_millis(10));
    }
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(status(&net), 1);
    peer.write_all(&prefixed(&frame(2, 60))).unwrap();
    assert_eq!(next(&*clients), Ok(Some(frame(2, 60))));
    // For good, with a length that cannot be.
    peer.write_all(&[0xff; 4]).unwrap();
    assert_eq!(next(&*clients), Err(NetworkError::Down));
}

/// Whoever waits for a frame is woken by it, and does not keep others from the device.
#[test]
fn who_waits_is_woken_by_a_frame() {
    let mut network = Network::new();
    let clients = network.net.for_clients();
    let waits = thread::spawn({
        let clients = clients.clone();
        move || {
            clients.wait(HANGS);
            next(&*clients)
        }
    });
    // Whether it waits by now or not.
    assert_eq!(clients.send(&frame(1, 60)), Ok(true));
    network.send(&frame(2, 60));
    let start = Instant::now();
    assert_eq!(waits.join().unwrap(), Ok(Some(frame(2, 60))));
    assert!(start.elapsed() < HANGS);
}
