//! What is saved of a controller, and what is refused.

use super::*;
use crate::platform::SaveState;

/// What is saved at any moment is taken up by another controller: the lines, what waits and what is
/// in service.
#[test]
fn state_goes_to_another_controller() {
    let guest = Guest::ready();
    guest.route(FIRST + 1, 1, 3);
    guest.route(FIRST + 2, 0, 4);
    guest.xics.raise(FIRST);
    assert_eq!(guest.xirr(0), 0xff00_1000);
    guest.xics.raise(FIRST);
    guest.xics.set_level(FIRST + 1, true);
    guest.xics.raise(FIRST + 2);
    guest.ipi(2, 6);
    let saved = guest.xics.save().unwrap();
    let other = Guest::new();
    other.xics.restore(1, &saved).unwrap();
    assert_eq!(other.lines(), guest.lines());
    assert_eq!(other.xics.save().unwrap(), saved);
    for guest in [&guest, &other] {
        assert_eq!(guest.xirr(0), 0x0500_1002);
        guest.eoi(0, 0x0500_1002);
        guest.eoi(0, 0xff00_1000);
        assert_eq!(guest.xirr(0), 0xff00_1000);
        assert_eq!(guest.xirr(1), 0xff00_1001);
        assert_eq!(guest.xirr(2), 0xff00_0002);
    }
}

/// A server of a saved source is the number that guests know, and leads to its CPU again.
#[test]
fn saved_servers_are_those_of_guests() {
    let topology = CpuTopology::new(4).with_threads(2, 8).unwrap();
    let controller = |lines: &Arc<Lines>| {
        let xics = Xics::new(&topology, lines.clone());
        xics.claim(SourceNumber(FIRST), InterruptKind::Edge).unwrap();
        xics
    };
    let xics = controller(&Arc::default());
    xics.set_xive(FIRST, VectorEntry { server: ServerNumber(8), priority: 5 }).unwrap();
    xics.raise(FIRST);
    let saved = xics.save().unwrap();
    let other = controller(&Arc::default());
    other.restore(1, &saved).unwrap();
    let entry = VectorEntry { server: ServerNumber(8), priority: 5 };
    assert_eq!(other.xive(FIRST), Ok(entry));
    other.lock().change_server(CpuIndex(2), |server| server.cppr = 0xff).unwrap();
    let (xirr, _) = other.lock().accept(CpuIndex(2), 0).unwrap();
    assert_eq!(xirr, 0xff00_0000 | FIRST);

    let text = serde_json::to_string(&saved).unwrap();
    assert!(text.contains("\"server\":8"));
    for server in [2, 7, 10, 16, u32::MAX] {
        let wrong = text.replace("\"server\":8", &format!("\"server\":{server}"));
        let wrong = serde_json::from_str(&wrong).unwrap();
        let error = other.restore(1, &wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("server {server},")), "{error}");
    }
    assert_eq!(other.xive(FIRST), Ok(entry), "nothing has changed");
}

#[test]
fn state_that_cannot_be_is_refused() {
    let guest = Guest::ready();
    let saved = guest.xics.save().unwrap();
    assert!(
        Xics::new(&CpuTopology::new(1), guest.lines.clone()).restore(1, &saved).is_err(),
        "other servers"
    );
    assert!(
        Xics::new(&CpuTopology::new(SERVERS), guest.lines.clone()).restore(1, &saved).is_err(),
        "no sources"
    );
    assert!(guest.xics.restore(2, &saved).is_err(), "a version that there is not");
    let text = serde_json::to_string(&saved).unwrap();
    for (from, to) in [("\"server\":0", "\"server\":3"), ("\"cppr\":255", "\"cppr\":256")] {
        assert!(text.contains(from));
        let wrong = serde_json::from_str(&text.replacen(from, to, 1)).unwrap();
        assert!(guest.xics.restore(1, &wrong).is_err(), "{to}");
        assert_eq!(guest.xics.save().unwrap(), saved, "nothing has changed");
    }
}

/// Only their order means something: a state may have any numbers, and what comes next is behind them.
#[test]
fn arrivals_of_a_saved_state_may_be_any() {
    let guest = Guest::ready();
    let text = serde_json::to_string(&guest.xics.save().unwrap()).unwrap();
    let last = format!("\"arrival\":{}", u64::MAX);
    let state = serde_json::from_str(&text.replacen("\"arrival\":0", &last, 1)).unwrap();
    guest.xics.restore(1, &state).unwrap();
    guest.route(FIRST, 0, 5);
    guest.xics.raise(FIRST);
    assert_eq!(guest.xirr(0) & 0xff_ffff, FIRST);
}
