//! Slots of a host bridge: devices that come and go, as Linux's tools (`drmgr`) have it.

use std::sync::RwLock;

use super::guest::{ALLOCATION, Guest, ISOLATION, Told, machine};
use super::*;
use crate::fdt::{FdtError, NodeBuilder, Start, Tree};
use crate::machine::tests::TestConfig;
use crate::pci::tests::{MockBus, MockFunction, block, network};
use crate::pci::{
    HostBridge, HostBridgeError, HostBridgeOptions, PciAddress, PciBus, PciPins, id_of,
};
use crate::platform::{NoInterrupts, PlatformBuilder};
use vm_memory::GuestAddress;

/// The connector of the device of that number.
const SLOT: u32 = 0x4000_0000;
const LAMP: u32 = 9002;
const BRIDGE: &str = "/pci@800000020000000";
/// The number of the bridge, as calls have it.
const UNIT: [u32; 2] = [0x0800_0000, 0x2000_0000];

/// A bus whose functions come and go.
#[derive(Default)]
pub(super) struct LiveBus(RwLock<MockBus>);

impl LiveBus {
    pub(super) fn change(&self, change: impl FnOnce(MockBus) -> MockBus) {
        let mut bus = self.0.write().unwrap();
        let before = std::mem::take(&mut *bus);
        *bus = change(before);
    }
}

impl PciBus for LiveBus {
    fn functions(&self) -> Vec<PciAddress> {
        self.0.read().unwrap().functions()
    }
    fn read_config(&self, function: PciAddress, register: u16, data: &mut [u8]) {
        self.0.read().unwrap().read_config(function, register, data);
    }
    fn write_config(&self, function: PciAddress, register: u16, data: &[u8]) {
        self.0.read().unwrap().write_config(function, register, data);
    }
    fn read_memory(&self, at: u64, data: &mut [u8]) {
        self.0.read().unwrap().read_memory(at, data);
    }
    fn write_memory(&self, at: u64, data: &[u8]) {
        self.0.read().unwrap().write_memory(at, data);
    }
    fn describe(&self, function: PciAddress, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        self.0.read().unwrap().describe(function, node)
    }
}

/// A machine with slots and no other room, or with slots besides.
pub(super) fn machine_with_slots(has_spare: bool) -> Machine {
    match has_spare {
        true => machine(1).with_slots(),
        false => Machine::new(&TestConfig { has_slots: true, ..TestConfig::default() }).unwrap(),
    }
}

/// A guest that has found a network card in slot 2.
fn guest() -> (Guest, Arc<LiveBus>) {
    let bus = Arc::new(LiveBus::default());
    bus.change(|bus| bus.with(2, 0, network()));
    let guest = Guest::with_bus(&machine_with_slots(false), Some(bus.clone()));
    (guest, bus)
}

/// What a VMM does: a device comes to the bus, its bridge has it, and the guest is told.
fn add(guest: &Guest, bus: &LiveBus, device: u8, function: MockFunction) {
    bus.change(|bus| bus.with(device, 0, function));
    guest.bridge.as_ref().unwrap().add(device).unwrap();
    guest.hotplug.plug(Resource::slot(0, device)).unwrap();
}

fn take_away(guest: &Guest, bus: &LiveBus, device: u8) {
    guest.bridge.as_ref().unwrap().remove(device);
    bus.change(|bus| bus.without(device));
}

fn tree(guest: &Guest) -> Tree {
    guest.platform.tree(&Start::new(GuestAddress(0x40_0000), [0; 32])).unwrap()
}

fn cells(value: &[u8]) -> Vec<u32> {
    value.chunks_exact(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
}

/// As `drmgr -a` does it, from its look at the slot to the node.
fn take(guest: &Guest, device: u8) -> Result<Told, i32> {
    let index = SLOT + u32::from(device);
    assert_eq!(guest.set(ISOLATION, index, 0), 0);
    assert_eq!(power(guest, device, 0), (0, 100));
    assert_eq!(guest.set(LAMP, index, 1), 0);
    if guest.sense(index) != 1 {
        return Err(0);
    }
    assert_eq!(power(guest, device, 100), (0, 100));
    match guest.set(ISOLATION, index, 1) {
        0 => guest.configure(index),
        status => Err(status),
    }
}

/// As `drmgr -r`, when the driver is gone.
fn give_back(guest: &Guest, device: u8) {
    let index = SLOT + u32::from(device);
    assert_eq!(guest.set(LAMP, index, 1), 0);
    assert_eq!(guest.set(ISOLATION, index, 0), 0);
    assert_eq!(power(guest, device, 0), (0, 100));
}

fn power(guest: &Guest, device: u8, level: u32) -> (i32, u32) {
    let (status, set) = guest.call("set-power-level", &[device.into(), level], 2);
    (status, set[0])
}

/// "ibm,drc-indexes" and the others of the bridge; "ibm,my-drc-index" and "ibm,loc-code" of what is in
/// a slot (§13.5.2, §13.6.2).
#[test]
fn slots_are_connectors_of_the_bridge() {
    let (guest, bus) = guest();
    // Where nobody plugs, there are none.
    let mut builder = PlatformBuilder::new(guest.platform.machine(), Arc::new(NoInterrupts));
    let pins = PciPins::claim(&mut builder, &id_of(0)).unwrap();
    let options = HostBridgeOptions::new(0, pins);
    let bridge = HostBridge::new(&mut builder, options, bus).unwrap();
    builder.add(Arc::new(bridge));
    let start = Start::new(GuestAddress(0x40_0000), [0; 32]);
    let other = builder.build().unwrap().tree(&start).unwrap();
    assert_eq!(other.value(BRIDGE, "ibm,drc-indexes"), None);
    assert_eq!(other.value(&format!("{BRIDGE}/ethernet@2"), "ibm,my-drc-index"), None);
    let tree = tree(&guest);
    let value = |name| tree.value(BRIDGE, name).unwrap().to_vec();
    let indexes: Vec<u32> = [32].into_iter().chain(SLOT..SLOT + 32).collect();
    assert_eq!(cells(&value("ibm,drc-indexes")), indexes);
    let domains: Vec<u32> = [32].into_iter().chain(0..32).collect();
    assert_eq!(cells(&value("ibm,drc-power-domains")), domains);
    assert!(value("ibm,drc-names").starts_with(b"\0\0\0\x20C0\0C1\0C2\0"));
    assert_eq!(value("ibm,drc-types"), [&b"\0\0\0\x20"[..], &b"28\0".repeat(32)].concat());
    let card = format!("{BRIDGE}/ethernet@2");
    assert_eq!(cells(tree.value(&card, "ibm,my-drc-index").unwrap()), [SLOT + 2]);
    assert_eq!(tree.value(&card, "ibm,loc-code"), Some(&b"C2\0"[..]));
    // Pins lead somewhere in every slot, and there are messages for all.
    assert_eq!(value("interrupt-map").len(), 32 * 4 * 7 * 4);
    assert_eq!(cells(&value("ibm,pe-total-#msi")), [32 * 64]);
    // Neither cores nor memory have connectors here.
    assert_eq!(tree.value("/cpus", "ibm,drc-indexes"), None);
    assert_eq!(tree.value("/", "ibm,drc-indexes"), None);
    assert!(tree.has("/event-sources/hot-plug-events"));
    assert!(guest.hotplug.resources().iter().all(|one| matches!(one, Resource::Slot(_))));
    assert_eq!(guest.cpu_state(0).0, 0);
}

#[test]
fn a_device_comes_and_goes_ten_times() {
    let (guest, bus) = guest();
    let (slot, index) = (Resource::slot(0, 3), SLOT + 3);
    let mut sources = Vec::new();
    for round in 0..10 {
        assert_eq!((guest.sense(index), guest.hotplug.state(slot)), (0, Some(PlugState::Absent)));
        // From round to round it is another device.
        let messages = if round % 2 == 0 { 4 } else { 3 };
        let function = MockFunction::new(0x1042, 0x01_0000)
            .with_bar(1, 0x00, 0x1000)
            .with_pin(1)
            .with_msi_x(messages, 1, 0x800);
        add(&guest, &bus, 3, function);
        assert_eq!(guest.lines.take(), 1);
        assert_eq!(guest.event().unwrap(), [5, 1, 2, 0, 0x40, 0, 0, 3]);
        assert_eq!(guest.hotplug.state(slot), Some(PlugState::Offered));
        let told = take(&guest, 3).unwrap();
        assert_eq!(guest.heard.take(), [("taken", slot)]);
        // As a machine that starts with it has it.
        let tree = tree(&guest);
        let path = format!("{BRIDGE}/{}", told.name);
        assert_eq!(told.name, "scsi@3");
        assert_eq!(told.value("ibm,phandle"), Some(&index.to_be_bytes()[..]));
        assert_eq!(told.value("ibm,my-drc-index"), Some(&index.to_be_bytes()[..]));
        let own = told.properties.iter().filter(|(name, _)| !name.ends_with("phandle"));
        let at_start = tree.properties_of(&path).filter(|(name, _)| !name.ends_with("phandle"));
        assert!(own.map(|(name, value)| (&**name, &**value)).eq(at_start));
        // Its interrupts are those that a device like it had here before.
        let call = [3 << 11, UNIT[0], UNIT[1]];
        let (status, source) =
            guest.call("ibm,query-interrupt-source-number", &[call[0], call[1], call[2], 0], 3);
        assert_eq!((status, source[1]), (0, 0), "the pin's");
        let change = [call[0], call[1], call[2], 4, 64, 1];
        // Its table has no address by now.
        assert_eq!(guest.call("ibm,change-msi", &change, 3).0, -1);
        sources.push(guest.platform.save_numbers());

        guest.hotplug.unplug(slot).unwrap();
        assert_eq!(guest.lines.take(), 1);
        assert_eq!(guest.event().unwrap(), [5, 2, 2, 0, 0x40, 0, 0, 3]);
        assert_eq!(guest.hotplug.state(slot), Some(PlugState::AskedBack));
        assert_eq!(guest.sense(index), 1);
        give_back(&guest, 3);
        assert_eq!(guest.heard.take(), [("released", slot)]);
        take_away(&guest, &bus, 3);
        // The bridge knows nothing of it.
        assert_eq!(guest.call("ibm,change-msi", &change, 3).0, -3);
    }
    assert!(sources[2..].iter().all(|numbers| *numbers == sources[1]), "numbers are used again");
}

/// Numbers are of slots: whatever comes and goes, and however often, they do not run out.
#[test]
fn any_number_of_devices_come_and_go() {
    let (guest, bus) = guest();
    let bridge = guest.bridge.as_ref().unwrap();
    let mut seen = None;
    for round in 0..10_000_u16 {
        // More than any device of this VMM has, which would be millions of numbers.
        let messages = 1 << (round % 12);
        let function = MockFunction::new(0x1042, 0x01_0000)
            .with_bar(1, 0x00, 0x1_0000)
            .with_msi_x(messages, 1, 0x800);
        bus.change(|bus| bus.with(3, 0, function));
        bridge.add(3).unwrap();
        take_away(&guest, &bus, 3);
        if round == 11 {
            seen = Some(guest.platform.save_numbers());
        }
    }
    assert_eq!(Some(guest.platform.save_numbers()), seen);
}

/// What a machine starts again with that has slots and no other room: its cores have no connectors.
#[test]
fn a_machine_with_slots_starts_again_with_all_its_cores() {
    let (guest, bus) = guest();
    add(&guest, &bus, 3, block());
    let machine = guest.platform.machine().clone();
    let again = machine.with_present(guest.hotplug.plugged()).unwrap();
    assert_eq!(again.cores().count(), 1);
    assert!(again.with_present([]).unwrap().cores().count() == 1);
}

/// "allocation-state" is of logical connectors, lamps and power domains are of slots (§13.5.3.4).
#[test]
fn indicators_are_of_the_connectors_that_have_them() {
    let bus = Arc::new(LiveBus::default());
    let guest = Guest::with_bus(&machine_with_slots(true), Some(bus.clone()));
    add(&guest, &bus, 1, block());
    let (slot, empty, core) = (SLOT + 1, SLOT + 2, 0x1000_0001);
    for state in [0, 1, 2] {
        assert_eq!(guest.set(ALLOCATION, slot, state), -3);
        assert_eq!(guest.set(ALLOCATION, empty, state), -3);
    }
    assert_eq!([0, 1, 2, 3, 4].map(|lamp| guest.set(LAMP, slot, lamp)), [0, 0, 0, 0, -3]);
    assert_eq!((guest.set(LAMP, empty, 1), guest.set(LAMP, core, 1)), (0, -3));
    // An empty slot is isolated, and cannot be anything else.
    assert_eq!((guest.set(ISOLATION, empty, 0), guest.set(ISOLATION, empty, 1)), (0, -3));
    assert_eq!(guest.configure(empty), Err(-9003));
    for none in [SLOT + 32, SLOT + 0x1000, 0x4fff_ffff, 0x5000_0001] {
        assert_eq!(guest.call("get-sensor-state", &[9003, none], 2).0, -3);
        for (indicator, state) in [(ISOLATION, 0), (ISOLATION, 1), (LAMP, 0), (ALLOCATION, 0)] {
            assert_eq!(guest.set(indicator, none, state), -3, "{none:#x}");
        }
        assert_eq!(guest.configure(none), Err(-3));
    }
    assert_eq!(guest.call("get-power-level", &[1], 2), (0, vec![100]));
    for domain in [32, 0x1000_0001, SLOT + 1, u32::MAX] {
        assert_eq!(guest.call("get-power-level", &[domain], 2).0, -3, "{domain:#x}");
        assert_eq!(guest.call("set-power-level", &[domain, 0], 2).0, -3);
    }
    // A core is not a physical thing: isolating it does not give it back.
    assert_eq!(guest.set(ISOLATION, core, 0), 0);
    assert_eq!(guest.heard.take(), []);
}

#[test]
fn what_is_isolated_stays_unless_it_was_asked_for() {
    let (guest, bus) = guest();
    let slot = Resource::slot(0, 2);
    give_back(&guest, 2);
    assert_eq!(guest.heard.take(), [("returned", slot)]);
    assert_eq!((guest.sense(SLOT + 2), guest.hotplug.state(slot)), (1, Some(PlugState::Offered)));
    // Before it is unisolated, its node is told to nobody.
    assert_eq!(guest.configure(SLOT + 2).unwrap().properties, []);
    assert_eq!(take(&guest, 2).unwrap().name, "ethernet@2");
    assert_eq!(guest.heard.take(), [("taken", slot)]);
    give_back(&guest, 2);
    // As it is not the guest's, it is had at once.
    guest.hotplug.unplug(slot).unwrap();
    assert_eq!(guest.heard.take(), [("returned", slot), ("released", slot)]);
    take_away(&guest, &bus, 2);
    assert_eq!(take(&guest, 2), Err(0));
    assert!(!tree(&guest).has(&format!("{BRIDGE}/ethernet@2")));
}

#[test]
fn a_device_goes_at_any_moment_of_its_coming() {
    for pieces in 0..30 {
        let (guest, bus) = guest();
        let slot = Resource::slot(0, 31);
        add(&guest, &bus, 31, block());
        assert_eq!(guest.set(ISOLATION, SLOT + 31, 1), 0);
        guest.ram().write_be_u32(GuestAddress(0x9000), SLOT + 31).unwrap();
        let status = (0..pieces)
            .map(|_| guest.status("ibm,configure-connector", &[0x9000, 0]))
            .take_while(|&status| status > 0)
            .count();
        guest.hotplug.unplug(slot).unwrap();
        assert_eq!(guest.hotplug.state(slot), Some(PlugState::AskedBack), "{status} pieces");
        // It goes on with what it was at, and learns of the wish.
        assert_eq!(guest.event().unwrap()[1], 2);
        guest.heard.take();
        give_back(&guest, 31);
        assert_eq!(guest.heard.take(), [("released", slot)]);
        take_away(&guest, &bus, 31);
        assert_eq!(guest.status("ibm,configure-connector", &[0x9000, 0]), -9003);
    }
}

/// "Return the next sibling" (§13.5.3.5): a device of two functions is in one slot.
#[test]
fn a_device_comes_with_all_its_functions() {
    let (guest, bus) = guest();
    bus.change(|bus| bus.with(4, 0, block()).with(4, 3, network()));
    guest.bridge.as_ref().unwrap().add(4).unwrap();
    guest.hotplug.plug(Resource::slot(0, 4)).unwrap();
    let told = take(&guest, 4).unwrap();
    assert_eq!((&*told.name, &*told.siblings), ("scsi@4", &["ethernet@4,3".to_owned()][..]));
    let indexes = told.properties.iter().filter(|(name, _)| name == "ibm,my-drc-index");
    assert!(indexes.map(|(_, value)| cells(value)).eq([[SLOT + 4], [SLOT + 4]]));
    // Each node has a phandle of its own, which is that of no other slot.
    add(&guest, &bus, 5, block());
    let next = take(&guest, 5).unwrap();
    let all = told.properties.iter().chain(&next.properties);
    let phandles = all.filter(|(name, _)| name == "ibm,phandle").map(|(_, value)| value);
    let distinct: BTreeSet<_> = phandles.collect();
    assert_eq!(distinct.len(), 3, "{distinct:?}");
}

#[test]
fn what_cannot_be_behind_the_bridge_is_refused() {
    let (guest, bus) = guest();
    let bridge = guest.bridge.as_ref().unwrap();
    let absent = bridge.add(7).unwrap_err();
    assert!(matches!(absent, HostBridgeError::Absent { .. }), "{absent}");
    assert!(matches!(bridge.add(200), Err(HostBridgeError::Absent { .. })));
    let present = bridge.add(2).unwrap_err();
    assert_eq!(present.to_string(), "the PCI function 00:02.0 is there already");
    bus.change(|bus| bus.with(7, 0, block()).with(7, 1, block().with_byte(0x0e, 1)));
    assert!(matches!(bridge.add(7), Err(HostBridgeError::Bridge { .. })));
    assert_eq!(bridge.devices().into_iter().collect::<Vec<_>>(), [2]);
    // A VMM that plugs what no bridge has: there is nothing to be told of it.
    guest.hotplug.plug(Resource::slot(0, 9)).unwrap();
    assert_eq!(take(&guest, 9), Err(-1));
    assert!(guest.hotplug.plug(Resource::slot(1, 0)).is_err());
    assert!(guest.hotplug.plug(Resource::slot(0, 32)).is_err());
}

/// The machine that takes a state up has the same devices in the same slots, and the sources of all
/// that ever were.
#[cfg(feature = "serde")]
#[test]
fn slots_outlast_a_save() {
    let (guest, bus) = guest();
    add(&guest, &bus, 3, block());
    take(&guest, 3).unwrap();
    add(&guest, &bus, 4, network());
    add(&guest, &bus, 5, block());
    guest.hotplug.unplug(Resource::slot(0, 5)).unwrap();
    take_away(&guest, &bus, 5);
    guest.hotplug.unplug(Resource::slot(0, 2)).unwrap();
    let saved = crate::platform::SaveState::save(&guest.hotplug).unwrap();
    let other = Guest::with_bus(&machine_with_slots(false), Some(bus.clone()));
    crate::platform::SaveState::restore(&other.hotplug, 1, &saved).unwrap();
    for (device, state) in
        [(2, PlugState::AskedBack), (3, PlugState::InUse), (4, PlugState::Offered)]
    {
        assert_eq!(other.hotplug.state(Resource::slot(0, device)), Some(state), "{device}");
    }
    assert_eq!(crate::platform::SaveState::save(&other.hotplug).unwrap(), saved);
    // Not into a machine without one of them, nor with one more.
    for odd in [bus_with(&[2, 3]), bus_with(&[2, 3, 4, 5])] {
        let other = Guest::with_bus(&machine_with_slots(false), Some(odd));
        assert!(crate::platform::SaveState::restore(&other.hotplug, 1, &saved).is_err());
    }
}

#[cfg(feature = "serde")]
fn bus_with(devices: &[u8]) -> Arc<LiveBus> {
    let bus = Arc::new(LiveBus::default());
    devices.iter().for_each(|&device| bus.change(|bus| bus.with(device, 0, block())));
    bus
}
