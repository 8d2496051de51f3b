use super::*;

const EMPTY_HEADER: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

/// Makes a frame available, its header in a buffer of its own or not.
fn add(active: &mut Active, at: u64, header: &[u8], frame: &[u8], is_split: bool) {
    active.write(at, &[header, frame].concat());
    let [front, back] = [header.len(), frame.len()].map(|bytes| bytes as u32);
    if is_split {
        let middle = at + u64::from(front);
        active.add(TX, &[Buffer::readable(at, front), Buffer::readable(middle, back)]);
    } else {
        active.add(TX, &[Buffer::readable(at, front + back)]);
    }
}

#[test]
fn frames_are_sent_without_their_header() {
    for features in [0, EVENT_IDX] {
        let mut network = Network::new();
        let mut active = network.active(features);
        for number in 0..10 {
            let at = DATA + 0x1000 * number as u64;
            add(&mut active, at, &EMPTY_HEADER, &frame(number, 60 + number), number % 2 == 0);
        }
        active.notify(TX);
        for number in 0..10 {
            assert_eq!(active.next_used(TX).1, 0);
            assert_eq!(network.next_frame(), Some(frame(number, 60 + number)));
        }
        assert_eq!(network.next_frame(), None);
        assert_eq!(network.net.counts.sent.get(), 10);
        assert_eq!(active.run(), 0);
    }
}

#[test]
fn a_frame_may_be_in_many_pieces() {
    let mut network = Network::new();
    let mut active = network.active(0);
    let sent = frame(0, 1514);
    active.write(DATA + 0x1000, &[&EMPTY_HEADER[..], &sent].concat());
    let buffers: Vec<_> = (0..1526).map(|at| Buffer::readable(DATA + 0x1000 + at, 1)).collect();
    // More of them than the host's kernel takes at once.
    let queue = &mut active.queues[TX];
    queue.add_indirect(vm_memory::GuestAddress(DATA + 0x10000), &buffers[..1000]);
    active.notify(TX);
    assert_eq!(network.next_frame(), Some(sent[..988].to_vec()));
}

#[test]
fn what_is_no_frame_is_left_out() {
    let mut network = Network::new();
    let mut active = network.active(0);
    let at = |number: u64| DATA + 0x2_0000 * number;
    // Shorter than a header, than an Ethernet header, and longer than a frame.
    active.add(TX, &[Buffer::readable(at(0), 11)]);
    active.add(TX, &[Buffer::readable(at(1), 25)]);
    active.add(TX, &[Buffer::readable(at(2), 12 + FRAME_BYTES_MAX as u32 + 1)]);
    active.add(TX, &[Buffer::readable(at(3), 5 << 20)]);
    active.add(TX, &[Buffer::writable(at(4), 100)]);
    // A checksum to be made, and a segment to be cut: the driver did not take the features.
    let needs_csum = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let is_segment = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    add(&mut active, at(5), &needs_csum, &frame(5, 100), true);
    add(&mut active, at(6), &is_segment, &frame(6, 100), true);
    add(&mut active, at(7), &EMPTY_HEADER, &frame(7, 100), true);
    active.notify(TX);
    for _ in 0..8 {
        active.next_used(TX);
    }
    assert_eq!(network.next_frame(), Some(frame(7, 100)));
    assert_eq!(network.next_frame(), None);
    let counts = &network.net.counts;
    assert_eq!((counts.sent.get(), counts.sent_dropped.get()), (1, 7));
    assert_eq!(active.interrupts.reset_count(), 0);
}

#[test]
fn a_chain_that_makes_no_sense_ends_the_work() {
    let mut network = Network::new();
    let mut active = network.active(0);
    active.add(TX, &[Buffer::readable(u64::MAX - 5, 100)]);
    active.notify(TX);
    assert_eq!(active.interrupts.reset_count(), 1);
    active.notify(TX);
    assert_eq!(active.queues[TX].next_used(), None);
}

/// A peer that does not read makes the guest wait and nobody else; nothing is lost.
#[test]
fn a_peer_that_stalls_gets_all_later() {
    for (features, bytes) in [(0, 1514), (EVENT_IDX, 1514), (0, FRAME_BYTES_MAX)] {
        let mut network = Network::new();
        let mut active = network.active(features);
        // Each has two descriptors at most.
        let count = usize::from(SIZE) / 2;
        let frames: Vec<_> = (0..count).map(|number| frame(number, bytes)).collect();
        for (number, frame) in frames.iter().enumerate() {
            let at = DATA + 0x1_1000 * number as u64;
            add(&mut active, at, &EMPTY_HEADER, frame, number % 2 == 0);
        }
        active.notify(TX);
        let mut used = 0;
        while active.queues[TX].next_used().is_some() {
            used += 1;
        }
        if bytes == FRAME_BYTES_MAX {
            assert!(used < count);
        }
        assert_eq!(active.run(), 0, "nobody looks again and again");
        let mut got = Vec::new();
        let expected: Vec<_> = frames.iter().flat_map(|frame| prefixed(frame)).collect();
        let peer = network.peer.try_clone().unwrap();
        active.until(|_| {
            let _ = (&peer).take(50_000).read_to_end(&mut got);
            got.len() >= expected.len()
        });
        assert!(got == expected);
        while active.queues[TX].next_used().is_some() {
            used += 1;
        }
        assert_eq!(used, count);
        assert_eq!(network.net.counts.sent.get(), count as u64);
    }
}

/// A frame that the peer has got a part of goes on, whoever drives the device by then.
#[test]
fn a_reset_does_not_cut_a_frame() {
    let mut network = Network::new();
    let mut active = network.active(0);
    for number in 0..SIZE / 2 {
        let at = DATA + 0x1_1000 * u64::from(number);
        let sent = frame(number.into(), FRAME_BYTES_MAX);
        add(&mut active, at, &EMPTY_HEADER, &sent, true);
    }
    active.notify(TX);
    drop(active);
    let mut active = network.active(0);
    add(&mut active, DATA, &EMPTY_HEADER, &frame(99, 1000), true);
    active.notify(TX);
    let mut got = Vec::new();
    let peer = network.peer.try_clone().unwrap();
    let end = prefixed(&frame(99, 1000));
    active.until(|_| {
        let _ = (&peer).take(50_000).read_to_end(&mut got);
        got.ends_with(&end)
    });
    let whole = 4 + FRAME_BYTES_MAX;
    assert_eq!((got.len() - end.len()) % whole, 0);
    for (number, sent) in got[..got.len() - end.len()].chunks(whole).enumerate() {
        assert!(sent == prefixed(&frame(number, FRAME_BYTES_MAX)), "{number}");
    }
}
