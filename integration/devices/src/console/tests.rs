use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use vmm_sys_util::tempdir::TempDir;

use super::*;
use crate::active::{Active, DATA, Memory};
use crate::host_console::{FileEnd, NullEnd, SocketEnd};
use crate::virtio::driver::Buffer;
use crate::virtio::saved::{changed, written};

const SIZE: u16 = 16;
const RX: usize = RECEIVE as usize;
const TX: usize = TRANSMIT as usize;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

/// A console at a socket, and who is connected to it.
struct Connected {
    console: Console,
    client: UnixStream,
    folder: TempDir,
}

impl Connected {
    fn new() -> Self {
        let folder = TempDir::new_with_prefix("/tmp/virtio-console-").unwrap();
        let path = folder.as_path().join("socket");
        let console = Console::new(Box::new(SocketEnd::listen(&path).unwrap()));
        let client = UnixStream::connect(&path).unwrap();
        client.set_nonblocking(true).unwrap();
        Self { console, client, folder }
    }

    fn active(&mut self, features: u64) -> Active {
        let mut active = Active::new(&mut self.console, features, SIZE);
        // The client is let in.
        active.run();
        active
    }

    /// What the client has seen by now.
    fn seen(&mut self) -> Vec<u8> {
        let mut seen = Vec::new();
        let result = self.client.read_to_end(&mut seen);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
        seen
    }
}

#[test]
fn text_is_shown_in_order() {
    for features in [0, EVENT_IDX] {
        let mut connected = Connected::new();
        let mut active = connected.active(features);
        active.write(DATA, b"one two three");
        active.add(TX, &[Buffer::readable(DATA, 4), Buffer::readable(DATA + 4, 4)]);
        active.add(TX, &[Buffer::readable(DATA + 8, 5)]);
        active.add(TX, &[]);
        active.add(TX, &[Buffer::readable(DATA, 0)]);
        active.notify(TX);
        for _ in 0..3 {
            assert_eq!(active.next_used(TX).1, 0);
        }
        assert_eq!(connected.seen(), b"one two three");
        assert_eq!(active.run(), 0);
    }
}

/// "It is simply placed in the outgoing queue" (§5.3.6), and what comes in the incoming one.
#[test]
fn typed_text_goes_to_the_next_buffer() {
    for features in [0, EVENT_IDX] {
        let mut connected = Connected::new();
        let mut active = connected.active(features);
        connected.client.write_all(b"typed before there are buffers").unwrap();
        active.run();
        assert_eq!(active.run(), 0, "nobody looks again and again");
        active.add(RX, &[Buffer::writable(DATA, 5), Buffer::writable(DATA + 5, 5)]);
        active.add(RX, &[Buffer::writable(DATA + 10, 100)]);
        active.add(RX, &[Buffer::writable(DATA + 30, 100)]);
        active.notify(RX);
        assert_eq!(active.next_used(RX), (0, 10));
        assert_eq!(active.next_used(RX), (2, 20));
        assert_eq!(active.read(DATA, 30), b"typed before there are buffers");
        assert_eq!(active.queues[RX].next_used(), None);
        connected.client.write_all(b"more").unwrap();
        assert_eq!(active.next_used(RX), (3, 4));
        assert_eq!(active.read(DATA + 30, 4), b"more");
    }
}

/// The guest's queue stalls, and nothing else: keys are heard.
#[test]
fn a_client_that_does_not_read_stalls_its_queue_only() {
    for bytes in [1 << 19, 5000] {
        let mut connected = Connected::new();
        let mut active = connected.active(EVENT_IDX);
        let text: Vec<u8> = (0..7u32 << 20).map(|at| (at % 251) as u8).collect();
        active.write(DATA, &text[..bytes]);
        let mut used = 0;
        let mut added = 0;
        let mut rounds = 0;
        // Until no more goes.
        while added - used < usize::from(SIZE) && rounds < 1000 {
            active.add(TX, &[Buffer::readable(DATA, bytes as u32)]);
            added += 1;
            active.notify(TX);
            while active.queues[TX].next_used().is_some() {
                used += 1;
            }
            rounds += 1;
        }
        assert!(used < added);
        assert_eq!(active.run(), 0);
        active.add(RX, &[Buffer::writable(DATA + (7 << 20) - 100, 100)]);
        active.notify(RX);
        connected.client.write_all(b"\x03").unwrap();
        assert_eq!(active.next_used(RX).1, 1);
        let mut seen = Vec::new();
        active.until(|_| {
            seen.extend(connected.seen());
            seen.len() == added * bytes
        });
        assert!(seen.chunks(bytes).all(|chunk| chunk == &text[..bytes]));
        while active.queues[TX].next_used().is_some() {
            used += 1;
        }
        assert_eq!(used, added);
    }
}

/// A client that leaves does not hold the guest, and the next one is served.
#[test]
fn clients_come_and_go() {
    let mut connected = Connected::new();
    let mut active = connected.active(0);
    active.write(DATA, &[b'x'; 1 << 20]);
    for _ in 0..4 {
        active.add(TX, &[Buffer::readable(DATA, 1 << 20)]);
    }
    active.notify(TX);
    assert_eq!(active.queues[TX].next_used(), None);
    let next = UnixStream::connect(connected.folder.as_path().join("socket")).unwrap();
    drop(std::mem::replace(&mut connected.client, next));
    connected.client.set_nonblocking(true).unwrap();
    let (mut used, mut seen) = (0, 0);
    active.until(|active| {
        seen += connected.seen().len();
        used += usize::from(active.queues[TX].next_used().is_some());
        used == 4
    });
    assert!(seen >= 2 << 20, "at least those after the one that was on its way");
    active.add(RX, &[Buffer::writable(DATA, 100)]);
    active.notify(RX);
    connected.client.write_all(b"here").unwrap();
    assert_eq!(active.next_used(RX).1, 4);
}

/// What the driver before was shown in part is not shown on.
#[test]
fn a_reset_forgets_text_and_keeps_the_client() {
    let mut connected = Connected::new();
    let mut active = connected.active(0);
    active.write(DATA, &[b'x'; 1 << 20]);
    active.add(TX, &[Buffer::readable(DATA, 1 << 20)]);
    active.notify(TX);
    assert_eq!(active.queues[TX].next_used(), None);
    drop(active);
    VirtioDevice::<Memory>::reset(&mut connected.console);
    let shown = connected.seen();
    assert!(shown.len() < 1 << 20);
    let mut active = connected.active(0);
    active.write(DATA, b"new");
    active.add(TX, &[Buffer::readable(DATA, 3)]);
    active.notify(TX);
    active.next_used(TX);
    assert_eq!(connected.seen(), b"new");
}

#[test]
fn text_goes_to_files_and_to_nowhere() {
    let folder = TempDir::new_with_prefix("/tmp/virtio-console-").unwrap();
    let path = folder.as_path().join("log");
    let ends: [Box<dyn HostEnd>; 2] =
        [Box::new(FileEnd::open(&path).unwrap()), Box::new(NullEnd::new())];
    for end in ends {
        let mut console = Console::new(end);
        let mut active = Active::new(&mut console, 0, SIZE);
        active.write(DATA, b"text");
        active.add(TX, &[Buffer::readable(DATA, 4)]);
        active.add(RX, &[Buffer::writable(DATA, 4)]);
        active.notify(RX);
        active.notify(TX);
        active.next_used(TX);
        assert_eq!(active.queues[RX].next_used(), None);
        assert_eq!(active.run(), 0);
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"text");
}

#[test]
fn queues_that_make_no_sense_end_the_work() {
    let wrong: [(usize, &[Buffer]); 4] = [
        (RX, &[Buffer::writable(1 << 50, 100)]),
        (TX, &[Buffer::readable(u64::MAX - 5, 100)]),
        (TX, &[Buffer::writable(DATA, 1), Buffer::readable(DATA, 1)]),
        (RX, &[Buffer::writable(DATA, 1), Buffer::readable(DATA, 1)]),
    ];
    for (queue, buffers) in wrong {
        let mut connected = Connected::new();
        let mut active = connected.active(0);
        active.add(queue, buffers);
        active.notify(queue);
        assert_eq!(active.interrupts.reset_count(), 1, "{buffers:?}");
        connected.client.write_all(b"typed").unwrap();
        active.notify(RX);
        active.notify(TX);
        assert_eq!(active.interrupts.reset_count(), 1);
        drop(active);
        let mut active = connected.active(0);
        active.queues[queue].set_available_index(SIZE + 1);
        active.notify(queue);
        assert_eq!(active.interrupts.reset_count(), 1);
    }
}

/// "The device MUST send a notification" of what it has used (§2.7.7.2), whatever comes after it.
#[test]
fn what_was_used_before_a_mistake_is_told() {
    let mut connected = Connected::new();
    let mut active = connected.active(0);
    active.add(TX, &[Buffer::readable(DATA, 4)]);
    active.add(TX, &[Buffer::readable(1 << 40, 4)]);
    active.notify(TX);
    assert_eq!(active.next_used(TX), (0, 0));
    assert_eq!(active.interrupts.reset_count(), 1);
    assert_eq!(active.interrupts.used_count(), 1);
    drop(active);
    let mut active = connected.active(0);
    active.add(RX, &[Buffer::writable(DATA, 4)]);
    active.add(RX, &[Buffer::writable(1 << 40, 4)]);
    connected.client.write_all(b"typed").unwrap();
    active.notify(RX);
    assert_eq!(active.next_used(RX), (0, 4));
    assert_eq!(active.interrupts.reset_count(), 1);
    assert_eq!(active.interrupts.used_count(), 1);
}

/// A driver cannot make the device work for it alone: buffers without a length are used up in
/// turns.
#[test]
fn empty_buffers_are_given_back() {
    let mut connected = Connected::new();
    let mut active = connected.active(0);
    for _ in 0..10 {
        active.add(RX, &[Buffer::writable(DATA, 0)]);
        active.add(RX, &[Buffer::readable(DATA, 8)]);
        active.notify(RX);
        assert_eq!([active.next_used(RX).1, active.next_used(RX).1], [0, 0]);
    }
}

#[test]
fn configuration_says_how_large_it_is() {
    let plain = Console::new(Box::new(NullEnd::new()));
    let device: &dyn VirtioDevice<Memory> = &plain;
    assert_eq!(device.kind().id, 3);
    assert_eq!(device.features() & 1, 0);
    let sized = plain.with_size(ConsoleSize { columns: 132, rows: 43 });
    let device: &dyn VirtioDevice<Memory> = &sized;
    assert_eq!(device.features() & 1, 1);
    let mut space = [0; 12];
    device.read_config(0, &mut space);
    assert_eq!(space, [132, 0, 43, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut byte = [0];
    device.read_config(u64::MAX, &mut byte);
    assert_eq!(byte, [0]);
}

/// An end that takes so many bytes, and shows all that it took.
#[derive(Clone)]
struct Narrow(Arc<Mutex<(usize, Vec<u8>)>>);

impl Narrow {
    fn new(room: usize) -> Self {
        Self(Arc::new(Mutex::new((room, Vec::new()))))
    }
}

impl HostEnd for Narrow {
    fn file(&self) -> Option<std::os::fd::RawFd> {
        None
    }

    fn wait_for(&mut self, _: bool, _: bool) {}

    fn attend(&mut self) {}

    fn read(&mut self, _: &mut [u8]) -> usize {
        0
    }

    fn write(&mut self, text: &[u8]) -> usize {
        let (room, shown) = &mut *self.0.lock().unwrap();
        let bytes = text.len().min(*room);
        *room -= bytes;
        shown.extend_from_slice(&text[..bytes]);
        bytes
    }
}

#[test]
fn text_that_was_shown_is_not_shown_again_by_another_one() {
    for first_bytes in 0..14 {
        let ends = [Narrow::new(first_bytes), Narrow::new(100)];
        let [mut one, mut other] = ends.clone().map(|end| Console::new(Box::new(end)));
        let mut active = Active::new(&mut one, EVENT_IDX, SIZE);
        active.write(DATA, b"one two three");
        active.add(TX, &[Buffer::readable(DATA, 4), Buffer::readable(DATA + 4, 4)]);
        active.add(TX, &[Buffer::readable(DATA + 8, 5)]);
        active.notify(TX);
        let state = written::<Memory>(&one);
        VirtioDevice::<Memory>::restore(&mut other, 1, &state).unwrap();
        let mut active = active.hand_over(&mut other, EVENT_IDX);
        for _ in 0..2 {
            assert_eq!(active.next_used(TX).1, 0);
        }
        assert_eq!(active.queues[TX].next_used(), None);
        let shown = ends.map(|end| end.0.lock().unwrap().1.clone());
        assert_eq!(shown.concat(), b"one two three", "{first_bytes}");
    }
}

#[test]
fn states_that_cannot_be_are_refused() {
    let mut console = Console::new(Box::new(Narrow::new(0)));
    let state = written::<Memory>(&console);
    let device: &mut dyn VirtioDevice<Memory> = &mut console;
    assert!(device.restore(2, &state).is_err());
    for (field, value) in [
        ("shown_bytes", serde_json::json!(-1)),
        ("shown_bytes", serde_json::json!(1_u64 << 32)),
        ("more", serde_json::json!(0)),
    ] {
        assert!(device.restore(1, &changed(&state, field, value)).is_err(), "{field}");
    }
    // More than any chain has: there is nothing more of the first to show.
    device.restore(1, &changed(&state, "shown_bytes", u32::MAX.into())).unwrap();
    let mut active = Active::new(&mut console, 0, SIZE);
    active.add(TX, &[Buffer::readable(DATA, 5)]);
    active.notify(TX);
    assert_eq!(active.next_used(TX), (0, 0));
}
