//! Who answers which call, and under which token.

use super::*;
use vm_memory::GuestMemoryMmap;

/// A device that answers calls of these names with their numbers.
pub(super) struct Named(&'static str, Vec<RtasCall>);

impl Named {
    pub(super) fn with(id: &'static str, calls: &[&'static str]) -> Arc<dyn Device> {
        let call = |name: &&'static str| RtasCall::new(name, &[0], 2);
        Arc::new(Self(id, calls.iter().map(call).collect()))
    }
}

impl Device for Named {
    fn id(&self) -> &str {
        self.0
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }
}

impl RtasHandler for Named {
    fn calls(&self) -> &[RtasCall] {
        &self.1
    }

    fn call(&self, number: usize, call: &mut RtasInvocation<'_>) -> RtasOutcome {
        call.outputs[0] = number as u32 + 7 * call.caller.0;
        RtasStatus::SUCCESS.into()
    }
}

/// A device that answers calls of one of its units, in the inputs 1 and 2, with that number.
pub(super) struct Unit(pub(super) &'static str, pub(super) RtasUnit);

const UNIT_CALLS: &[RtasCall] =
    &[RtasCall::new("x,unit", &[3, 4], 2).with_more_outputs(1), RtasCall::new("x,other", &[3], 2)];

impl Device for Unit {
    fn id(&self) -> &str {
        self.0
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }
}

impl RtasHandler for Unit {
    fn calls(&self) -> &[RtasCall] {
        UNIT_CALLS
    }

    fn unit(&self, _: usize) -> Option<RtasUnit> {
        Some(self.1)
    }

    fn call(&self, _: usize, call: &mut RtasInvocation<'_>) -> RtasOutcome {
        call.outputs[0] = self.1.number as u32;
        RtasStatus::SUCCESS.into()
    }
}

/// The result of the call of that token, made by CPU 3.
pub(super) fn result(rtas: &Rtas, token: u32) -> (i32, u32) {
    result_of(rtas, token, &[], 2)
}

/// The same of a call with inputs, and so many outputs.
pub(super) fn result_of(rtas: &Rtas, token: u32, inputs: &[u32], outputs: u32) -> (i32, u32) {
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    let ram: &dyn GuestRam = &memory;
    let cells = [&[token, inputs.len() as u32, outputs], inputs].concat();
    for (cell, at) in cells.iter().zip((0..).step_by(4)) {
        ram.write_be_u32(GuestAddress(at), *cell).unwrap();
    }
    let mut call = Hypercall::new(token::RTAS, &[0]);
    assert_eq!(rtas.handle(CpuIndex(3), ram, &mut call), Next::Resume);
    let status = 4 * cells.len() as u64;
    let [status, output] =
        [status, status + 4].map(|at| ram.read_be_u32(GuestAddress(at)).unwrap());
    (status as i32, output)
}

#[test]
fn calls_get_tokens_in_the_order_of_the_devices() {
    let one = Named::with("one", &["x,first", "get-time-of-day", "x,second"]);
    let rtas = Rtas::new(&[one, Named::with("two", &["x,third"])]).unwrap();
    let calls = [("get-time-of-day", 4), ("x,first", 0x1000), ("x,second", 0x1001)];
    assert_eq!(rtas.calls(), [&calls[..], &[("x,third", 0x1002)]].concat());
    assert_eq!(result(&rtas, 4), (0, 1 + 21));
    assert_eq!(result(&rtas, 0x1001), (0, 2 + 21));
    assert_eq!(result(&rtas, 0x1002), (0, 21));
    assert_eq!(result(&rtas, 0x1003), (-3, 0));
}

#[test]
fn name_that_two_have_is_an_error() {
    let devices = [Named::with("one", &["x,call"]), Named::with("two", &["x,other", "x,call"])];
    let error = Rtas::new(&devices).unwrap_err();
    assert_eq!(error.to_string(), "two devices answer the RTAS call x,call: one and two");
}

#[test]
fn calls_of_units_go_to_the_device_of_each() {
    let unit = |id, number| -> Arc<dyn Device> { Arc::new(Unit(id, RtasUnit::new(1, number))) };
    let rtas = Rtas::new(&[unit("one", 1), unit("two", 1 << 32 | 2)]).unwrap();
    // Named once in the tree.
    assert_eq!(rtas.calls(), [("x,unit", 0x1000), ("x,other", 0x1001)]);
    assert_eq!(result_of(&rtas, 0x1000, &[9, 0, 1], 2), (0, 1));
    assert_eq!(result_of(&rtas, 0x1001, &[9, 1, 2], 2), (0, 2));
    assert_eq!(result_of(&rtas, 0x1000, &[9, 0, 2], 2), (-3, 0), "nobody's");
    // With more inputs and outputs, and with more than there may be.
    assert_eq!(result_of(&rtas, 0x1000, &[9, 1, 2, 9], 3), (0, 2));
    for (inputs, outputs) in [(&[9, 0, 1][..], 1), (&[9, 0, 1], 4), (&[9, 0], 2), (&[], 2)] {
        assert_eq!(result_of(&rtas, 0x1000, inputs, outputs).0, -3);
    }
    let error = |device: Arc<dyn Device>| {
        Rtas::new(&[unit("one", 1), unit("two", 2), device]).unwrap_err().to_string()
    };
    let message = error(unit("three", 2));
    assert_eq!(message, "two devices answer the RTAS call x,unit: two and three");
    assert!(error(Named::with("three", &["x,unit"])).ends_with("one and three"));
    assert!(error(Arc::new(Unit("three", RtasUnit::new(0, 3)))).ends_with("one and three"));
}
