//! Events, and that none is lost. Linux handles an event at each interrupt without asking whether
//! there was one: there are as many interrupts as events.

use vm_memory::GuestAddress;

use super::guest::{AREA, BLOCK, Guest};
use super::*;
use crate::config::Memory;
use crate::machine::tests::TestConfig;
use crate::vcpu::CpuIndex;

fn block(number: u64) -> Resource {
    Resource::memory(GuestAddress(BLOCK + number * MemoryBlock::BYTES))
}

/// Fetches an event at each interrupt, until there are none: what they are about.
fn fetch(guest: &Guest) -> Vec<(u8, u32, u32)> {
    let mut fetched = vec![];
    let mut interrupts = guest.lines.take();
    while interrupts > 0 {
        interrupts -= 1;
        let event = guest.event().expect("an interrupt without an event");
        let cell = |at: usize| u32::from_be_bytes(event[at..at + 4].try_into().unwrap());
        fetched.push(match event[2] {
            2 => (event[1], 1, cell(4)),
            _ => (event[1], cell(4), cell(8)),
        });
        interrupts += guest.lines.take();
    }
    assert_eq!(guest.event(), None, "an event without an interrupt");
    fetched
}

#[test]
fn each_connector_is_told_of_once() {
    let guest = Guest::new();
    guest.make_cpu(CpuIndex(3));
    guest.hotplug.plug(Resource::core(CpuIndex(3))).unwrap();
    for number in [0, 1, 2, 4, 5] {
        guest.hotplug.plug(block(number)).unwrap();
    }
    guest.hotplug.unplug(Resource::core(CpuIndex(0))).unwrap();
    let expected =
        [(2, 1, 0x1000_0000), (1, 1, 0x1000_0003), (1, 3, 0x8000_0002), (1, 2, 0x8000_0006)];
    assert_eq!(fetch(&guest), expected);
}

/// What the VMM no longer wants is told as it is then: an interrupt is on its way, and has to have
/// something to tell.
#[test]
fn event_that_waits_is_the_last_wish() {
    let guest = Guest::new();
    guest.hotplug.plug(block(0)).unwrap();
    guest.hotplug.unplug(block(0)).unwrap();
    assert_eq!(guest.heard.take(), [("released", block(0))]);
    assert_eq!(fetch(&guest), [(2, 1, 0x8000_0002)]);
    let core = Resource::core(CpuIndex(1));
    guest.hotplug.unplug(core).unwrap();
    guest.hotplug.plug(core).unwrap();
    assert_eq!(guest.hotplug.state(core), Some(PlugState::InUse));
    assert_eq!(fetch(&guest), [(1, 1, 0x1000_0001)]);
}

/// A guest that was starting may have lost the interrupt: who asks again has it sent again.
#[test]
fn asked_again_is_told_again() {
    let guest = Guest::new();
    guest.hotplug.plug(block(0)).unwrap();
    guest.hotplug.plug(block(1)).unwrap();
    assert_eq!(guest.lines.take(), 1);
    guest.hotplug.plug(block(1)).unwrap();
    assert_eq!(guest.lines.take(), 1, "again");
    assert!(guest.event().is_some());
    assert_eq!((guest.lines.take(), guest.event()), (0, None));
    // It has heard, and has not taken it.
    guest.hotplug.plug(block(1)).unwrap();
    assert_eq!(fetch(&guest), [(1, 1, 0x8000_0003)]);
}

#[test]
fn events_are_told_by_their_class_and_to_a_buffer() {
    let guest = Guest::new();
    guest.hotplug.plug(block(0)).unwrap();
    let check = |vector, classes, buffer, length| {
        guest.status("check-exception", &[vector, 0x1001, classes, 0, buffer, length])
    };
    let hot_plug = 0x1000_0000;
    for (vector, classes) in [(0x500, !hot_plug), (0x200, hot_plug)] {
        assert_eq!(check(vector, classes, AREA, 2048), 1);
    }
    for (buffer, length) in [(AREA, 0), (AREA, 7), (0xf_fff0, 2048), (u32::MAX, u32::MAX)] {
        assert_eq!(check(0x500, hot_plug, buffer, length), -3);
    }
    assert_eq!(guest.status("event-scan", &[u32::MAX, 0, AREA, 2048]), 1);
    // A warning comes first, where both are asked for.
    guest.sources.power_button().press();
    assert_eq!((check(0x500, u32::MAX, AREA, 2048), guest.bytes(AREA + 3, 1)), (0, vec![0x40]));
    assert_eq!((check(0x500, u32::MAX, AREA, 2048), guest.bytes(AREA + 3, 1)), (0, vec![0xe5]));
    assert_eq!(check(0x500, u32::MAX, AREA, 2048), 1);
}

/// However many there are, and bounded for each call.
#[test]
fn terabyte_is_told_of_in_parts() {
    let config = TestConfig {
        memory: Memory::of_size(BLOCK).with_hotplug(1 << 40),
        ..TestConfig::default()
    };
    let guest = Guest::of_machine(&Machine::new(&config).unwrap());
    for number in 0..4096 {
        guest.hotplug.plug(block(number)).unwrap();
    }
    let events = fetch(&guest);
    assert_eq!(events.len(), 16);
    for (number, event) in (0..).zip(events) {
        assert_eq!(event, (1, 256, 0x8000_0002 + 256 * number));
    }
}
