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

/// The result of the call of that token, made by CPU 3.
pub(super) fn result(rtas: &Rtas, token: u32) -> (i32, u32) {
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    let ram: &dyn GuestRam = &memory;
    for (cell, at) in [token, 0, 2].into_iter().zip((0..).step_by(4)) {
        ram.write_be_u32(GuestAddress(at), cell).unwrap();
    }
    let mut call = Hypercall::new(token::RTAS, &[0]);
    assert_eq!(rtas.handle(CpuIndex(3), ram, &mut call), Next::Resume);
    let [status, output] = [12, 16].map(|at| ram.read_be_u32(GuestAddress(at)).unwrap());
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
