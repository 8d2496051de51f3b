//! Messages by RTAS.

use super::guest::{Guest, UNIT};
use super::*;
use crate::pci::{PciBus, PciWindows};

const BLOCK: u32 = 1 << 11;
const BOTH: u32 = 1 << 11 | 2 << 8;
const NETWORK: u32 = 2 << 11;
const NONE: u32 = 5 << 11;
/// Where the block device has its table, and its sources: behind the four lines, as each range is
/// aligned.
const TABLE: u64 = BAR_32 + 0x800;
const BLOCK_SOURCES: u32 = 0x1004;
const BOTH_SOURCES: u32 = 0x1008;
const NETWORK_SOURCES: u32 = 0x1010;

const DOORBELL: u64 = PciWindows::new().doorbell;
/// What `ibm,change-msi` says of kinds.
const MSI: u32 = 1;
const MSI_X: u32 = 2;

/// The functions have their registers on the bus, and answer.
fn guest() -> Guest<MockBus> {
    let guest = Guest::new(bus());
    for (function, register, address) in [
        (BLOCK, 0x14, BAR_32 as u32),
        (BOTH, 0x10, BAR_32 as u32 + 0x10_0000),
        (NETWORK, 0x14, 0x2100),
    ] {
        assert_eq!(guest.write(function | register, 4, address), 0);
        assert_eq!(guest.write(function | 0x04, 2, 3), 0);
    }
    guest
}

impl Guest<MockBus> {
    fn command(&self, function: u32) -> u32 {
        self.read(function | 0x04, 2).1
    }
}

/// As Linux does it: the capability is on with all masked, then come the messages.
#[test]
fn msi_x_is_programmed() {
    let guest = guest();
    assert_eq!(guest.write(BLOCK | 0x72, 2, 0xc000), 0);
    // The guest has masked one of them.
    guest.bus.write_memory(TABLE + 0x1c, &[1]);
    assert_eq!(guest.change_msi(BLOCK, 4, 3), (0, 3, MSI_X));
    let entries: Vec<_> = (0..4).map(|number| guest.bus.entry(TABLE, number)).collect();
    let entry = |number, masked| (DOORBELL, BLOCK_SOURCES + number, masked);
    assert_eq!(entries, [entry(0, 0), entry(1, 1), entry(2, 0), (0, 0, 0)]);
    assert_eq!(guest.read(BLOCK | 0x72, 2), (0, 0xc003), "on and masked, as before");
    assert_eq!(guest.command(BLOCK), 0x0403, "its pin is off");
    for number in 0..3 {
        assert_eq!(guest.source(BLOCK, number), (0, BLOCK_SOURCES + number, 1));
    }
    assert_eq!(guest.source(BLOCK, 3), (1, 0, 0));
    // Each source was claimed as the machine was made.
    let claimed = guest.controller.0.lock().unwrap();
    assert!((0..4).all(|number| claimed.iter().any(|one| one.0 == BLOCK_SOURCES + number)));
}

/// "Including set to 0" (§7.3.10.5.1).
#[test]
fn messages_can_be_fewer_and_none() {
    let guest = guest();
    assert_eq!(guest.change_msi(BLOCK, 4, 4), (0, 4, MSI_X));
    assert_eq!(guest.change_msi(BLOCK, 4, 2), (0, 2, MSI_X));
    assert_eq!(guest.bus.entry(TABLE, 1), (DOORBELL, BLOCK_SOURCES + 1, 0));
    assert_eq!(guest.bus.entry(TABLE, 2), (0, 0, 0));
    assert_eq!(guest.change_msi(BLOCK, 0, 9), (0, 2, MSI_X), "a question");
    assert_eq!(guest.write(BLOCK | 0x72, 2, 0x8000), 0);
    for (what, wanted) in [(4, 0), (1, 0), (2, 7)] {
        assert_eq!(guest.change_msi(BLOCK, what, wanted), (0, 0, 0));
        assert_eq!(guest.bus.entry(TABLE, 0), (0, 0, 0));
        assert_eq!(guest.read(BLOCK | 0x72, 2), (0, 3), "off");
        assert_eq!(guest.command(BLOCK), 3, "its pin is on");
        assert_eq!(guest.change_msi(BLOCK, 0, 0), (0, 0, 0));
        assert_eq!(guest.change_msi(BLOCK, 4, 4), (0, 4, MSI_X));
        assert_eq!(guest.write(BLOCK | 0x72, 2, 0x8000), 0);
    }
}

/// Without messages, the first interrupt of a function is that of its pin.
#[test]
fn a_pin_is_an_interrupt_until_there_are_messages() {
    let guest = guest();
    // INTA of device 1 and INTB of device 2: lines 1 and 3.
    assert_eq!(guest.source(BLOCK, 0), (0, 0x1001, 0));
    assert_eq!(guest.source(NETWORK, 0), (0, 0x1003, 0));
    for (function, number) in [(BLOCK, 1), (BLOCK, u32::MAX), (BOTH, 0), (NONE, 0)] {
        assert_eq!(guest.source(function, number), (1, 0, 0));
    }
    assert_eq!(guest.change_msi(BLOCK, 4, 1), (0, 1, MSI_X));
    assert_eq!(guest.source(BLOCK, 0), (0, BLOCK_SOURCES, 1));
    assert_eq!(guest.change_msi(BLOCK, 2, 0), (0, 0, 0));
    assert_eq!(guest.source(BLOCK, 0), (0, 0x1001, 0));
}

#[test]
fn msi_is_programmed() {
    let guest = guest();
    let capability = |register| guest.read(NETWORK | register, 4).1;
    for (wanted, count, order) in
        [(1, 1, 0), (2, 2, 1), (3, 2, 1), (8, 8, 3), (9, 8, 3), (1 << 31, 8, 3)]
    {
        assert_eq!(guest.change_msi(NETWORK, 3, wanted), (0, count, MSI));
        let control = guest.read(NETWORK | 0x52, 2).1;
        assert_eq!(control, 0x80 | 3 << 1 | order << 4, "not on, and how many");
        assert_eq!(
            (capability(0x54), capability(0x58)),
            (DOORBELL as u32, (DOORBELL >> 32) as u32)
        );
        assert_eq!(guest.read(NETWORK | 0x5c, 2).1, NETWORK_SOURCES);
        assert_eq!(NETWORK_SOURCES % 8, 0, "the function puts its number into the data");
        assert_eq!(guest.source(NETWORK, count - 1), (0, NETWORK_SOURCES + count - 1, 1));
        assert_eq!(guest.source(NETWORK, count), (1, 0, 0));
    }
    assert_eq!(guest.write(NETWORK | 0x52, 2, 0x31), 0);
    assert_eq!(guest.change_msi(NETWORK, 3, 0), (0, 0, 0));
    assert_eq!(guest.read(NETWORK | 0x52, 2).1, 0x86);
    assert_eq!([capability(0x54), capability(0x58), capability(0x5c)], [0; 3]);
}

/// "Specifying Function 3 (MSI) also disables MSI-X for the specified IOA function, and likewise"
/// (§7.3.10.5.1).
#[test]
fn one_kind_switches_the_other_off() {
    let guest = guest();
    let table = BAR_32 + 0x10_1000;
    let controls = || (guest.read(BOTH | 0x52, 2).1 & 1, guest.read(BOTH | 0x72, 2).1 >> 15);
    assert_eq!(guest.change_msi(BOTH, 4, 3), (0, 3, MSI_X));
    assert_eq!(guest.write(BOTH | 0x72, 2, 0x8000), 0);
    assert_eq!(guest.change_msi(BOTH, 3, 1), (0, 1, MSI));
    assert_eq!(guest.write(BOTH | 0x52, 2, 1), 0);
    assert_eq!(controls(), (1, 0));
    assert_eq!(guest.bus.entry(table, 0), (0, 0, 0));
    assert_eq!(guest.read(BOTH | 0x5c, 2).1, BOTH_SOURCES);
    assert_eq!(guest.change_msi(BOTH, 4, 2), (0, 2, MSI_X));
    assert_eq!(controls(), (0, 0));
    assert_eq!(guest.read(BOTH | 0x54, 4).1, 0);
    assert_eq!(guest.bus.entry(table, 1), (DOORBELL, BOTH_SOURCES + 1, 0));
}

/// "If Number Outputs is equal to 3, request to set to a new number of MSIs"; with 4, "platform
/// choice".
#[test]
fn the_old_function_has_two_meanings() {
    let guest = guest();
    let [high, low] = UNIT;
    let old =
        |function, wanted| guest.call("ibm,change-msi", &[function, high, low, 1, wanted, 1], 3);
    assert_eq!(old(BOTH, 2), (0, vec![1, 2]));
    assert_eq!(guest.change_msi(BOTH, 0, 0), (0, 1, MSI));
    assert_eq!(guest.change_msi(BOTH, 1, 2), (0, 2, MSI_X));
    assert_eq!(old(BLOCK, 1), (-3, vec![0, 0]), "it has no MSI");
    assert_eq!(guest.change_msi(BLOCK, 1, 1), (0, 1, MSI_X));
    assert_eq!(old(BLOCK, 0), (0, vec![0, 2]), "but none it can have");
    assert_eq!(guest.change_msi(NETWORK, 1, 1), (0, 1, MSI));
}

/// "Must return a Status of -3 (Parameter error) […] with no change in interrupt assignments"
/// (R1-7.3.10.5.1-3).
#[test]
fn what_cannot_be_changed_is_refused() {
    let guest = guest();
    assert_eq!(guest.change_msi(BLOCK, 4, 2), (0, 2, MSI_X));
    let before = guest.bus.config();
    let refused = (-3, 0, 0);
    for (function, what) in [
        (BLOCK, 3),
        (NETWORK, 4),
        (NONE, 1),
        (NONE, 3),
        (NONE, 4),
        // The doorbell has no address of 32 bits.
        (NETWORK, 5),
        (BLOCK, 6),
        (BLOCK, u32::MAX),
        (1 << 12 | 1 << 8, 4),
        (1 << 16 | BLOCK, 4),
        (BLOCK | 4, 4),
        (1 << 24 | BLOCK, 4),
        (1 << 28 | BLOCK, 4),
        (u32::MAX, 4),
    ] {
        for wanted in [0, 1, 1 << 31] {
            assert_eq!(guest.change_msi(function, what, wanted), refused, "{function:#x} {what}");
        }
    }
    let [high, low] = UNIT;
    for sequence in [0, 2, u32::MAX] {
        let inputs = [BLOCK, high, low, 4, 1, sequence];
        assert_eq!(guest.call("ibm,change-msi", &inputs, 4), (-3, vec![0; 3]));
    }
    for function in [1 << 12 | 1 << 8, BLOCK | 1, 1 << 24 | BLOCK, u32::MAX] {
        assert_eq!(guest.source(function, 0), refused);
    }
    assert_eq!(guest.bus.config(), before);
    assert_eq!(guest.change_msi(BLOCK, 0, 0), (0, 2, MSI_X));
    assert_eq!(guest.change_msi(BLOCK, 4, 1 << 31), (0, 4, MSI_X), "as many as there are");
}

/// A table that is not on the bus cannot be programmed, and the call says so.
#[test]
fn a_table_without_an_address_is_a_hardware_error() {
    let guest = guest();
    let failed = (-1, 0, 0);
    for (register, size, value) in
        [(0x04, 2, 0), (0x14, 4, 0), (0x14, 4, 0x1000), (0x14, 4, u32::MAX)]
    {
        let before = guest.read(BLOCK | register, size).1;
        assert_eq!(guest.write(BLOCK | register, size, value), 0);
        if value != u32::MAX {
            assert_eq!(guest.change_msi(BLOCK, 4, 2), failed);
            assert_eq!(guest.change_msi(BLOCK, 0, 0), (0, 0, 0));
        } else {
            // The end of the window.
            assert_eq!(guest.change_msi(BLOCK, 4, 2), (0, 2, MSI_X));
            assert_eq!(guest.bus.entry(0xffff_f800, 1), (DOORBELL, BLOCK_SOURCES + 1, 0));
        }
        assert_eq!(guest.change_msi(BLOCK, 4, 0), (0, 0, 0));
        assert_eq!(guest.write(BLOCK | register, size, before), 0);
    }
    assert_eq!(guest.change_msi(BLOCK, 4, 2), (0, 2, MSI_X));
    // Messages can always be taken away.
    assert_eq!(guest.write(BLOCK | 0x72, 2, 0x8000), 0);
    assert_eq!(guest.write(BLOCK | 0x04, 2, 0), 0);
    assert_eq!(guest.change_msi(BLOCK, 4, 0), (0, 0, 0));
    assert_eq!(guest.read(BLOCK | 0x72, 2), (0, 3));
}

/// Capabilities that lead nowhere are none: the guest is not told of messages that cannot be.
#[test]
fn tables_that_cannot_be_are_not_offered() {
    let function = || MockFunction::new(0x1042, 0x01_0000);
    let memory = || function().with_bar(1, 0, 0x1000);
    for (number, wrong) in [
        memory().with_msi_x(4, 7, 0),
        memory().with_msi_x(4, 6, 0),
        memory().with_msi_x(4, 0, 0),
        memory().with_msi_x(4, 1, 0x1000),
        memory().with_msi_x(4, 1, 0xfc8),
        memory().with_msi_x(2048, 1, 0),
        memory().with_msi_x(4, 1, 0xffff_fff8),
        function().with_bar(1, 1, 0x1000).with_msi_x(4, 1, 0),
        // The upper half of a register is none.
        function().with_bar(0, 4, 0x1000).with_msi_x(4, 1, 0),
        // Its messages cannot have the doorbell's address.
        function().with_msi(2, false),
        // The list of capabilities loops, or leads into the header.
        memory().with_msi_x(4, 1, 0).with_byte(0x34, 0x80).with_byte(0x81, 0x80),
        memory().with_msi_x(4, 1, 0).with_byte(0x34, 0x3c),
        // There is none.
        memory().with_msi_x(4, 1, 0).with_byte(0x06, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let guest = Guest::new(MockBus::default().with(1, 0, wrong));
        let tree = guest.tree();
        for name in ["ibm,req#msi", "ibm,req#msi-x"] {
            assert_eq!(tree.value("/pci@800000020000000/scsi@1", name), None, "{number}");
        }
        assert_eq!(guest.controller.0.lock().unwrap().len(), 4, "the lines");
        for what in [1, 3, 4, 5] {
            assert_eq!(guest.change_msi(BLOCK, what, 1), (-3, 0, 0), "{number}");
        }
    }
}

/// Sources beyond 16 bits are not for MSI, whose data have no more.
#[test]
fn msi_has_data_of_16_bits() {
    let mut bus = MockBus::default();
    for number in 0..30 {
        let large = MockFunction::new(1, 0).with_bar(0, 0, 0x8000).with_msi_x(2048, 0, 0);
        bus = bus.with(number, 0, large);
    }
    let guest = Guest::new(bus.with(30, 0, network()).with(31, 0, network()));
    let tree = guest.tree();
    // 0x1000 to 0x1003, then 30 times 0x800 from 0x1800 on, which ends below 0x10800.
    assert_eq!(tree.value("/pci@800000020000000/ethernet@1f", "ibm,req#msi"), None);
    assert_eq!(guest.change_msi(31 << 11, 3, 1), (-3, 0, 0));
}

/// A reset of the machine takes them, and resets the bus.
#[test]
fn reset_takes_all_messages() {
    use crate::pci::{HostBridge, HostBridgeOptions, PciPins, id_of};
    use crate::platform::{Device, NoInterrupts, PlatformBuilder};
    use crate::rtas::{RtasHandler, RtasInvocation, RtasOutcome, RtasStatus};
    use crate::vcpu::CpuIndex;
    use std::sync::Arc;
    let machine = crate::Machine::new(&crate::machine::tests::TestConfig::default()).unwrap();
    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    let pins = PciPins::claim(&mut builder, &id_of(0)).unwrap();
    let bus = Arc::new(bus());
    let options = HostBridgeOptions::new(0, pins);
    let bridge = HostBridge::new(&mut builder, options, bus.clone()).unwrap();
    let ram = guest().ram;
    let [high, low] = UNIT;
    let change = |what, wanted| {
        let mut outputs = [0; 3];
        let inputs = [NETWORK, high, low, what, wanted, 1];
        let mut call = RtasInvocation::new(CpuIndex(0), &ram, &inputs, &mut outputs);
        assert_eq!(bridge.call(2, &mut call), RtasOutcome::Done(RtasStatus::SUCCESS));
        outputs[0]
    };
    assert_eq!((change(3, 4), change(0, 0)), (4, 4));
    bridge.reset();
    assert_eq!((change(0, 0), *bus.resets.lock().unwrap()), (0, 1));
}
