//! What the tree says.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::guest::{Guest, cells, platform_of};
use super::*;
use crate::fdt::{Start, Tree};
use crate::machine::Machine;
use crate::machine::tests::TestConfig;
use crate::pci::{
    DmaWindow, HostBridge, HostBridgeError, HostBridgeOptions, PciBus, PciPins, id_of,
};
use crate::platform::{InterruptKind, NoInterrupts, PlatformBuilder};
use vm_memory::GuestAddress;

const BRIDGE: &str = "/pci@800000020000000";

fn node(name: &str) -> String {
    format!("{BRIDGE}/{name}")
}

/// The cells without which Linux 6.1 and 6.12 warn, crash, or find no device.
#[test]
fn the_bridge_is_a_node() {
    let tree = Guest::new(bus()).tree();
    let cells = |name| cells(&tree, BRIDGE, name);
    assert_eq!(tree.value(BRIDGE, "device_type"), Some(&b"pci\0"[..]));
    assert_eq!(tree.value(BRIDGE, "compatible"), Some(&b"IBM,Logical_PHB\0"[..]));
    assert_eq!(cells("reg"), [0x0800_0000, 0x2000_0000, 0, 0]);
    assert_eq!(cells("#address-cells"), [3]);
    assert_eq!(cells("#size-cells"), [2]);
    assert_eq!(cells("#interrupt-cells"), [1]);
    assert_eq!(cells("bus-range"), [0, 0xff]);
    let memory_32 = [0x0200_0000, 0, 0x8000_0000, 0x2000, 0x8000_0000, 0, 0x8000_0000];
    let memory_64 = [0x0300_0000, 0x2100, 0, 0x2100, 0, 0x100, 0];
    assert_eq!(cells("ranges"), [memory_32, memory_64].concat());
    assert_eq!(cells("ibm,dma-window"), [0x8000_0000, 0, 0, 0, 0x100_0000]);
    assert_eq!(cells("ibm,#dma-address-cells"), [2]);
    assert_eq!(cells("ibm,#dma-size-cells"), [2]);
    for (path, name) in [
        (BRIDGE, "used-by-rtas"),
        ("/chosen", "linux,iommu-off"),
        ("/rtas", "ibm,change-msix-capable"),
    ] {
        assert_eq!(tree.value(path, name), Some(&[][..]), "{name}");
    }
    let sets = tree.value("/rtas", "ibm,hypertas-functions").unwrap();
    assert_eq!(sets, b"hcall-multi-tce\0hcall-tce\0");
    // As many for each of the four functions as the largest can have.
    assert_eq!(cells("ibm,pe-total-#msi"), [4 * 8]);
}

/// Pin p of device d is on line (d + p - 1) modulo 4, a level each.
#[test]
fn pins_lead_to_four_levels() {
    let guest = Guest::new(bus());
    let tree = guest.tree();
    assert_eq!(cells(&tree, BRIDGE, "interrupt-map-mask"), [0xf800, 0, 0, u32::MAX]);
    let parent = tree.phandle("/interrupt-controller").unwrap().cell();
    let map = cells(&tree, BRIDGE, "interrupt-map");
    let mut expected = Vec::new();
    for device in [1, 2, 5] {
        for pin in 1..=4 {
            let line = (device + pin - 1) % 4;
            expected.extend([device << 11, 0, 0, pin, parent, 0x1000 + line, 1]);
        }
    }
    assert_eq!(map, expected);
    let claimed = guest.controller.0.lock().unwrap();
    let levels = claimed.iter().filter(|(_, kind)| *kind == InterruptKind::Level);
    assert_eq!(
        levels.map(|(source, _)| *source).collect::<Vec<_>>(),
        [0x1000, 0x1001, 0x1002, 0x1003]
    );
}

/// The path that packages are attached by.
#[test]
fn the_path_of_a_function_is_that_of_its_node() {
    let bus = Arc::new(bus());
    let machine = Machine::new(&TestConfig::default()).unwrap();
    let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
    let pins = PciPins::claim(&mut builder, &id_of(0)).unwrap();
    let options = HostBridgeOptions::new(0, pins);
    let bridge = HostBridge::new(&mut builder, options, bus.clone()).unwrap();
    let tree = Guest::new(self::bus()).tree();
    // The bus has them in any order.
    let paths: BTreeSet<String> =
        bus.functions().into_iter().map(|function| bridge.path_of(function).unwrap()).collect();
    let names = ["scsi@1", "scsi@1,2", "ethernet@2", "legacy-device@5"];
    assert_eq!(paths, names.map(node).into());
    assert!(paths.iter().all(|path| tree.has(path)));
    assert_eq!(bridge.path_of(address(3, 0)), None);
}

#[test]
fn functions_are_nodes() {
    let tree = Guest::new(bus()).tree();
    let path = node("scsi@1");
    let cell = |name| cells(&tree, &path, name);
    assert_eq!(cell("vendor-id"), [0x1af4]);
    assert_eq!(cell("device-id"), [0x1042]);
    assert_eq!(cell("class-code"), [0x01_0000]);
    assert_eq!(cell("revision-id"), [1]);
    assert_eq!(cell("subsystem-vendor-id"), [0x1af4]);
    assert_eq!(cell("subsystem-id"), [0x1100]);
    assert_eq!(cell("interrupts"), [1]);
    assert_eq!(cell("ibm,req#msi-x"), [4]);
    assert_eq!(tree.value(&path, "ibm,req#msi"), None);
    let config = [0x0800, 0, 0, 0, 0];
    let memory_32 = [0x0200_0814, 0, 0, 0, 0x1000];
    // Its register says that it may be prefetched.
    let memory_64 = [0x4300_0820, 0, 0, 0, 0x4000];
    assert_eq!(cell("reg"), [config, memory_32, memory_64].concat());
    assert_eq!(tree.value(&path, "assigned-addresses"), None);
    let compatible = tree.value(&path, "compatible").unwrap();
    assert_eq!(
        compatible,
        b"pci1af4,1042.1af4.1100.1\0pci1af4,1042.1af4.1100\0pci1af4,1100\0pci1af4,1042.1\0\
          pci1af4,1042\0pciclass,010000\0pciclass,0100\0"
    );
    // It is what configuration says, and its address has both numbers.
    let path = node("scsi@1,2");
    let cell = |name| cells(&tree, &path, name);
    assert_eq!(cell("reg"), [[0x0a00, 0, 0, 0, 0], [0x0200_0a10, 0, 0, 0, 0x2000]].concat());
    assert_eq!((cell("ibm,req#msi"), cell("ibm,req#msi-x")), (vec![1], vec![3]));
    assert_eq!(tree.value(&path, "interrupts"), None);
    // What the bus adds.
    let path = node("ethernet@2");
    assert_eq!(cells(&tree, &path, "ibm,req#msi"), [8]);
    assert_eq!(cells(&tree, &path, "interrupts"), [2]);
    assert_eq!(tree.value(&path, "local-mac-address"), Some(&[2, 0, 0, 0, 0, 1][..]));
    // A function with nothing.
    let path = node("legacy-device@5");
    assert_eq!(cells(&tree, &path, "reg"), [0x2800, 0, 0, 0, 0]);
    assert_eq!(tree.value(&path, "ibm,req#msi-x"), None);
}

/// The tree blob has it all under its whole names.
#[test]
fn the_tree_can_be_flattened() {
    let guest = Guest::new(bus());
    let blob = guest.platform.blob(&Start::new(GuestAddress(0x40_0000), [0; 32])).unwrap();
    let has = |name: &[u8]| blob.windows(name.len()).any(|text| text == name);
    assert!(has(b"ibm,query-interrupt-source-number\0") && has(b"ibm,pci-config-space-type\0"));
}

#[test]
fn a_bus_without_functions_is_a_bridge() {
    let tree = Guest::new(MockBus::default()).tree();
    assert_eq!(cells(&tree, BRIDGE, "ibm,pe-total-#msi"), [0]);
    assert_eq!(cells(&tree, BRIDGE, "bus-range"), [0, 0xff]);
    assert_eq!(tree.value(BRIDGE, "interrupt-map"), None);
}

/// Sizes are found by writing ones, with the function's decoders off: all is as before afterwards.
#[test]
fn sizing_leaves_no_trace() {
    let bus = MockBus::default().with(3, 0, block().with_rom(0x800).with_byte(0x04, 0x07));
    {
        let mut function = bus.function(3);
        for (register, value) in
            [(0x14, BAR_32 as u32), (0x20, BAR_64 as u32 | 0xc), (0x24, 0x2100)]
        {
            function.put(register, &value.to_le_bytes());
        }
    }
    let before = bus.config();
    let guest = Guest::new(bus);
    assert_eq!(guest.bus.config(), before);
    let writes = guest.bus.writes.lock().unwrap();
    let on = |data: &[u8]| data[0] & 3 != 0;
    let (first, last) = (&writes[0], writes.last().unwrap());
    assert!(first.1 == 0x04 && !on(&first.2), "off first");
    assert!(last.1 == 0x04 && on(&last.2), "and on at last");
    assert!(writes[1..writes.len() - 1].iter().all(|write| write.1 >= 0x10 && write.1 <= 0x30));
    drop(writes);
    // With addresses: they are told. The ROM has none.
    let tree = guest.tree();
    assert_eq!(guest.bus.config(), before);
    let path = node("scsi@3");
    let memory_32 = [0x8200_1814, 0, BAR_32 as u32, 0, 0x1000];
    let memory_64 = [0xc300_1820, 0x2100, BAR_64 as u32, 0, 0x4000];
    assert_eq!(cells(&tree, &path, "assigned-addresses"), [memory_32, memory_64].concat());
    assert_eq!(cells(&tree, &path, "reg")[15..], [0x0200_1830, 0, 0, 0, 0x800]);
}

/// Guests take what is missing in the list as not there, so it is whole or not there.
#[test]
fn addresses_outside_of_the_windows_are_none() {
    for (register, value) in [(0x14, 0x1000_0000_u32), (0x14, 0), (0x24, 0x2200), (0x24, 0x20)] {
        let bus = MockBus::default().with(3, 0, block());
        let mut function = bus.function(3);
        function.put(0x14, &(BAR_32 as u32).to_le_bytes());
        function.put(0x24, &0x2100_u32.to_le_bytes());
        function.put(register, &value.to_le_bytes());
        drop(function);
        let tree = Guest::new(bus).tree();
        assert_eq!(tree.value(&node("scsi@3"), "assigned-addresses"), None, "{value:#x}");
    }
}

#[test]
fn registers_of_every_kind_have_their_space() {
    let function = MockFunction::new(0x1000, 0x02_0000)
        .with_bar(0, 0x01, 0x20) // I/O
        .with_bar(1, 0x08, 0x1000) // prefetchable, 32 bits
        .with_bar(2, 0x04, 1 << 36) // 64 bits, and larger than 32 bits can say
        .with_bar(5, 0x04, 0x1000) // 64 bits, and there is no register for the upper half
        .with_express();
    let tree = Guest::new(MockBus::default().with(0x1f, 7, function)).tree();
    let path = node("ethernet@1f,7");
    let reg = [
        [0xff00, 0, 0, 0, 0],
        [0x0100_ff10, 0, 0, 0, 0x20],
        [0x4200_ff14, 0, 0, 0, 0x1000],
        [0x0300_ff18, 0, 0, 0x10, 0],
        [0x0200_ff24, 0, 0, 0, 0x1000],
    ];
    assert_eq!(cells(&tree, &path, "reg"), reg.concat());
    assert_eq!(cells(&tree, &path, "ibm,pci-config-space-type"), [1]);
}

/// Each has its node, its windows, its lines, its DMA window; what is said once is said once.
#[test]
fn a_machine_has_several_bridges() {
    let buses = [Arc::new(bus()), Arc::new(bus())];
    let platform = platform_of(&buses, Arc::default()).unwrap();
    let tree = platform.tree(&Start::new(GuestAddress(0x40_0000), [0; 32])).unwrap();
    let other = "/pci@800000020000001";
    assert_eq!(cells(&tree, other, "reg"), [0x0800_0000, 0x2000_0001, 0, 0]);
    assert_eq!(cells(&tree, other, "ranges")[3..5], [0x2001, 0x8000_0000]);
    assert_eq!(cells(&tree, other, "ranges")[8..12], [0x2200, 0, 0x2200, 0]);
    assert_eq!(cells(&tree, other, "ibm,dma-window")[0], DmaWindow::of_bridge(1).number());
    assert_ne!(cells(&tree, other, "interrupt-map")[5], cells(&tree, BRIDGE, "interrupt-map")[5]);
    let nodes = |tree: &Tree, path: &str| tree.has(&format!("{path}/ethernet@2"));
    assert!(nodes(&tree, BRIDGE) && nodes(&tree, other));
    assert_eq!(platform.rtas_calls().len(), 6);
    assert_eq!(*buses[1].resets.lock().unwrap(), 1);
}

#[test]
fn what_cannot_be_behind_a_bridge_is_named() {
    let error = |bus: MockBus| platform_of(&[Arc::new(bus)], Arc::default()).unwrap_err();
    let mut twice = MockBus::default().with(4, 0, block());
    twice.repeats = true;
    assert_eq!(error(twice).to_string(), "the PCI bus has the function 00:04.0 twice");
    let bridge = block().with_byte(0x0e, 0x81);
    let error_of_bridge = error(MockBus::default().with(4, 1, bridge));
    assert!(matches!(error_of_bridge, HostBridgeError::Bridge { .. }), "{error_of_bridge}");
    assert!(error_of_bridge.to_string().contains("00:04.1"));
    let absent = block().with_byte(0x00, 0xff).with_byte(0x01, 0xff);
    let error_of_absent = error(MockBus::default().with(4, 1, absent));
    assert!(matches!(error_of_absent, HostBridgeError::Absent { .. }), "{error_of_absent}");
    // So many messages no machine has.
    let mut many = MockBus::default();
    for device in 0..32 {
        for function in 0..8 {
            let large = MockFunction::new(1, 0).with_bar(0, 0, 0x8000).with_msi_x(2048, 0, 0);
            many = many.with(device, function, large);
        }
    }
    assert!(matches!(error(many), HostBridgeError::Interrupt(_)));
    // A device of several functions is none.
    let several = MockBus::default().with(4, 0, block().with_byte(0x0e, 0x80));
    assert_eq!(Guest::new(several).bus.functions(), [address(4, 0)]);
}
