//! Daemons that rest, and states that go to another daemon.

use std::time::{Duration, Instant};

use arch_ppc64::platform::StateError;
use serde_json::json;
use vm_memory::Bytes;

use super::*;
use crate::virtio::saved::{changed, written};

fn known(daemon: &Daemon) -> Vec<u8> {
    daemon.echo.lock().unwrap().known.lock().unwrap().clone()
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

impl Guest {
    fn pause(&mut self) -> Result<(), StateError> {
        VirtioDevice::pause(&mut self.device, &self.memory, later())
    }

    fn resume(&mut self) {
        VirtioDevice::resume(&mut self.device, &self.memory).unwrap();
    }
}

#[test]
fn a_daemon_rests_and_goes_on() {
    for is_relayed in [false, true] {
        let place = Place::new();
        let _daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        guest.activate(0).unwrap();
        for round in 0..40_u64 {
            guest.ask(0, &[1, round as u8], false);
            assert_eq!(guest.answer(0, 2 * round), [round as u8, 1]);
            // What is taken is answered, whoever has looked at it by now.
            guest.pause().unwrap();
            guest.ask(0, &[2, round as u8], false);
            assert_eq!(guest.queues[0].next_used(), None, "it rests");
            guest.resume();
            guest.ring(0);
            assert_eq!(guest.answer(0, 2 * round + 1), [round as u8, 2]);
        }
        // One that rests can be reset, and used again.
        guest.pause().unwrap();
        guest.reset();
        guest.activate(0).unwrap();
        guest.ask(2, b"again", false);
        assert_eq!(guest.answer(2, 0), b"niaga");
        assert_eq!(guest.interrupts.reset_count(), 0);
    }
}

/// Many daemons say that they have stopped while one of their threads is at a request.
#[test]
fn what_a_daemon_is_at_is_waited_for() {
    for is_relayed in [false, true] {
        let place = Place::new();
        let echo = Echo { is_slow: true, ..Echo::new() };
        let _daemon = Daemon::start(&place.socket(), echo);
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        guest.activate(0).unwrap();
        for round in 0..10_u64 {
            guest.ask(0, &[1, round as u8], false);
            guest.turn();
            thread::sleep(Duration::from_millis(2 * round));
            guest.pause().unwrap();
            let before = guest.queues[0].next_used();
            thread::sleep(Duration::from_millis(30));
            assert_eq!(guest.queues[0].next_used(), None, "it came too late");
            guest.resume();
            guest.ring(0);
            if before.is_none() {
                guest.answer(0, round);
            }
        }
        assert_eq!(guest.interrupts.reset_count(), 0);
    }
}

#[test]
fn a_buffer_that_is_not_returned_is_told() {
    for is_relayed in [false, true] {
        let place = Place::new();
        let _daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        guest.activate(0).unwrap();
        // Nobody returns what a driver makes up.
        let used = guest.queues[0].parts()[2].0 + 2;
        guest.memory.write_obj(7_u16, GuestAddress(used)).unwrap();
        let until = Instant::now() + Duration::from_millis(20);
        let paused = VirtioDevice::pause(&mut guest.device, &guest.memory, until);
        assert_eq!(matches!(paused, Err(StateError::Busy(_))), !is_relayed);
        guest.resume();
    }
}

#[test]
fn a_daemon_that_is_gone_is_no_hindrance() {
    for is_relayed in [false, true] {
        let place = Place::new();
        let mut daemon = Daemon::start(&place.socket(), Echo::new());
        let mut guest = Guest::connect(&place.socket(), spec(), is_relayed).unwrap();
        guest.activate(0).unwrap();
        daemon.kill();
        guest.pause().unwrap();
        let error = VirtioDevice::<Memory>::save(&guest.device).unwrap_err();
        let source = error.source().unwrap().to_string();
        assert!(source.contains(&*place.socket().to_string_lossy()), "{source}");
        guest.resume();
        guest.wait(|guest| (guest.interrupts.reset_count() > 0).then_some(()));
    }
}

#[test]
fn another_daemon_knows_what_the_first_knew() {
    for is_relayed in [false, true] {
        let places = [Place::new(), Place::new()];
        let daemons = places.each_ref().map(|place| Daemon::start(&place.socket(), Echo::new()));
        let cookies = (0..=255).cycle().take(300_000).collect();
        *daemons[0].echo.lock().unwrap().known.lock().unwrap() = cookies;
        let mut guest = Guest::connect(&places[0].socket(), spec(), is_relayed).unwrap();
        guest.activate(0).unwrap();
        for number in 0..5 {
            guest.ask(1, b"before", false);
            assert_eq!(guest.answer(1, number), b"erofeb");
        }
        guest.pause().unwrap();
        guest.ask(1, b"behind", false);
        let state = written::<Memory>(&guest.device);
        guest.disable();
        let other = VhostUser::connect(&places[1].socket(), spec()).unwrap();
        guest.device = other.with_relayed_queues(is_relayed);
        let device: &mut dyn VirtioDevice<Memory> = &mut guest.device;
        for (field, value) in [
            ("configuration", json!("00")),
            ("configuration", json!("xx")),
            ("daemon", json!("0")),
            ("daemon", json!(5)),
            ("more", json!(1)),
        ] {
            assert!(device.restore(1, &changed(&state, field, value)).is_err(), "{field}");
        }
        assert!(device.restore(2, &state).is_err());
        device.restore(1, &state).unwrap();
        assert_eq!(known(&daemons[1]), known(&daemons[0]));
        guest.go_on(0).unwrap();
        assert_eq!(guest.answer(1, 5), b"dniheb");
        for number in 6..12 {
            guest.ask(1, b"after", false);
            assert_eq!(guest.answer(1, number), b"retfa");
        }
        assert_eq!(guest.interrupts.reset_count(), 0);
    }
}

#[test]
fn daemons_that_do_not_say_what_they_know_cannot_be_saved() {
    let place = Place::new();
    let mut echo = Echo::new();
    echo.protocol.remove(VhostUserProtocolFeatures::DEVICE_STATE);
    let _daemon = Daemon::start(&place.socket(), echo);
    let mut guest = Guest::connect(&place.socket(), spec(), false).unwrap();
    guest.activate(0).unwrap();
    guest.pause().unwrap();
    let error = VirtioDevice::<Memory>::save(&guest.device).unwrap_err().to_string();
    assert!(error.contains("cannot be saved") && error.contains("DEVICE_STATE"), "{error}");
    // One that has nothing to know can, and so can one without a driver.
    guest.reset();
    written::<Memory>(&guest.device);
    drop(guest);
    let place = Place::new();
    let mut echo = Echo::new();
    echo.protocol.remove(VhostUserProtocolFeatures::DEVICE_STATE);
    let _daemon = Daemon::start(&place.socket(), echo);
    let mut guest = Guest::connect(&place.socket(), spec().without_state(), false).unwrap();
    guest.activate(0).unwrap();
    guest.pause().unwrap();
    let state = written::<Memory>(&guest.device);
    // It cannot have known anything.
    let known = changed(&state, "daemon", json!("00"));
    assert!(VirtioDevice::<Memory>::restore(&mut guest.device, 1, &known).is_err());
}

#[test]
fn daemons_that_never_end_are_not_waited_for() {
    let place = Place::new();
    let mut echo = Echo::new();
    echo.withholds_state = true;
    let _daemon = Daemon::start(&place.socket(), echo);
    let mut guest = Guest::connect(&place.socket(), spec(), false).unwrap();
    guest.activate(0).unwrap();
    guest.pause().unwrap();
    let error = VirtioDevice::<Memory>::save(&guest.device).unwrap_err();
    let error = error.source().unwrap().to_string();
    assert!(error.contains("give its state"), "{error}");
}
