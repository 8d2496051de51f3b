//! The controller that is one or the other.

use super::*;
use crate::cas::{InterruptMode, Support};
use crate::platform::{MmioBus, Platform, PlatformBuilder};
use crate::xive::XicsOrXive;
use InterruptMode::{Xics as ModeXics, Xive as ModeXive};

struct Machine {
    controller: Arc<XicsOrXive>,
    lines: Arc<Lines>,
    ram: Arc<dyn GuestRam>,
}

fn machine(modes: Support<InterruptMode>) -> Machine {
    let lines = Arc::new(Lines::default());
    let ram = Guest::new().ram;
    let topology = CpuTopology::new(SERVERS);
    let controller = Arc::new(XicsOrXive::new(modes, &topology, lines.clone(), ram.clone()));
    for source in DEVICES {
        controller.claim(SourceNumber(source), InterruptKind::Level).unwrap();
    }
    Machine { controller, lines, ram }
}

impl Machine {
    fn call(&self, token: u64, args: &[u64]) -> Hypercall {
        let mut call = Hypercall::new(token, args);
        assert_eq!(self.controller.handle(CpuIndex(0), &*self.ram, &mut call), Next::Resume);
        call
    }

    fn rtas(&self, name: &str, inputs: &[u32]) -> i32 {
        let calls = crate::rtas::RtasHandler::calls(&*self.controller);
        let number = calls.iter().position(|call| call.name == name).unwrap();
        let mut invocation =
            crate::rtas::RtasInvocation::new(CpuIndex(0), &*self.ram, inputs, &mut []);
        match crate::rtas::RtasHandler::call(&*self.controller, number, &mut invocation) {
            crate::rtas::RtasOutcome::Done(status) => status.0,
            other => panic!("{other:?}"),
        }
    }

    fn line(&self) -> bool {
        self.lines.0.lock().unwrap()[0]
    }

    /// What a kernel does to have interrupts of a source, in either way.
    fn set_up(&self, mode: InterruptMode) {
        match mode {
            ModeXics => {
                assert_eq!(self.rtas("ibm,set-xive", &[FIRST, 0, 5]), 0);
                assert_eq!(self.call(token::CPPR, &[0xff]).status(), Status::SUCCESS);
            }
            ModeXive => {
                let queue = self.call(token::INT_SET_QUEUE_CONFIG, &[1, 0, 6, 0x1_0000, 16]);
                assert_eq!(queue.status(), Status::SUCCESS);
                let args = [2, FIRST.into(), 0, 6, 5];
                let source = self.call(token::INT_SET_SOURCE_CONFIG, &args);
                assert_eq!(source.status(), Status::SUCCESS);
                assert_eq!(self.call(token::INT_ESB, &[0, FIRST.into(), 0xc00, 0]).args[0], 1);
                self.controller.write_by(CpuIndex(0), OS_PAGE, 0x11, &[0xff]);
            }
        }
    }

    fn is_there(&self) -> [bool; 3] {
        let hypercall = |token| self.call(token, &[0, FIRST.into()]).status() != Status::FUNCTION;
        let mut ring = [0; 8];
        self.controller.read_by(CpuIndex(0), OS_PAGE, 0x10, &mut ring);
        [hypercall(token::IPOLL), hypercall(token::INT_GET_SOURCE_INFO), ring != [0xff; 8]]
    }
}

const XICS_IS_THERE: [bool; 3] = [true, false, false];
const XIVE_IS_THERE: [bool; 3] = [false, true, true];

#[test]
fn one_of_both_is_there() {
    let machine = machine(Support::Either);
    assert_eq!((machine.controller.mode(), machine.is_there()), (ModeXics, XICS_IS_THERE));
    machine.set_up(ModeXics);
    machine.controller.signal(SourceNumber(FIRST), Signal::High);
    assert!(machine.line());
    // The other one begins as new, but for what the device asserts.
    assert!(machine.controller.switch(ModeXive));
    assert_eq!((machine.controller.mode(), machine.is_there()), (ModeXive, XIVE_IS_THERE));
    assert!(!machine.line());
    assert_eq!(machine.rtas("ibm,set-xive", &[FIRST, 0, 5]), -3);
    assert_eq!(machine.rtas("ibm,int-on", &[FIRST]), -3);
    machine.set_up(ModeXive);
    assert!(machine.line());
    machine.controller.signal(SourceNumber(FIRST), Signal::Low);
    // To what it is, nothing changes.
    assert!(machine.controller.switch(ModeXive));
    assert!(machine.line());
    // And back: what was before is forgotten, and so is the level that has gone.
    assert!(machine.controller.switch(ModeXics));
    assert_eq!((machine.line(), machine.is_there()), (false, XICS_IS_THERE));
    machine.set_up(ModeXics);
    assert!(!machine.line());
    machine.controller.signal(SourceNumber(FIRST), Signal::Pulse);
    assert!(machine.line());
    // A machine starts again as it started.
    assert!(machine.controller.switch(ModeXive));
    machine.set_up(ModeXive);
    machine.controller.signal(SourceNumber(FIRST), Signal::High);
    Device::reset(&*machine.controller);
    assert_eq!((machine.line(), machine.is_there()), (false, XICS_IS_THERE));
    machine.set_up(ModeXics);
    assert!(machine.line());
}

#[test]
fn what_a_machine_cannot_be_it_does_not_become() {
    for (mode, other, is_there) in
        [(ModeXics, ModeXive, XICS_IS_THERE), (ModeXive, ModeXics, XIVE_IS_THERE)]
    {
        let machine = machine(Support::Only(mode));
        assert!(machine.controller.switch(mode));
        machine.set_up(mode);
        assert!(!machine.controller.switch(other));
        assert_eq!(machine.is_there(), is_there);
        machine.controller.signal(SourceNumber(FIRST), Signal::High);
        assert!(machine.line());
    }
}

/// Views of the machine: registers and RTAS calls are those of what it can be.
#[test]
fn platform_has_what_the_machine_can_be() {
    use crate::machine::tests::TestConfig;
    for (modes, has_rtas, has_pages, nodes) in [
        (Support::Only(ModeXics), true, false, ["/interrupt-controller", ""]),
        (Support::Only(ModeXive), false, true, ["", "/interrupt-controller@60302031b0000"]),
        (Support::Either, true, true, ["/interrupt-controller", ""]),
    ] {
        let own = crate::Machine::new(&TestConfig::default()).unwrap().with_interrupts(modes);
        let lines = Arc::new(Lines::default());
        let controller = Arc::new(XicsOrXive::new(modes, own.topology(), lines, Guest::new().ram));
        let mut builder = PlatformBuilder::new(&own, controller.clone());
        builder.add(controller);
        let platform = builder.build().unwrap();
        assert_eq!(platform.rtas_calls().iter().any(|call| call.0 == "ibm,set-xive"), has_rtas);
        let mut ring = [0; 8];
        let at = GuestAddress(XIVE_OS_PAGE.0 + 0x10);
        assert_eq!(MmioBus::read_by(platform.mmio(), CpuIndex(0), at, &mut ring), has_pages);
        let start = crate::fdt::Start::new(GuestAddress(0x40_0000), [7; 32]);
        let tree = platform.tree(&start).unwrap();
        for node in ["/interrupt-controller", "/interrupt-controller@60302031b0000"] {
            assert_eq!(tree.has(node), nodes.contains(&node), "{modes}: {node}");
        }
        assert_eq!(Platform::machine(&platform).interrupts(), modes);
    }
}

#[cfg(feature = "serde")]
mod saved {
    use super::*;
    use crate::platform::{SaveState, StateValue};

    #[test]
    fn mode_is_saved_with_its_state() {
        for mode in [ModeXics, ModeXive] {
            let before = machine(Support::Either);
            assert!(before.controller.switch(mode));
            before.set_up(mode);
            before.controller.signal(SourceNumber(FIRST), Signal::High);
            let state = before.controller.save().unwrap();
            let after = machine(Support::Either);
            after.controller.restore(2, &state).unwrap();
            assert_eq!((after.controller.mode(), after.line()), (mode, true));
            assert_eq!(after.controller.save().unwrap(), state);
            // A machine of that alone takes it as well, one of the other refuses it by name.
            let alone = machine(Support::Only(mode));
            alone.controller.restore(2, &state).unwrap();
            assert!(alone.line());
            let other = if mode == ModeXics { ModeXive } else { ModeXics };
            let other = machine(Support::Only(other));
            let error = other.controller.restore(2, &state).unwrap_err().to_string();
            assert!(error.contains("XICS") && error.contains("XIVE"), "{error}");
            assert!(!other.line());
            let error = other.controller.restore(3, &state).unwrap_err().to_string();
            assert!(error.contains("version 3"), "{error}");
        }
    }

    /// What was saved before there was a choice.
    #[test]
    fn version_1_is_xics() {
        let xics = crate::xics::Xics::new(&CpuTopology::new(SERVERS), Arc::new(Lines::default()));
        for source in DEVICES {
            xics.claim(SourceNumber(source), InterruptKind::Level).unwrap();
        }
        let mut call = Hypercall::new(token::CPPR, &[7]);
        let _ = xics.handle(CpuIndex(1), &*Guest::new().ram, &mut call);
        let state: StateValue = xics.save().unwrap();
        let machine = machine(Support::Either);
        machine.controller.restore(1, &state).unwrap();
        assert_eq!(machine.call(token::IPOLL, &[1]).args[0], 0x0700_0000);
        assert_eq!(machine.controller.mode(), ModeXics);
    }
}
