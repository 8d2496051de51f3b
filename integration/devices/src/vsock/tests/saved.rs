//! Devices that are saved, and taken up by others.

use super::*;
use crate::virtio::saved::{changed, written};

/// "The driver MUST shut down established connections", of which it is told by
/// `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET` (Virtio 1.2 §5.10.6.7).
#[test]
fn connections_are_reset_elsewhere() {
    let mut guest = Guest::new();
    let _stream = from_guest(&mut guest);
    let state = written::<Memory>(&*guest.device);
    let mut other = guest.elsewhere(&state);
    // It has no buffer yet for events.
    other.turn();
    assert_eq!(other.events.next_used(), None);
    assert_eq!(other.give_event(4), Some((0, 4)));
    assert_eq!(other.event(), 0);
    assert_eq!(other.give_event(4), None, "it is told once");
    // What the driver says of a connection that it still knows is for nobody.
    other.send(other.header(op::RW, GUEST_PORT, PORT), b"lost");
    other.expect(op::RST);
    // New ones are made as ever.
    let mut stream = from_guest(&mut other);
    other.send(other.header(op::RW, GUEST_PORT, PORT), b"hello");
    assert_eq!(read_all(&mut stream), (b"hello".to_vec(), false));
    assert_eq!(other.interrupts.reset_count(), 0);
}

#[test]
fn a_buffer_without_room_for_an_event_is_a_mistake() {
    let guest = Guest::new();
    let state = written::<Memory>(&*guest.device);
    let mut other = guest.elsewhere(&state);
    assert_eq!(other.give_event(3), None);
    assert_eq!(other.interrupts.reset_count(), 1);
}

#[test]
fn states_that_cannot_be_are_refused() {
    let mut guest = Guest::new();
    let state = written::<Memory>(&*guest.device);
    assert!(guest.device.restore(2, &state).is_err());
    assert!(guest.device.restore(1, &changed(&state, "more", 1.into())).is_err());
    // Nothing is to be told.
    guest.reset();
    assert_eq!(guest.give_event(4), None);
}
