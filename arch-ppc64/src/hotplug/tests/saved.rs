//! Connectors outlast a save, in the middle of anything.

use vm_memory::GuestAddress;

use super::guest::{BLOCK, Guest, machine};
use super::*;
use crate::platform::{SaveState, StateError, StateValue};
use crate::vcpu::CpuIndex;

const LMB: u32 = 0x8000_0002;

fn block(number: u64) -> Resource {
    Resource::memory(GuestAddress(BLOCK + number * MemoryBlock::BYTES))
}

/// A guest on which somebody is at everything: a block that is offered and not heard of, one that is
/// isolated, one that is being configured, one that is asked back, and a core that the guest has given
/// back.
fn busy() -> Guest {
    let guest = Guest::new();
    (1..4).for_each(|number| guest.hotplug.plug(block(number)).unwrap());
    assert!(guest.event().is_some());
    assert_eq!(guest.set(9003, LMB + 1, 1), 0);
    assert!(guest.acquire(LMB + 2) && guest.acquire(LMB + 3));
    guest.configure(LMB + 3).unwrap();
    guest.ram().write(GuestAddress(0x9000), &[0; 4096]).unwrap();
    guest.ram().write_be_u32(GuestAddress(0x9000), LMB + 2).unwrap();
    (0..3).for_each(|_| assert!(guest.status("ibm,configure-connector", &[0x9000, 0]) > 0));
    guest.hotplug.plug(block(0)).unwrap();
    guest.hotplug.unplug(block(3)).unwrap();
    assert!(guest.release(0x1000_0001));
    guest.lines.take();
    guest.heard.take();
    guest
}

/// The machine that takes a state up has what is plugged into the other.
fn destination(source: &Guest) -> Guest {
    Guest::of_machine(&machine(1).with_present(source.hotplug.plugged()).unwrap())
}

#[test]
fn guest_goes_on_where_it_was() {
    let source = busy();
    let guest = destination(&source);
    let mut area = vec![0; 4096];
    source.ram().read(GuestAddress(0x9000), &mut area).unwrap();
    guest.ram().write(GuestAddress(0x9000), &area).unwrap();
    let mut decision =
        crate::cas::Decision::default_for(&crate::cas::Platform::of(source.platform.machine()));
    decision.cpu_version = 0x0f00_0005;
    source.hotplug.cpus().negotiated(&decision);
    let saved = source.hotplug.save().unwrap();
    guest.hotplug.restore(guest.hotplug.version(), &saved).unwrap();
    assert_eq!(guest.lines.take(), 0, "the edge is the controller's to remember");
    assert_eq!(guest.hotplug.cpu_version(), Some(0x0f00_0005));
    assert_eq!(guest.hotplug.save().unwrap(), saved);
    for (resource, state) in [
        (block(0), PlugState::Offered),
        (block(1), PlugState::Offered),
        (block(2), PlugState::Offered),
        (block(3), PlugState::AskedBack),
        (block(4), PlugState::Absent),
        (Resource::core(CpuIndex(0)), PlugState::InUse),
        (Resource::core(CpuIndex(1)), PlugState::Offered),
    ] {
        assert_eq!(guest.hotplug.state(resource), Some(state), "{resource}");
    }
    assert_eq!(guest.event().unwrap(), [&[2, 1, 2, 0][..], &LMB.to_be_bytes()].concat());
    assert_eq!(guest.event().unwrap(), [&[2, 2, 2, 0][..], &(LMB + 3).to_be_bytes()].concat());
    assert_eq!(guest.event(), None);
    let left = (0..).take_while(|_| guest.status("ibm,configure-connector", &[0x9000, 0]) == 3);
    assert_eq!(left.count(), 5 - 2, "two of five properties were told before");
    assert_eq!(guest.heard.take(), [("taken", block(2))]);
    assert!(guest.release(LMB + 3));
    assert_eq!(guest.heard.take(), [("released", block(3))]);
}

#[test]
fn states_that_cannot_be_are_refused() {
    let guest = Guest::new();
    let own = guest.hotplug.save().unwrap();
    let json =
        |text: &str| StateValue::of(&serde_json::from_str::<serde_json::Value>(text).unwrap());
    let restore = |text: &str| guest.hotplug.restore(1, &json(text).unwrap());
    let both = r#""268435456":{"state":"configured"},"268435457":{"state":"isolated"}"#;
    for (why, text) in [
        ("a core is missing", r#"{"plugged":{"268435456":{"state":"configured"}},"events":{}}"#),
        (
            "one more",
            &*format!(r#"{{"plugged":{{{both},"5":{{"state":"unusable"}}}},"events":{{}}}}"#),
        ),
        ("an event of nothing", &*format!(r#"{{"plugged":{{{both}}},"events":{{"7":"add"}}}}"#)),
        (
            "asked back and not given",
            r#"{"plugged":{"268435456":{"state":"configured"},
                "268435457":{"state":"unusable","asked-back":true}},"events":{}}"#,
        ),
        (
            "another processor",
            &*format!(r#"{{"plugged":{{{both}}},"events":{{}},"cpu_version":1}}"#),
        ),
    ] {
        assert!(matches!(restore(text), Err(StateError::Value(_))), "{why}");
        assert_eq!(guest.hotplug.save().unwrap(), own, "{why}");
    }
    for text in [
        r#"{"plugged":{}}"#,
        r#"{"plugged":{"268435456":{"state":"flying"}},"events":{}}"#,
        r#"{"plugged":{},"events":{},"more":1}"#,
        r#"{"plugged":{"4294967296":{"state":"configured"}},"events":{}}"#,
    ] {
        assert!(matches!(restore(text), Err(StateError::Format(_))), "{text}");
    }
    let newer = guest.hotplug.version() + 1;
    assert!(matches!(guest.hotplug.restore(newer, &own), Err(StateError::Version { .. })));
    restore(&format!(r#"{{"plugged":{{{both}}},"events":{{"268435457":"remove"}}}}"#)).unwrap();
    assert_eq!(guest.sense(0x1000_0001), 1);
    assert!(guest.event().is_some());
}
