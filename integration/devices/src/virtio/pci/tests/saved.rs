//! Functions that are saved, and taken up by others.

use arch_ppc64::platform::{StateError, StateValue};
use serde_json::{Value, json};

use super::pause::later;
use super::*;

impl Bench {
    /// The state of the bus, as it comes back from a file.
    fn save(&self) -> Value {
        let text = serde_json::to_string(&self.bus.state().unwrap().save().unwrap()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn restore(&self, saved: &Value) -> Result<(), StateError> {
        let state: StateValue = serde_json::from_value(saved.clone()).unwrap();
        self.bus.state().unwrap().restore(1, &state)
    }

    /// Another machine with the same memory.
    fn other(&self) -> Self {
        let connect = |connection| connection;
        Self::in_memory(self.memory.clone(), MockWorkers::Queues, connect)
    }
}

#[test]
fn another_device_goes_on() {
    let mut bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let mut queue = bench.start(&bench.driver());
    for round in 0..10 {
        for _ in 0..7 + round {
            bench.round(&bench.driver(), &mut queue);
        }
        bench.bus.pause(later()).unwrap();
        let head = queue.add(&buffer());
        bench.driver().notify(0);
        bench.driver().set_common_16(common::QUEUE_SELECT, 2);
        let saved = bench.save();
        let other = bench.other();
        other.restore(&saved).unwrap();
        assert_eq!(other.save(), saved, "nothing was lost on the way");
        assert_eq!(other.activations(), 0);
        // It is as its driver has left it.
        let driver = other.driver();
        assert_eq!(driver.status(), ALL_WELL);
        assert_eq!(driver.common_16(common::QUEUE_SELECT), 2);
        assert_eq!(driver.bar(0), bench.driver().bar(0));
        other.bus.resume().unwrap();
        assert_eq!(other.activations(), 1);
        until(|| take(&mut queue) == Some(head));
        assert_eq!(take(&mut queue), None);
        bench = other;
    }
}

#[test]
fn what_was_told_is_told() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let driver = bench.driver();
    let _queue = bench.start(&driver);
    let line = Arc::clone(&bench.seen.queues.lock().unwrap()[0]);
    driver.mask(1, true);
    line.used();
    assert!(driver.is_pending(1));
    bench.bus.pause(later()).unwrap();
    let saved = bench.save();
    let other = bench.other();
    other.restore(&saved).unwrap();
    other.bus.resume().unwrap();
    let driver = other.driver();
    assert!(driver.is_pending(1));
    assert_eq!(other.controller.pulses(SOURCE + 1), 0);
    driver.mask(1, false);
    assert_eq!(other.controller.pulses(SOURCE + 1), 1);
    // And by the pin.
    driver.set_config_16(driver.msix.capability + 2, 0);
    other.seen.queues.lock().unwrap()[0].used();
    let level = other.controller.levels();
    assert_eq!(level.len(), 1);
    other.bus.pause(later()).unwrap();
    let saved = other.save();
    let third = other.other();
    third.restore(&saved).unwrap();
    assert_eq!(third.controller.levels(), level);
    assert_eq!((third.driver().take_isr(), third.controller.levels()), (1, vec![]));
}

/// In any state between a reset and an active device, or behind that.
#[test]
fn a_driver_can_be_anywhere() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let check = |name: &str| {
        bench.bus.pause(later()).unwrap();
        let saved = bench.save();
        let other = bench.other();
        other.restore(&saved).unwrap();
        assert_eq!(other.save(), saved, "{name}");
        other.bus.resume().unwrap();
        assert_eq!(other.driver().status(), bench.driver().status(), "{name}");
        bench.bus.resume().unwrap();
    };
    check("fresh");
    let driver = bench.driver();
    driver.negotiate(0).unwrap();
    check("features");
    driver.enable(0, 16, [0x1000, 0x2000, 0x3000]);
    check("a queue");
    driver.enable(1, 8, [u64::MAX - 15, 0, 0]);
    driver.driver_ok();
    assert_ne!(driver.status() & NEEDS_RESET, 0);
    check("a queue outside of memory");
    driver.reset();
    check("reset");
    driver.insist(u64::MAX);
    check("features that there are not");
    bench.start(&driver);
    driver.add_status(FAILED);
    check("failed");
    driver.set_config_16(4, 0);
    check("no master");
    driver.reset();
    driver.write_garbage();
    check("garbage");
}

impl Driver<'_> {
    fn write_garbage(&self) {
        for register in 0..64 {
            self.set_config_32(4 * register, 0xa5c3_9600_u32.rotate_left(register.into()) | 6);
        }
    }
}

#[test]
fn a_running_device_is_not_saved() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let _queue = bench.start(&bench.driver());
    let state = bench.bus.state().unwrap();
    let error = state.save().unwrap_err();
    let StateError::Part { id, source } = error else { panic!("{error}") };
    assert_eq!((&*id, source.to_string()), ("mock0", "it is not paused".to_owned()));
    bench.bus.pause(later()).unwrap();
    let saved = bench.save();
    bench.bus.resume().unwrap();
    assert!(matches!(bench.restore(&saved), Err(StateError::Part { .. })));
    assert_eq!(bench.workers(), 1, "nothing has changed");
    // One that is paused is taken back to where it was.
    bench.bus.pause(later()).unwrap();
    bench.restore(&saved).unwrap();
    assert_eq!(bench.save(), saved);
    bench.bus.resume().unwrap();
    assert_eq!(bench.activations(), 2);
}

#[test]
fn states_that_cannot_be_are_refused() {
    let bench = Bench::new(MockWorkers::Queues, Execution::Threads);
    let _queue = bench.start(&bench.driver());
    bench.bus.pause(later()).unwrap();
    let saved = bench.save();
    let other = bench.other();
    let before = other.save();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut saved = saved.clone();
        change(&mut saved);
        let error = other.restore(&saved).unwrap_err();
        assert_eq!(other.save(), before, "{error}");
        match error {
            StateError::Part { source, .. } => source.to_string(),
            error => error.to_string(),
        }
    };
    let at = |path: &'static str, value: Value| {
        move |saved: &mut Value| {
            let function = &mut saved["functions"]["mock0"];
            let place = function.pointer_mut(path).unwrap();
            assert_ne!(*place, value);
            *place = value.clone();
        }
    };
    for (path, value, why) in [
        ("/version", json!(2), "the saved state has version 2; known are those up to 1"),
        ("/device", json!(3), "the saved state cannot be: it was device 3 of the bus, and is 0"),
        ("/state/kind", json!(2), "it is a virtio device 2, and this one is a 5"),
        ("/state/config/2", json!(0x42), "byte 0x2 of configuration space is 0x42 of a function"),
        ("/state/isr", json!(4), "0x4 in the ISR register"),
        ("/state/status", json!(0x4f), "a device status of 0x4f"),
        ("/state/status", json!(7), "a device status of 0x7"),
        ("/state/features", json!(1_u64 << 32 | 2), "its driver took features 0x2, which are not"),
        ("/state/features", json!(1), "features 0x1, without those of version 1"),
        ("/state/configuration_vector", json!(4), "a vector 4 of 4"),
        ("/state/queues/1/vector", json!(4), "a vector 4 of 4"),
        ("/state/queues/1/max_size", json!(32), "queue 1 has up to 32 descriptors, not 16"),
        ("/state/queues/1/size", json!(32), "queue 1 has 32 descriptors"),
        ("/state/queues/1/size", json!(3), "queue 1 has 3 descriptors"),
        ("/state/queues/0/device", json!(RAM_BYTES), "queue 0 is not in memory, or not aligned"),
        ("/state/queues/0/driver", json!(u64::MAX), "queue 0 is not in memory, or not aligned"),
        ("/state/config/4", json!(2), "it is active, and may not access memory"),
        ("/state/device/version", json!(2), "has version 2; known are those up to 1"),
        ("/state/device/state", json!("text"), "not of the form that belongs here"),
    ] {
        let said = refused(&at(path, value));
        assert!(said.contains(why), "{path}: {said}");
    }
    refused(&|saved| drop(saved["functions"].as_object_mut().unwrap().remove("mock0")));
    refused(&|saved| saved["functions"]["mock1"] = saved["functions"]["mock0"].clone());
    refused(&|saved| saved["more"] = json!(1));
    for list in ["config", "vectors", "queues"] {
        refused(&|saved| {
            let list = &mut saved["functions"]["mock0"]["state"][list];
            drop(list.as_array_mut().unwrap().pop());
        });
        refused(&|saved| {
            let list = &mut saved["functions"]["mock0"]["state"][list];
            let first = list[0].clone();
            list.as_array_mut().unwrap().push(first);
        });
    }
    // It would still be taken.
    other.restore(&saved).unwrap();
}

/// Of several functions, all take their states up, or none does.
#[test]
fn functions_are_taken_up_together() {
    let bus_of = |memory: &Memory| {
        let bus = Bus::new(PciWindows::new());
        let controller = Arc::new(MockController::default());
        for id in ["a", "b"] {
            let connection = controller.connection(bus.next_free().unwrap());
            let (device, _) = MockDevice::new(&[16], MockWorkers::Queues);
            let device = VirtioPci::new(id, Box::new(device), memory.clone(), connection).unwrap();
            bus.add(None, Arc::new(device)).unwrap();
        }
        bus
    };
    let ranges = [(GuestAddress(0), RAM_BYTES)];
    let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap());
    let bus = bus_of(&memory);
    for function in bus.functions() {
        let driver = Driver::probe(&bus, function);
        driver.negotiate(0).unwrap();
        let at = 0x1000 * (1 + u64::from(function.device()));
        let _queue = driver.queue(memory.clone(), 0, 16, GuestAddress(at));
        driver.driver_ok();
    }
    bus.pause(later()).unwrap();
    let saved = bus.state().unwrap().save().unwrap();
    let other = bus_of(&memory);
    let before = other.state().unwrap().save().unwrap();
    let mut wrong = serde_json::to_value(&saved).unwrap();
    wrong["functions"]["b"]["state"]["device"]["state"] = json!(0);
    let wrong: StateValue = serde_json::from_value(wrong).unwrap();
    let error = other.state().unwrap().restore(1, &wrong).unwrap_err();
    assert!(matches!(error, StateError::Part { id, .. } if id == "b"));
    assert_eq!(other.state().unwrap().save().unwrap(), before);
    other.state().unwrap().restore(1, &saved).unwrap();
    assert_eq!(other.state().unwrap().save().unwrap(), saved);
}
