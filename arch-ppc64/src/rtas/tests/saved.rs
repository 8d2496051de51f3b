//! What of RTAS outlasts a save: the tokens of calls, and events that wait.

use super::events::{LOG_BYTES, check};
use super::guest::{DATA, Guest};
use super::registration::{Named, Unit, result, result_of};
use super::*;
use crate::platform::{SaveState, StateError, StateValue};
use crate::rtas::saved::RtasState;

#[test]
fn guest_keeps_its_tokens_where_devices_come_in_another_order() {
    let (one, two) = (Named::with("one", &["x,a", "x,b"]), Named::with("two", &["x,c"]));
    let source = Rtas::new(&[one.clone(), two.clone()]).unwrap();
    let new = Named::with("new", &["x,new"]);
    let destination = Rtas::new(&[new, two, one]).unwrap();
    destination.restore(1, &source.save().unwrap()).unwrap();
    let mut calls = source.calls();
    calls.push(("x,new", 0x1003));
    assert_eq!(destination.calls(), calls);
    assert_eq!(result(&destination, 0x1001), (0, 1 + 21));
}

/// What devices of several units share has one token, known to the guest or not.
#[test]
fn calls_of_units_keep_their_token() {
    let unit = |id, number| -> Arc<dyn Device> { Arc::new(Unit(id, RtasUnit::new(1, number))) };
    let old = || Named::with("old", &["x,old"]);
    let source = Rtas::new(&[old(), unit("one", 1)]).unwrap();
    let destination = Rtas::new(&[unit("one", 1), unit("two", 2), old()]).unwrap();
    destination.restore(1, &source.save().unwrap()).unwrap();
    assert_eq!(destination.calls(), source.calls());
    assert_eq!(result_of(&destination, 0x1001, &[0, 0, 2], 2), (0, 2));
    let none = StateValue::of(&RtasState { tokens: Default::default() }).unwrap();
    destination.restore(1, &none).unwrap();
    assert_eq!(destination.calls().len(), 3);
}

#[test]
fn tokens_that_cannot_be_are_refused() {
    let rtas = Rtas::new(&[Named::with("one", &["x,a", "x,b"])]).unwrap();
    let before = rtas.calls();
    for tokens in [
        vec![("x,absent", 0x1000)],
        vec![("x,a", 4)],
        vec![("x,a", 0x1000), ("x,b", 0x1000)],
        vec![("get-time-of-day", 0x1000)],
    ] {
        let tokens = tokens.into_iter().map(|(name, token)| (name.to_owned(), token)).collect();
        let state = StateValue::of(&RtasState { tokens }).unwrap();
        assert!(matches!(rtas.restore(1, &state), Err(StateError::Value(_))));
    }
    assert!(matches!(rtas.restore(2, &rtas.save().unwrap()), Err(StateError::Version { .. })));
    assert_eq!(rtas.calls(), before);
}

#[test]
fn events_that_wait_are_saved() {
    let (source, destination) = (Guest::new(), Guest::new());
    source.events.power_button().press();
    source.events.power_button().press();
    assert_eq!(check(&source, DATA, 2048), 0);
    destination.events.restore(1, &source.events.save().unwrap()).unwrap();
    assert_eq!(destination.line.take(), 0, "the edge is the controller's to remember");
    assert_eq!(check(&source, DATA, 2048), 0);
    assert_eq!(check(&destination, DATA, 2048), 0);
    assert_eq!(destination.bytes(DATA, LOG_BYTES), source.bytes(DATA, LOG_BYTES));
    assert_eq!(check(&destination, DATA, 2048), 1);
}

#[test]
fn events_that_cannot_be_are_refused() {
    let guest = Guest::new();
    let event = |at_s: u64| serde_json::json!({ "id": 1, "at_s": at_s, "what": "power-button" });
    let state = |waiting: Vec<serde_json::Value>| {
        StateValue::of(&serde_json::json!({ "next_id": 7, "waiting": waiting })).unwrap()
    };
    for waiting in [vec![event(0); 9], vec![event(u64::MAX)], vec![event(253_402_300_800)]] {
        let refused = guest.events.restore(1, &state(waiting));
        assert!(matches!(refused, Err(StateError::Value(_))));
    }
    let refused = guest.events.restore(1, &state(vec![serde_json::json!("flood")]));
    assert!(matches!(refused, Err(StateError::Format(_))));
    assert!(matches!(guest.events.restore(2, &state(vec![])), Err(StateError::Version { .. })));
    assert_eq!(check(&guest, DATA, 2048), 1);
    guest.events.restore(1, &state(vec![event(0)])).unwrap();
    assert_eq!(check(&guest, DATA, 2048), 0);
}
