//! Machines that are saved, and taken up by others.

use super::*;

impl SaveState for Counter {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&self.count.load(Ordering::Relaxed))
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > 1 {
            return Err(StateError::Version { found: version, newest: 1 });
        }
        self.count.store(state.get()?, Ordering::Relaxed);
        Ok(())
    }
}

/// A machine that is made anew in another order has the numbers and tokens of before.
#[test]
fn numbers_and_tokens_are_those_of_the_saved_machine() {
    let (platform, _) = counters(&["one", "two"]);
    hypercall(&platform, 0xf100, 11);
    hypercall(&platform, 0xf101, 22);
    let saved = serde_json::to_string(&platform.save().unwrap()).unwrap();
    let saved: PlatformState = serde_json::from_str(&saved).unwrap();

    let machine = machine();
    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    builder = builder.with_interrupts(saved.interrupts().clone()).unwrap();
    let two = Counter::new(&mut builder, "two", 1);
    let one = Counter::new(&mut builder, "one", 0);
    builder.add(Arc::new(two)).add(Arc::new(one));
    let other = builder.build().unwrap();
    other.restore(&saved).unwrap();
    assert_eq!(other.rtas_calls(), platform.rtas_calls());
    assert_eq!(
        other.tree(&start()).unwrap().value("/two", "interrupts"),
        platform.tree(&start()).unwrap().value("/two", "interrupts")
    );
    assert_eq!(hypercall(&other, 0xf100, 0).args[0], 11);
    assert_eq!(hypercall(&other, 0xf101, 0).args[0], 22);
    assert_eq!(other.save().unwrap(), saved);
}

#[test]
fn states_of_other_machines_are_refused() {
    let (platform, _) = counters(&["one", "two"]);
    let saved = serde_json::to_value(platform.save().unwrap()).unwrap();
    let error = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut saved = saved.clone();
        change(&mut saved);
        let saved: PlatformState = serde_json::from_value(saved).unwrap();
        platform.restore(&saved).unwrap_err().to_string()
    };
    let missing = error(&|saved| drop(saved["devices"].as_object_mut().unwrap().remove("two")));
    assert_eq!(missing, "the saved machine has no state of the device two");
    let unknown = error(&|saved| saved["devices"]["three"] = saved["devices"]["two"].clone());
    assert_eq!(unknown, "the saved machine has a device three, and this one has none");
    let newer = error(&|saved| saved["devices"]["two"]["version"] = 2.into());
    assert_eq!(newer, "the state of two cannot be saved or taken up");
    let other = error(&|saved| saved["devices"]["two"]["state"] = "text".into());
    assert_eq!(other, "the state of two cannot be saved or taken up");
    let numbers = error(&|saved| saved["interrupts"]["two"]["overflow"]["first"] = 0x1005.into());
    assert_eq!(numbers, "the saved machine has other interrupt numbers");
}

#[test]
fn interrupt_numbers_that_cannot_be_are_refused() {
    let machine = machine();
    let take = |text: &str| {
        let numbers: InterruptNumbers = serde_json::from_str(text).unwrap();
        PlatformBuilder::new(&machine, Arc::new(NoInterrupts)).with_interrupts(numbers)
    };
    for (first, count) in [(0xfff, 1), (0x1000, 0), (0x1000, u32::MAX), (0x1_1000, 1)] {
        let numbers = format!(r#"{{"first": {first}, "count": {count}, "kind": "edge"}}"#);
        assert!(take(&format!(r#"{{"one": {{"a": {numbers}}}}}"#)).is_err(), "{numbers}");
    }
    let a = r#"{"first": 4096, "count": 2, "kind": "edge"}"#;
    let b = r#"{"first": 4097, "count": 1, "kind": "edge"}"#;
    let error = take(&format!(r#"{{"one": {{"a": {a}}}, "two": {{"b": {b}}}}}"#)).unwrap_err();
    assert!(error.to_string().contains("both one and two"), "{error}");
    // A device that asks for it in another way does not get it.
    let mut builder = take(&format!(r#"{{"one": {{"a": {a}}}}}"#)).unwrap();
    let error = builder.interrupt("one", "a", InterruptKind::Edge).unwrap_err();
    assert!(matches!(error, InterruptError::Assigned { .. }), "{error}");
}
