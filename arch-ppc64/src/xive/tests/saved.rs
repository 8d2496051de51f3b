//! The controller's state, saved and taken up.

use super::*;
use crate::platform::{SaveState, StateError, StateValue};
use serde_json::{Value, json};

fn saved(guest: &Guest) -> Value {
    serde_json::to_value(guest.xive.save().unwrap()).unwrap()
}

fn restore(guest: &Guest, state: &Value) -> Result<(), StateError> {
    let state: StateValue = serde_json::from_value(state.clone()).unwrap();
    guest.xive.restore(1, &state)
}

/// One in the middle of everything: interrupts on their way, waiting, accepted, lines asserted.
fn busy() -> Guest {
    let guest = Guest::ready();
    let args = [0, 1, 2, Guest::queue_at(1, 2), 16];
    assert_eq!(guest.status(token::INT_SET_QUEUE_CONFIG, &args), Status::SUCCESS);
    guest.assign(FIRST + 1, 1, 2, 0x1234);
    guest.signal(FIRST, Signal::Pulse);
    guest.signal(FIRST, Signal::Pulse);
    assert_eq!(guest.accept(0), [0x80, 5]);
    guest.signal(FIRST + 1, Signal::Pulse);
    guest.signal(LEVEL, Signal::High);
    guest.load(FIRST + 2, 0xd00);
    guest
}

#[test]
fn state_is_taken_up_by_another_one() {
    let guest = busy();
    let state = saved(&guest);
    let other = Guest::new();
    restore(&other, &state).unwrap();
    assert_eq!(saved(&other), state);
    assert_eq!((guest.lines(), other.lines()), ([false, true, false], [false, true, false]));
    // Both go on the same way; the entries go where they went.
    let go_on = |guest: &Guest| {
        guest.signal(LEVEL, Signal::Low);
        guest.cppr(0, 0xff);
        let ended = guest.load(FIRST, 0);
        let accepted = [guest.accept(0), guest.accept(1), guest.accept(2)];
        (ended, accepted, guest.entry(0, 5, 2), guest.load(FIRST + 2, 0x800), guest.lines())
    };
    assert_eq!(go_on(&guest), go_on(&other));
    assert_eq!(saved(&guest), saved(&other));
}

/// The controller saves none such: each level that a source takes is an event at once.
#[test]
fn a_level_that_nobody_has_seen_is_an_event_when_it_is_restored() {
    let mut state = saved(&Guest::ready());
    let sources = state["sources"].as_array_mut().unwrap();
    let level = sources.iter_mut().find(|source| source["number"] == LEVEL).unwrap();
    assert_eq!(level["pq"], 0);
    level["level"] = true.into();
    let guest = Guest::ready();
    restore(&guest, &state).unwrap();
    assert_eq!(guest.lines(), [true, false, false]);
    assert_eq!(guest.accept(0), [0x80, 5]);
    assert_eq!(guest.entry(0, 5, 0), 0x8000_0000 | LEVEL);
}

#[test]
fn form_is_that_of_version_1() {
    let state = saved(&busy());
    assert_eq!(state["servers"].as_array().unwrap().len(), 3);
    assert_eq!(
        state["servers"][1]["queues"][2],
        json!({
            "priority": 2, "address": 0xa_0000, "shift": 16, "index": 1, "generation": true,
            "always_notifies": false, "notification": 2,
        })
    );
    assert_eq!(
        state["sources"][4],
        json!({
            "number": 0x1001, "pq": 2, "level": false, "server": 1, "priority": 2,
            "masked": false, "data": 0x1234,
        })
    );
}

#[test]
fn states_that_cannot_be_are_refused() {
    let good = saved(&busy());
    let change = |path: &str, value: Value| {
        let mut state = good.clone();
        *state.pointer_mut(path).unwrap() = value;
        state
    };
    let mut fewer = good.clone();
    fewer["servers"].as_array_mut().unwrap().pop();
    let mut twice = good.clone();
    let queue = twice["servers"][0]["queues"][0].clone();
    twice["servers"][0]["queues"].as_array_mut().unwrap().push(queue);
    for state in [
        fewer,
        twice,
        change("/sources/4/number", json!(0x1009)),
        change("/sources/4/pq", json!(4)),
        change("/sources/4/server", json!(3)),
        change("/sources/4/priority", json!(7)),
        change("/sources/4/data", json!(0x8000_0000_u32)),
        change("/servers/0/cppr", json!(8)),
        change("/servers/0/queues/0/priority", json!(7)),
        change("/servers/0/queues/0/address", json!(0x1000)),
        change("/servers/0/queues/0/shift", json!(12)),
        change("/servers/0/queues/0/index", json!(0x4000)),
        change("/servers/0/queues/0/notification", json!(4)),
        change("/servers/0/queues/0/index", json!(-1)),
        json!({}),
    ] {
        let guest = Guest::ready();
        let before = saved(&guest);
        assert!(restore(&guest, &state).is_err(), "{state}");
        assert_eq!(saved(&guest), before);
    }
    let state: StateValue = serde_json::from_value(good).unwrap();
    let error = Guest::new().xive.restore(2, &state).unwrap_err();
    assert!(matches!(error, StateError::Version { found: 2, newest: 1 }), "{error}");
}
