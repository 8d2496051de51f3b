//! States of functions on a PCI bus that were changed on their way: taken up, or refused with
//! nothing changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arch_ppc64::pci::{PciAddress, PciBus, PciWindows};
use arch_ppc64::platform::{StateError, StateValue};
use pseries_devices::pci::Bus;
use pseries_devices::virtio::driver::Buffer;
use pseries_devices::virtio::mock::MockController;
use pseries_devices::virtio::pci_driver::{Driver, common};
use pseries_devices::virtio::{Execution, VirtioPci};
use serde_json::Value;
use vm_memory::GuestAddress;

use crate::Reach;
use crate::changes::change;
use crate::device_ram::{DeviceRam, RAM_END};
use crate::input::Input;
use crate::virtio_chains::{self, Others};

/// How many changes an input makes at most.
const CHANGES_MAX: usize = 16;

/// What inputs reach.
const GOALS: [&str; 6] = [
    "an unchanged state is taken up",
    "a changed state is taken up",
    "the bus refuses a state",
    "a function refuses a state",
    "devices go on",
    "a device cannot go on",
];
const SAME: usize = 0;
const TAKEN: usize = 1;
const BUS_REFUSES: usize = 2;
const FUNCTION_REFUSES: usize = 3;
const GOES_ON: usize = 4;
const CANNOT_GO_ON: usize = 5;

/// Where queues are, one behind the other, and what they are given.
const QUEUE_BYTES: u64 = 0x200;
const QUEUE_SIZE: u16 = 8;
const DATA: u64 = 0x2000;

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

/// `data` is a byte that says what drivers do of each device before it is saved, a byte of flags, and
/// one change of the state after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let ram = DeviceRam::new();
    let (drivers, flags) = (input.byte(), input.byte());
    let machine = Machine::new(&ram);
    machine.set_up(&ram, drivers, flags);
    machine.bus.pause(later()).expect("it comes to rest");
    let saved = machine.save();
    let mut changed = saved.clone();
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        change(&mut changed, &mut input, RAM_END);
    }
    // Whoever goes on with it is alone with memory.
    drop(machine);

    let other = Machine::new(&ram);
    let before = other.save();
    if let Err(error) = other.restore(&changed) {
        assert_ne!(changed, saved, "{error}");
        let refuses = matches!(error, StateError::Part { .. });
        reach.add(if refuses { FUNCTION_REFUSES } else { BUS_REFUSES });
        assert_eq!(other.save(), before, "something has changed: {error}");
        // It still takes what makes sense.
        other.restore(&saved).expect("its own state");
        return reach;
    }
    reach.add(if changed == saved { SAME } else { TAKEN });
    let taken = other.save();
    assert!(changed != saved || taken == saved, "it was not taken up as it is");
    // What was taken up can be taken up again, by a machine that was another one.
    other.restore(&taken).expect("its own state");
    assert_eq!(other.save(), taken);
    let goes_on = other.bus.resume().is_ok();
    reach.add(if goes_on { GOES_ON } else { CANNOT_GO_ON });
    other.notify_all();
    other.bus.pause(later()).expect("it comes to rest");
    other.save();
    other.bus.resume().expect("what has gone on does so again");
    other.bus.reset();
    other.check_fresh();
    reach
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(300)
}

/// A bus with one of each device.
struct Machine {
    bus: Bus,
    at: Vec<PciAddress>,
    controller: Arc<MockController>,
    /// What devices work with; goes after them.
    _others: Vec<Others>,
}

impl Machine {
    fn new(ram: &DeviceRam) -> Self {
        let bus = Bus::new(PciWindows::new());
        let controller = Arc::new(MockController::default());
        let (mut at, mut others) = (Vec::new(), Vec::new());
        for (id, device, other) in virtio_chains::all() {
            let place = bus.next_free().expect("there is room");
            let connection = controller.connection(place).with_execution(Execution::Inline);
            let function = VirtioPci::new(id, device, ram.memory().clone(), connection);
            let function = Arc::new(function.expect("a function"));
            at.push(bus.add(None, function).expect("there is room"));
            others.push(other);
        }
        Self { bus, at, controller, _others: others }
    }

    /// Has the drivers that `drivers` has a bit for set their devices up. The others are as they
    /// were, or somewhere on the way.
    fn set_up(&self, ram: &DeviceRam, drivers: u8, flags: u8) {
        let mut queues = 0;
        for (number, &at) in self.at.iter().enumerate() {
            let driver = Driver::probe(&self.bus, at);
            if flags & 1 != 0 {
                driver.negotiate(u64::MAX);
            }
            if drivers >> number & 1 == 0 {
                continue;
            }
            driver.negotiate(if flags & 2 != 0 { 0 } else { u64::MAX }).expect("what is offered");
            let count = driver.common_16(common::NUM_QUEUES);
            for index in 0..count {
                let place = GuestAddress(QUEUE_BYTES * queues);
                queues += 1;
                let mut queue = driver.queue(ram.memory().clone(), index, QUEUE_SIZE, place);
                let at = DATA + 0x100 * queues;
                // The first queue is filled by most devices.
                let buffer = match index {
                    0 => Buffer::writable(at, 0x80),
                    _ => Buffer::readable(at, 0x40),
                };
                queue.add(&[buffer]);
            }
            if flags & 4 != 0 {
                driver.enable_messages(PciWindows::new().doorbell, 0x1300 + 16 * number as u32);
            }
            if flags & 8 != 0 {
                driver.mask(1, true);
            }
            driver.driver_ok();
            (0..count).for_each(|index| driver.notify(index));
        }
    }

    fn notify_all(&self) {
        for &at in &self.at {
            let mut command = [0; 2];
            self.bus.read_config(at, 4, &mut command);
            // Where registers do not answer, drivers find nothing.
            if command[0] & 2 == 0 {
                continue;
            }
            let mut bar = [0; 8];
            let (low, high) = bar.split_at_mut(4);
            self.bus.read_config(at, 0x10, low);
            self.bus.read_config(at, 0x14, high);
            let base = u64::from_le_bytes(bar) & !0xf;
            for queue in 0..4 {
                self.bus.write_memory(base.wrapping_add(0x3000 + 4 * queue), &[0, 0]);
            }
        }
    }

    fn save(&self) -> Value {
        let state = self.bus.state().expect("there are functions").save();
        serde_json::to_value(state.expect("it rests")).expect("plain data")
    }

    fn restore(&self, state: &Value) -> Result<(), StateError> {
        let state = StateValue::of(state)?;
        self.bus.state().expect("there are functions").restore(1, &state)
    }

    /// A reset leaves nothing of what was taken up.
    fn check_fresh(&self) {
        for &at in &self.at {
            let driver = Driver::probe(&self.bus, at);
            assert_eq!((driver.status(), driver.take_isr()), (0, 0));
            assert_eq!(driver.common_16(common::CONFIG_MSIX_VECTOR), 0xffff);
            for index in 0..driver.common_16(common::NUM_QUEUES) {
                driver.set_common_16(common::QUEUE_SELECT, index);
                assert_eq!(driver.common_16(common::QUEUE_ENABLE), 0);
                assert_eq!(driver.common_32(common::QUEUE_DESC), 0);
            }
        }
        assert!(self.controller.levels().is_empty());
    }
}
