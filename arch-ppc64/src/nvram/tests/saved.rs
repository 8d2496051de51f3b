//! The NVRAM of a machine that goes on elsewhere.

use super::*;
use crate::platform::{SaveState, StateError, StateValue};

fn state(json: &str) -> StateValue {
    StateValue::of(&serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap()
}

#[test]
fn content_goes_along_and_is_kept() {
    let (here, there) = (Place::default(), Place::default());
    let (one, other) = (here.open(), there.open());
    one.set_variable("boot-device", "net").unwrap();
    other.set_variable("boot-device", "disk").unwrap();
    let saved = one.save().unwrap();
    other.restore(one.version(), &saved).unwrap();
    assert_eq!(other.to_bytes(), one.to_bytes());
    assert_eq!(there.content(), one.to_bytes());
    // As it is, though it is none: what the guest does of it is its own affair.
    one.content().fill(0xa5);
    other.restore(1, &one.save().unwrap()).unwrap();
    assert_eq!(other.to_bytes(), [0xa5; USUAL_BYTES]);
    one.content().fill(0);
    other.restore(1, &one.save().unwrap()).unwrap();
    assert_eq!(other.to_bytes(), [0; USUAL_BYTES]);
}

#[test]
fn states_that_cannot_be_are_refused() {
    let place = Place::default();
    let nvram = place.open();
    let before = nvram.to_bytes();
    let refused = |json: &str| nvram.restore(1, &state(json)).unwrap_err();
    for json in [
        r#"{"bytes": 8192, "content": ""}"#,
        r#"{"bytes": 65536, "content": "7"}"#,
        r#"{"bytes": 65536, "content": "7g"}"#,
        r#"{"bytes": 65536, "content": "+7"}"#,
        r#"{"bytes": 65536, "content": "ää"}"#,
        &format!(r#"{{"bytes": 65536, "content": "{}"}}"#, "70".repeat(USUAL_BYTES + 1)),
    ] {
        assert!(matches!(refused(json), StateError::Value(_)), "{json:.60}");
    }
    for json in ["7", r#"{"bytes": -1, "content": ""}"#, r#"{"bytes": 65536}"#] {
        assert!(matches!(refused(json), StateError::Format(_)), "{json}");
    }
    let newer = nvram.restore(2, &nvram.save().unwrap()).unwrap_err();
    assert!(matches!(newer, StateError::Version { found: 2, newest: 1 }));
    place.kept().is_full = true;
    assert!(matches!(nvram.restore(1, &nvram.save().unwrap()), Err(StateError::Host(_))));
    assert_eq!(nvram.to_bytes(), before);
}
