//! The power button, as the guest hears of it.

use vm_memory::GuestAddress;

use super::guest::{BUFFER, DATA, EPOW, Guest, RAM_BYTES};

const EXTERNAL_INTERRUPT: u32 = 0x500;
/// The class of environmental and power warnings.
const WARNINGS: u32 = 0x4000_0000;
pub(super) const LOG_BYTES: usize = 116;

/// Linux's `ras_epow_interrupt`: gives the status.
pub(super) fn check(guest: &Guest, buffer: u32, length: u32) -> i32 {
    let inputs = [EXTERNAL_INTERRUPT, EPOW.0, WARNINGS, 0, buffer, length];
    guest.status("check-exception", &inputs)
}

#[test]
fn button_that_is_pressed_is_a_warning_with_an_interrupt() {
    let guest = Guest::new();
    // "1: No Errors Found" (§7.3.3.2).
    assert_eq!(check(&guest, DATA, 2048), 1);
    assert_eq!(guest.line.take(), 0);
    guest.events.power_button().press();
    assert_eq!(guest.line.take(), 1);
    assert_eq!(check(&guest, DATA, 2048), 0);
    let log = guest.bytes(DATA, LOG_BYTES + 4);
    // Version 6, an EPOW; "PH", "UH", "EP"; nothing behind.
    assert_eq!((log[0], log[3]), (6, 0x40));
    assert_eq!(u32::from_be_bytes(log[4..8].try_into().unwrap()) as usize, LOG_BYTES - 8);
    // As who reads it finds its way: from section to section.
    let mut at = 24;
    let mut ids = Vec::new();
    while at < LOG_BYTES {
        ids.push(&log[at..at + 2]);
        at += usize::from(u16::from_be_bytes([log[at + 2], log[at + 3]]));
    }
    assert_eq!((at, ids), (LOG_BYTES, vec![&b"PH"[..], b"UH", b"EP"]));
    assert_eq!(log[32..40], [0x20, 0x24, 0x02, 0x29, 0x12, 0x34, 0x56, 0x00], "the clock's time");
    // System shutdown, normal.
    assert_eq!(log[LOG_BYTES - 12..][..2], [3, 1]);
    assert_eq!(log[LOG_BYTES..], [0; 4]);
    assert_eq!(check(&guest, DATA, 2048), 1);
    assert_eq!(guest.line.take(), 0);
}

/// "By either check-exception or event-scan, but not both" (§7.3.3).
#[test]
fn events_with_an_interrupt_are_not_scanned() {
    let guest = Guest::new();
    guest.events.power_button().press();
    assert_eq!(guest.status("event-scan", &[u32::MAX, 0, DATA, 2048]), 1);
    assert_eq!(check(&guest, DATA, 2048), 0);
}

#[test]
fn only_what_is_asked_for_is_told() {
    let guest = Guest::new();
    guest.events.power_button().press();
    for inputs in [
        // Other classes, and the vector of a machine check.
        [EXTERNAL_INTERRUPT, EPOW.0, !WARNINGS, 0, DATA, 2048],
        [0x200, EPOW.0, WARNINGS, 0, DATA, 2048],
    ] {
        assert_eq!(guest.status("check-exception", &inputs), 1);
    }
    assert_eq!(guest.bytes(DATA, 8), [0; 8]);
    // With the seventh input, "extended information".
    let inputs = [EXTERNAL_INTERRUPT, EPOW.0, u32::MAX, 1, DATA, 2048, 0];
    assert_eq!(guest.status("check-exception", &inputs), 0);
}

/// Edges that come while one is latched are one with it.
#[test]
fn each_press_is_told_though_their_edges_were_one() {
    let guest = Guest::new();
    for _ in 0..2 {
        guest.events.power_button().press();
    }
    guest.line.take();
    assert_eq!(check(&guest, DATA, 2048), 0);
    assert_eq!(guest.line.take(), 1, "there is more");
    let first = guest.bytes(DATA, LOG_BYTES);
    assert_eq!(check(&guest, DATA, 2048), 0);
    assert_eq!(guest.line.take(), 0);
    assert_ne!(guest.bytes(DATA, LOG_BYTES), first, "they are two events");
    assert_eq!(check(&guest, DATA, 2048), 1);
}

#[test]
fn few_events_wait_for_who_does_not_look() {
    let guest = Guest::new();
    for _ in 0..1000 {
        guest.events.power_button().press();
    }
    let told = (0..1000).take_while(|_| check(&guest, DATA, 2048) == 0).count();
    assert_eq!(told, 8);
}

#[test]
fn log_is_cut_at_the_end_of_the_buffer() {
    let guest = Guest::new();
    for length in [8, 30, LOG_BYTES as u32 - 1] {
        guest.events.power_button().press();
        guest.ram().write(GuestAddress(DATA.into()), &[0xaa; 256]).unwrap();
        assert_eq!(check(&guest, DATA, length), 0);
        let bytes = guest.bytes(DATA, 256);
        assert_eq!(u32::from_be_bytes(bytes[4..8].try_into().unwrap()), length - 8);
        assert_eq!(bytes[1] & 4 != 0, length > 8);
        assert!(bytes[length as usize..].iter().all(|&byte| byte == 0xaa));
    }
}

#[test]
fn event_waits_for_a_buffer_that_can_be_used() {
    let guest = Guest::new();
    guest.events.power_button().press();
    let end = RAM_BYTES as u32;
    let before = guest.bytes(end - 64, 64);
    for (buffer, length) in
        [(DATA, 0), (DATA, 7), (end - 64, 2048), (end, 2048), (u32::MAX, u32::MAX)]
    {
        assert_eq!(check(&guest, buffer, length), -3, "{buffer:#x} {length}");
    }
    assert_eq!(guest.bytes(end - 64, 64), before);
    // The buffer may be that of the call: what is written last is the status.
    assert_eq!(check(&guest, BUFFER.0 as u32, 64), 0);
    assert_eq!(check(&guest, DATA, 2048), 1);
}
