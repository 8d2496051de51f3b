//! Bridges that are saved, and taken up by others.

use std::sync::Arc;

use super::guest::{Guest, platform_of};
use super::*;
use crate::hypercall::{Status, token};
use crate::platform::PlatformState;

const BRIDGE: &str = "pci@800000020000000";
const NETWORK: u32 = 2 << 11;
const BLOCK: u32 = 1 << 11;

/// With messages, an address and a mapped page.
fn guest() -> Guest<MockBus> {
    let guest = Guest::new(bus());
    assert_eq!(guest.write(BLOCK | 0x14, 4, BAR_32 as u32), 0);
    assert_eq!(guest.write(BLOCK | 0x04, 2, 2), 0);
    assert_eq!(guest.change_msi(BLOCK, 4, 3), (0, 3, 2));
    assert_eq!(guest.change_msi(NETWORK, 3, 4), (0, 4, 1));
    assert_eq!(guest.hypercall(token::PUT_TCE, &[0x8000_0000, 0x7000, 0x3003]).0, Status::SUCCESS);
    guest
}

#[test]
fn another_bridge_goes_on() {
    let guest = guest();
    let saved = serde_json::to_string(&guest.platform.save().unwrap()).unwrap();
    let saved: PlatformState = serde_json::from_str(&saved).unwrap();
    let other = Guest::new(bus());
    other.platform.restore(&saved).unwrap();
    assert_eq!(other.bus.config(), guest.bus.config());
    assert_eq!(other.change_msi(BLOCK, 0, 0), (0, 3, 2));
    assert_eq!(other.source(NETWORK, 3), guest.source(NETWORK, 3));
    assert_eq!(other.source(NETWORK, 4), (1, 0, 0));
    let get = other.hypercall(token::GET_TCE, &[0x8000_0000, 0x7000]);
    assert_eq!(get, (Status::SUCCESS, 0x3003));
    assert_eq!(other.platform.save().unwrap(), saved);
    // It can take away what the other gave.
    assert_eq!(other.change_msi(BLOCK, 4, 0), (0, 0, 0));
}

#[test]
fn states_that_cannot_be_are_refused() {
    let saved = serde_json::to_value(guest().platform.save().unwrap()).unwrap();
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut saved = saved.clone();
        change(&mut saved["devices"][BRIDGE]);
        let saved: PlatformState = serde_json::from_value(saved).unwrap();
        let other = platform_of(&[Arc::new(bus())], Arc::default()).unwrap();
        let before = other.save().unwrap();
        assert!(other.restore(&saved).is_err(), "{saved:?}");
        assert_eq!(other.save().unwrap(), before);
    };
    let messages = |function: &'static str, kind: &'static str, count: u32| {
        move |device: &mut serde_json::Value| {
            device["state"]["messages"][function] =
                serde_json::json!({"kind": kind, "count": count});
        }
    };
    refused(&|device| device["version"] = 2.into());
    refused(&messages("00:01.0", "msi-x", 0));
    refused(&messages("00:01.0", "msi-x", 5));
    refused(&messages("00:01.0", "msi", 1));
    refused(&messages("00:01.0", "other", 1));
    refused(&messages("00:02.0", "msi", 3));
    refused(&messages("00:02.0", "msi", 16));
    refused(&messages("00:02.0", "msi", u32::MAX));
    refused(&messages("00:02.0", "msi-x", 1));
    refused(&messages("00:05.0", "msi", 1));
    refused(&messages("00:07.0", "msi", 1));
    refused(&|device| device["state"]["dma_window"][0][0] = 4096.into());
    refused(&|device| device["state"]["dma_window"][0][1] = (-1).into());
    refused(&|device| device["state"]["bus"] = serde_json::Value::Null);
    refused(&|device| device["state"]["bus"]["state"] = 1.into());
    refused(&|device| device["state"]["more"] = 1.into());
}
