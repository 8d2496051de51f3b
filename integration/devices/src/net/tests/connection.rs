use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use vmm_sys_util::tempdir::TempDir;

use super::*;

const NO_FRAMES: [u32; 5] = [0, FRAME_BYTES_MAX as u32 + 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];

#[test]
fn lengths_that_cannot_be_end_the_connection() {
    for length in NO_FRAMES {
        let mut network = Network::new();
        let mut active = network.active(0);
        active.add(RX, &[Buffer::writable(DATA, 2000)]);
        active.notify(RX);
        assert_eq!(network.status(), 1);
        network.peer.write_all(&length.to_be_bytes()).unwrap();
        network.peer.write_all(&[0xaa; 100]).unwrap();
        active.until(|active| active.interrupts.change_count() > 0);
        assert_eq!(network.status(), 0, "{length:#x}");
        assert_eq!(active.queues[RX].next_used(), None);
        // The peer is told by its end of the stream.
        let mut rest = [0; 10];
        assert!(!matches!(network.peer.read(&mut rest), Ok(1..)));
        // Frames go nowhere, and the guest does not wait.
        active.add(TX, &[Buffer::readable(DATA, 100)]);
        active.notify(TX);
        assert_eq!(active.next_used(TX), (0, 0));
        assert_eq!(network.net.counts.sent_dropped.get(), 1);
        assert_eq!(active.interrupts.reset_count(), 0);
        assert_eq!(active.run(), 0);
    }
}

#[test]
fn garbage_does_no_harm() {
    let mut random = 1u64;
    for _ in 0..200 {
        let mut network = Network::new();
        let mut active = network.active(MERGEABLE);
        for number in 0..u64::from(SIZE) {
            active.add(RX, &[Buffer::writable(DATA + 2048 * number, 2048)]);
        }
        active.notify(RX);
        let garbage: Vec<u8> = (0..4096)
            .map(|at| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Some lengths are possible.
                if at % 64 < 2 { 0 } else { (random >> 56) as u8 }
            })
            .collect();
        network.peer.write_all(&garbage).unwrap();
        drop(network.peer);
        active.until(|active| active.interrupts.change_count() > 0);
        assert_eq!(status(&network.net), 0);
    }
}

/// With buffers and without, while nothing happens and in the middle of a frame.
#[test]
fn a_peer_that_leaves_takes_the_link_down() {
    for (has_buffers, sent) in [(true, 0), (true, 50), (false, 0), (false, 50), (false, 104)] {
        let mut network = Network::new();
        let mut active = network.active(0);
        if has_buffers {
            active.add(RX, &[Buffer::writable(DATA, 2000)]);
        }
        active.notify(RX);
        network.peer.write_all(&prefixed(&frame(0, 100))[..sent]).unwrap();
        active.run();
        drop(network.peer);
        active.until(|active| active.interrupts.change_count() > 0);
        assert_eq!(status(&network.net), 0);
        assert_eq!(active.run(), 0);
        // It stays so for the next driver.
        drop(active);
        let mut active = Active::new(&mut network.net, 0, SIZE);
        active.notify(RX);
        assert_eq!(active.run(), 0);
        assert_eq!(status(&network.net), 0);
    }
}

#[test]
fn what_came_before_the_end_is_delivered() {
    let mut network = Network::new();
    let mut active = network.active(0);
    active.add(RX, &[Buffer::writable(DATA, 2000)]);
    active.notify(RX);
    network.send(&frame(0, 100));
    drop(network.peer);
    assert_eq!(active.next_used(RX), (0, 112));
    active.until(|active| active.interrupts.change_count() > 0);
}

#[test]
fn a_peer_that_comes_back_is_connected_to() {
    let folder = TempDir::new_with_prefix("/tmp/net-").unwrap();
    let path = folder.as_path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = Socket::connect(&path).unwrap();
    let (first, _) = listener.accept().unwrap();
    let mut net = Net::new(config(), Box::new(socket));
    let mut active = Active::new(&mut net, 0, SIZE);
    active.add(RX, &[Buffer::writable(DATA, 2000)]);
    active.notify(RX);
    // In the middle of a frame.
    (&first).write_all(&prefixed(&frame(0, 1000))[..500]).unwrap();
    active.run();
    drop((first, listener));
    fs::remove_file(&path).unwrap();
    active.until(|active| active.interrupts.change_count() == 1);
    assert_eq!(status(&net), 0);
    let listener = UnixListener::bind(&path).unwrap();
    active.until(|active| active.interrupts.change_count() == 2);
    assert_eq!(status(&net), 1);
    let (second, _) = listener.accept().unwrap();
    (&second).write_all(&prefixed(&frame(1, 1000))).unwrap();
    assert_eq!(active.next_used(RX), (0, 1012));
    assert_eq!(active.read(DATA + 12, 1000), frame(1, 1000));
}

#[test]
fn a_socket_that_is_not_there_is_named() {
    let folder = TempDir::new_with_prefix("/tmp/net-").unwrap();
    let file = folder.as_path().join("file");
    fs::write(&file, b"").unwrap();
    let long = folder.as_path().join("x".repeat(200));
    for path in [&folder.as_path().join("absent"), &file, folder.as_path(), &long] as [&Path; 4] {
        let error = Socket::connect(path).unwrap_err();
        assert!(error.to_string().ends_with(&path.display().to_string()), "{error}");
        assert_eq!(error.path, path);
    }
}

/// Nobody waits for one who listens and does not accept.
#[test]
fn a_socket_that_nobody_accepts_is_not_waited_for() {
    let folder = TempDir::new_with_prefix("/tmp/net-").unwrap();
    let path = folder.as_path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut connections = Vec::new();
    let error = loop {
        match Socket::connect(&path) {
            Ok(socket) => connections.push(socket),
            Err(error) => break error,
        }
        assert!(connections.len() < 100_000);
    };
    assert_eq!(error.source.kind(), ErrorKind::WouldBlock);
}
