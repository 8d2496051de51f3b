use std::net::Shutdown;

use event_manager::{EventManager, MutEventSubscriber, SubscriberOps};
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::virtio::ActiveQueue;
use crate::virtio::driver::{CountedInterrupts, DriverQueue};

/// Makes a buffer of so many bytes available, and gives where it is.
fn add(active: &mut Active, number: u64, bytes: u32) -> u64 {
    let at = DATA + 0x2_0000 * number;
    active.add(RX, &[Buffer::writable(at, bytes)]);
    at
}

#[test]
fn a_frame_comes_with_its_header() {
    for features in [0, MERGEABLE, EVENT_IDX | MERGEABLE] {
        let mut network = Network::new();
        let mut active = network.active(features);
        let at = add(&mut active, 0, 2000);
        active.write(at, &[0xff; 2000]);
        active.notify(RX);
        let sent = frame(0, 60);
        network.send(&sent);
        assert_eq!(active.next_used(RX), (0, 72));
        // "The device MUST set num_buffers to 1 if VIRTIO_NET_F_MRG_RXBUF has not been negotiated"
        // (§5.1.6.4.1), and else it is in one.
        assert_eq!(active.read(at, 72), [&header(1)[..], &sent].concat());
        assert_eq!(active.read(at + 72, 1), [0xff]);
        assert_eq!(active.interrupts.used_count(), 1);
        assert_eq!(network.net.counts.received.get(), 1);
    }
}

#[test]
fn many_small_frames_come_at_once() {
    let mut network = Network::new();
    let mut active = network.active(MERGEABLE);
    let count = usize::from(SIZE);
    for number in 0..count {
        active.add(RX, &[Buffer::writable(DATA + 2048 * number as u64, 2048)]);
    }
    active.notify(RX);
    for number in 0..count {
        network.send(&frame(number, 60 + 11 * number));
    }
    for number in 0..count {
        let bytes = 60 + 11 * number;
        assert_eq!(active.next_used(RX).1 as usize, HEADER_BYTES + bytes);
        let got = active.read(DATA + 2048 * number as u64 + 12, bytes);
        assert_eq!(got, frame(number, bytes));
    }
    assert!(active.interrupts.used_count() < count as u32);
}

/// The buffers of a chain may be cut anywhere, through the header too.
#[test]
fn a_frame_fills_the_buffers_of_a_chain() {
    let mut network = Network::new();
    let mut active = network.active(0);
    let pieces = [(0, 5), (0x100, 6), (0x200, 3), (0x300, 1600)];
    let buffers = pieces.map(|(at, bytes)| Buffer::writable(DATA + at, bytes));
    active.add(RX, &buffers);
    active.notify(RX);
    let sent = frame(3, 1514);
    network.send(&sent);
    assert_eq!(active.next_used(RX), (0, 1526));
    let got: Vec<u8> =
        pieces.iter().flat_map(|&(at, bytes)| active.read(DATA + at, bytes as usize)).collect();
    assert_eq!(got[..1526], [&header(1)[..], &sent].concat());
}

#[test]
fn a_large_frame_is_in_several_buffers() {
    let mut network = Network::new();
    let mut active = network.active(MERGEABLE | EVENT_IDX);
    for number in 0..50 {
        active.add(RX, &[Buffer::writable(DATA + 2048 * number, 2048)]);
    }
    active.notify(RX);
    let sent = frame(0, FRAME_BYTES_MAX);
    let peer = network.peer.try_clone().unwrap();
    peer.set_nonblocking(false).unwrap();
    let bytes = prefixed(&sent);
    std::thread::scope(|scope| {
        scope.spawn(|| (&peer).write_all(&bytes).unwrap());
        let count = (HEADER_BYTES + FRAME_BYTES_MAX).div_ceil(2048);
        for number in 0..count {
            let last = (HEADER_BYTES + FRAME_BYTES_MAX) % 2048;
            let expected = if number + 1 < count { 2048 } else { last as u32 };
            assert_eq!(active.next_used(RX), (number as u32, expected));
        }
        let got = active.read(DATA, HEADER_BYTES + FRAME_BYTES_MAX);
        assert_eq!(got[..HEADER_BYTES], header(count as u8));
        assert!(got[HEADER_BYTES..] == sent[..]);
    });
    // The buffers behind are still the device's.
    network.send(&frame(1, 100));
    assert_eq!(active.next_used(RX), (33, 112));
}

/// Nothing of a frame is used before all of it is there.
#[test]
fn a_frame_may_come_in_parts() {
    let mut network = Network::new();
    let mut active = network.active(MERGEABLE);
    for number in 0..20 {
        active.add(RX, &[Buffer::writable(DATA + 512 * number, 512)]);
    }
    active.notify(RX);
    let sent = frame(9, 3000);
    let bytes = prefixed(&sent);
    for part in bytes.chunks(7) {
        assert_eq!(active.queues[RX].next_used(), None);
        network.peer.write_all(part).unwrap();
        active.run();
    }
    let count = 3012usize.div_ceil(512);
    for number in 0..count {
        assert_eq!(active.next_used(RX).0 as usize, number);
    }
    assert_eq!(active.read(DATA, 3012), [&header(count as u8)[..], &sent].concat());
}

#[test]
fn a_frame_that_does_not_fit_is_left_out() {
    let mut network = Network::new();
    let mut active = network.active(0);
    let [first, second] = [add(&mut active, 0, 100), add(&mut active, 1, 1526)];
    active.notify(RX);
    network.send(&frame(0, 1514));
    network.send(&frame(1, 88));
    network.send(&frame(2, 1515));
    network.send(&frame(3, 1514));
    assert_eq!(active.next_used(RX), (0, 100));
    assert_eq!(active.read(first + 12, 88), frame(1, 88));
    assert_eq!(active.next_used(RX), (1, 1526));
    assert_eq!(active.read(second + 12, 1514), frame(3, 1514));
    let counts = &network.net.counts;
    assert_eq!((counts.received.get(), counts.received_dropped.get()), (2, 2));
}

/// One that fits in no number of buffers that the driver can make available is left out, too.
#[test]
fn a_frame_that_never_fits_is_left_out() {
    let mut network = Network::new();
    let mut active = network.active(MERGEABLE);
    for number in 0..u64::from(SIZE) {
        active.add(RX, &[Buffer::writable(DATA + 64 * number, 64)]);
    }
    active.notify(RX);
    network.send(&frame(0, 64 * 64));
    network.send(&frame(1, 52));
    assert_eq!(active.next_used(RX), (0, 64));
    assert_eq!(active.read(DATA + 12, 52), frame(1, 52));
    assert_eq!(network.net.counts.received_dropped.get(), 1);
}

#[test]
fn short_frames_are_none() {
    let mut network = Network::new();
    let mut active = network.active(0);
    let at = add(&mut active, 0, 2000);
    active.notify(RX);
    network.send(&[1; 13]);
    network.send(&frame(1, 14));
    assert_eq!(active.next_used(RX), (0, 26));
    assert_eq!(active.read(at + 12, 14), frame(1, 14));
}

/// Frames stay where they are, and nobody looks again and again.
#[test]
fn frames_wait_for_buffers() {
    for features in [0, MERGEABLE, EVENT_IDX, MERGEABLE | EVENT_IDX] {
        let mut network = Network::new();
        let mut active = network.active(features);
        network.send(&frame(0, 1000));
        network.send(&frame(1, 1000));
        active.run();
        assert_eq!(active.run(), 0);
        for number in 0..2 {
            let at = add(&mut active, number, 1500);
            active.notify(RX);
            assert_eq!(active.next_used(RX), (number as u32, 1012));
            assert_eq!(active.read(at + 12, 1000), frame(number as usize, 1000));
        }
        assert_eq!(active.run(), 0);
    }
}

/// A driver that has used some buffers will give them back.
#[test]
fn a_large_frame_waits_for_as_many_buffers_as_it_needs() {
    for features in [MERGEABLE, MERGEABLE | EVENT_IDX] {
        let mut network = Network::new();
        let mut active = network.active(features);
        network.send(&frame(0, 1000));
        for number in 0..3 {
            assert_eq!(active.queues[RX].next_used(), None);
            active.add(RX, &[Buffer::writable(DATA + 400 * number, 400)]);
            active.notify(RX);
            assert_eq!(active.run(), 0);
        }
        for bytes in [400, 400, 212] {
            assert_eq!(active.next_used(RX).1, bytes);
        }
        assert_eq!(active.read(DATA, 1012), [&header(3)[..], &frame(0, 1000)].concat());
    }
}

#[test]
fn buffers_that_cannot_be_end_the_work() {
    let wrong: [&[Buffer]; 4] = [
        // "At least the size of the header" (§5.1.6.3.1).
        &[Buffer::writable(DATA, 11)],
        &[Buffer::readable(DATA, 2000)],
        &[Buffer::writable(1 << 50, 2000)],
        &[Buffer::writable(u64::MAX - 10, 2000)],
    ];
    for buffers in wrong {
        let mut network = Network::new();
        let mut active = network.active(MERGEABLE);
        active.add(RX, buffers);
        active.notify(RX);
        network.send(&frame(0, 60));
        active.run();
        assert_eq!(active.interrupts.reset_count(), 1, "{buffers:?}");
        // It does nothing any more, and asks for nothing.
        active.notify(RX);
        active.notify(TX);
        assert_eq!(active.queues[RX].next_used(), None);
        assert_eq!(active.interrupts.reset_count(), 1);
        // Another driver is served.
        let mut active = network.active(0);
        add(&mut active, 0, 2000);
        active.notify(RX);
        network.send(&frame(1, 60));
        active.next_used(RX);
    }
}

#[test]
fn an_index_that_cannot_be_ends_the_work() {
    for queue in [RX, TX] {
        let mut network = Network::new();
        let mut active = network.active(0);
        active.queues[queue].set_available_index(SIZE + 1);
        network.send(&frame(0, 60));
        active.notify(queue);
        assert_eq!(active.interrupts.reset_count(), 1);
        assert_eq!(network.status(), 1, "the link is as it was");
    }
}

/// The driver before was in the middle of a frame.
#[test]
fn after_a_reset_the_next_frame_is_whole() {
    for cut in [0, 2, 4, 5, 500, 1003] {
        let mut network = Network::new();
        let mut active = network.active(0);
        add(&mut active, 0, 2000);
        active.notify(RX);
        let bytes = prefixed(&frame(0, 1000));
        network.peer.write_all(&bytes[..cut]).unwrap();
        active.run();
        drop(active);
        let mut active = network.active(0);
        let at = add(&mut active, 0, 2000);
        active.notify(RX);
        network.peer.write_all(&bytes[cut..]).unwrap();
        network.send(&frame(1, 800));
        // One whose first bytes had been looked at is left out, as far as it had come.
        if cut <= 2 {
            assert_eq!(active.next_used(RX), (0, 1012));
            add(&mut active, 1, 2000);
            active.notify(RX);
            assert_eq!(active.next_used(RX), (1, 812));
        } else {
            assert_eq!(active.next_used(RX), (0, 812), "{cut}");
            assert_eq!(active.read(at + 12, 800), frame(1, 800));
        }
    }
}

/// A frame may end in the middle, with its connection: what has come of it is in memory.
#[test]
fn what_came_before_the_end_of_a_connection_is_marked() {
    let mut network = Network::new();
    let ram = [(GuestAddress(0), 1 << 20)];
    let memory = Arc::new(GuestMemoryMmap::<AtomicBitmap>::from_ranges(&ram).unwrap());
    let mut drivers =
        [0, 1].map(|queue| DriverQueue::new(memory.clone(), GuestAddress(queue << 16), SIZE));
    let at = GuestAddress(0x8_0000);
    drivers[RX].add(&[Buffer::writable(at.0, 2000)]);
    network.peer.write_all(&prefixed(&[7; 1000])[..100]).unwrap();
    network.peer.shutdown(Shutdown::Both).unwrap();
    let interrupts = Arc::new(CountedInterrupts::default());
    let queues = (0..).zip(&drivers).map(|(index, driver)| {
        let bell = EventFd::new(EFD_NONBLOCK).unwrap();
        ActiveQueue::new(index, driver.queue(), bell, interrupts.clone())
    });
    let activation = Activation::new(memory.clone(), 0, queues.collect(), interrupts.clone());
    let mut events: EventManager<Box<dyn MutEventSubscriber + Send>> = EventManager::new().unwrap();
    for worker in network.net.activate(activation).unwrap() {
        let Worker::Subscriber(worker) = worker else { panic!("{worker:?}") };
        events.add_subscriber(worker);
    }
    let byte: u8 = memory.read_obj(GuestAddress(at.0 + HEADER_BYTES as u64)).unwrap();
    assert_eq!(byte, 7);
    let (region, offset) = memory.to_region_addr(at).unwrap();
    assert!(region.bitmap().dirty_at(offset.0 as usize));
}

/// A device that cannot become active stays the clients'.
#[test]
#[cfg(feature = "vof")]
fn a_driver_without_queues_does_not_have_the_network() {
    let mut network = Network::new();
    let clients = network.net.for_clients();
    let ram = [(GuestAddress(0), 1 << 20)];
    let memory = Arc::new(GuestMemoryMmap::<AtomicBitmap>::from_ranges(&ram).unwrap());
    let activation = Activation::new(memory, 0, Vec::new(), Arc::new(CountedInterrupts::default()));
    let error = network.net.activate(activation).unwrap_err();
    assert!(matches!(error, ActivateError::Queue(_)), "{error}");
    assert_eq!(clients.send(&frame(1, 60)), Ok(true));
    assert_eq!(network.next_frame(), Some(frame(1, 60)));
}
