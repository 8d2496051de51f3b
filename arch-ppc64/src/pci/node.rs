//! The nodes of a bridge and of its functions (LoPAPR §B.6.5.1; IEEE 1275, PCI bus binding).

use std::sync::Arc;

use super::bars::{Bar, Space};
use super::config_space::{
    ConfigSpace, DEVICE_ID, MAX_LATENCY, MIN_GRANT, PCI_EXPRESS, REVISION_ID, STATUS,
    STATUS_DEVSEL_SHIFT, SUBSYSTEM_ID, SUBSYSTEM_VENDOR_ID, VENDOR_ID,
};
use super::dma_window::WINDOW_BYTES;
use super::function::Function;
use super::names::node_name;
use super::{PciAddress, PciBus, PciPins, PciWindow, PciWindows};
use crate::fdt::{FdtError, Phandle, Tree};
use crate::hotplug::{Listed, PciSlot, list, number_of, slot_connector};

/// The first cell of a PCI address (PCI bus binding §2.2.1.1): the space that the address is in, and
/// whether it is what the function has, or where that could be.
const MEMORY_32: u32 = 2 << 24;
const MEMORY_64: u32 = 3 << 24;
const IO: u32 = 1 << 24;
const PREFETCHABLE: u32 = 1 << 30;
const NOT_RELOCATABLE: u32 = 1 << 31;

/// The bits of an interrupt specifier's address and number that tell pins apart: the device's, and
/// all of the pin's.
const INTERRUPT_MAP_MASK: [u32; 4] = [0xf800, 0, 0, u32::MAX];

/// The type of the connector of a slot: a number, as all types of hot plug slots; guests look for that
/// and for no other thing. This one is peers' (QEMU's).
const SLOT_TYPE: &str = "28";

/// How many messages each of the functions to come may have at least, whatever the others have.
const SLOT_MESSAGES: u32 = 64;

/// The pins of a device.
const PINS: std::ops::RangeInclusive<u8> = 1..=4;

/// Says outside of the bridge's node what guests have to know of any bridge.
pub(super) fn machine(tree: &mut Tree) -> Result<(), FdtError> {
    // `ibm,change-msi` has four outputs, and functions 3, 4 and 5 (LoPAPR §B.6.4.1).
    once(tree, "/rtas", "ibm,change-msix-capable")?;
    // Functions reach all RAM at its real addresses. Where the tree did not say so, guests would
    // use the window, and there is not much of it.
    once(tree, "/chosen", "linux,iommu-off")
}

/// The node of the bridge itself.
pub(super) fn bridge(
    tree: &mut Tree,
    path: &str,
    unit: u64,
    windows: &PciWindows,
) -> Result<(), FdtError> {
    let ranges = [(MEMORY_32, windows.memory_32), (MEMORY_64, windows.memory_64)];
    tree.node(path)?
        .text("device_type", &["pci"])?
        .text("compatible", &["IBM,Logical_PHB"])?
        .text("model", &["rust-vmm PCI host bridge"])?
        .doublewords("reg", &[unit, 0])?
        .cell("#address-cells", 3)?
        .cell("#size-cells", 2)?
        .cell("#interrupt-cells", 1)?
        .cells("bus-range", &[0, 0xff])?
        .cells("ranges", &ranges.map(range).concat())?
        .cell("ibm,pci-config-space-type", 1)?
        .flag("used-by-rtas")?
        .flag("64-bit-addressing")?
        .flag("ibm,extended-address")?;
    Ok(())
}

/// The window through which functions reach what the guest has mapped for them.
pub(super) fn dma(tree: &mut Tree, path: &str, number: u32) -> Result<(), FdtError> {
    let [high, low] = cells(WINDOW_BYTES);
    tree.existing(path)?
        .cell("ibm,#dma-address-cells", 2)?
        .cell("ibm,#dma-size-cells", 2)?
        .cells("ibm,dma-window", &[number, 0, 0, high, low])?;
    Ok(())
}

/// Where the pins of the functions lead to, and how many messages there can be.
pub(super) fn interrupts(
    tree: &mut Tree,
    path: &str,
    parent: Phandle,
    functions: &[Arc<Function>],
    pins: &PciPins,
    has_slots: bool,
) -> Result<(), FdtError> {
    let mut devices: Vec<u8> = functions.iter().map(|function| function.address.device()).collect();
    devices.dedup();
    if has_slots {
        devices = (0..PciSlot::COUNT).collect();
    }
    let mut map = Vec::new();
    for device in devices {
        for pin in PINS {
            map.extend([u32::from(device) << 11, 0, 0, pin.into(), parent.cell()]);
            map.extend(pins.specifier(device, pin));
        }
    }
    // Guests share the number out evenly, and a function may have as many as it can write whatever
    // the others have: so it is the share of the largest for each.
    let mut share = functions.iter().map(|function| function.most_messages()).max().unwrap_or(0);
    let mut sharers = functions.len() as u32;
    if has_slots {
        share = share.max(SLOT_MESSAGES);
        sharers = sharers.max(PciSlot::COUNT.into());
    }
    let mut node = tree.existing(path)?;
    node.cell("ibm,pe-total-#msi", share.saturating_mul(sharers))?;
    if !map.is_empty() {
        node.cells("interrupt-map-mask", &INTERRUPT_MAP_MASK)?.cells("interrupt-map", &map)?;
    }
    Ok(())
}

/// The slots of a bridge: each is a connector, and a power domain, of its own (§13.6).
pub(super) fn slots(tree: &mut Tree, path: &str, bridge: u8) -> Result<(), FdtError> {
    let slots = (0..PciSlot::COUNT).map(|device| {
        let index = slot_connector(bridge, device);
        let (name, power_domain) = (location(bridge, device), number_of(index));
        Listed { index, name, kind: SLOT_TYPE, power_domain }
    });
    list(&mut tree.existing(path)?, slots)
}

/// In which slot a function is.
pub(super) fn in_slot(tree: &mut Tree, path: &str, bridge: u8, device: u8) -> Result<(), FdtError> {
    tree.existing(path)?
        .cell("ibm,my-drc-index", slot_connector(bridge, device))?
        .text("ibm,loc-code", &[&location(bridge, device)])?;
    Ok(())
}

/// What a slot is called: the location code of a card (§12.3), and the name of its connector.
fn location(bridge: u8, device: u8) -> String {
    format!("C{}", number_of(slot_connector(bridge, device)))
}

/// The node of a function: what its configuration space says, and what the bus adds. Its path.
pub(super) fn function(
    tree: &mut Tree,
    bridge: &str,
    function: &Function,
    bus: &dyn PciBus,
    windows: &PciWindows,
) -> Result<String, FdtError> {
    let address = function.address;
    let space = ConfigSpace::new(bus, address);
    let ids = Ids::of(&space);
    let compatible = ids.compatible();
    let compatible: Vec<&str> = compatible.iter().map(String::as_str).collect();
    let path = function_path(bridge, address, bus);
    let mut node = tree.node(&path)?;
    node.text("compatible", &compatible)?
        .cell("vendor-id", ids.vendor.into())?
        .cell("device-id", ids.device.into())?
        .cell("revision-id", ids.revision.into())?
        .cell("class-code", ids.class_code)?;
    if let Some((vendor, subsystem)) = ids.subsystem {
        node.cell("subsystem-vendor-id", vendor.into())?.cell("subsystem-id", subsystem.into())?;
    }
    node.cell("min-grant", space.u8(MIN_GRANT).into())?
        .cell("max-latency", space.u8(MAX_LATENCY).into())?
        .cell("devsel-speed", u32::from(space.u16(STATUS) >> STATUS_DEVSEL_SHIFT & 3))?
        .cells("reg", &reg(address, &function.bars))?;
    let assigned = assigned(address, &function.bars, &space, windows);
    if !assigned.is_empty() {
        node.cells("assigned-addresses", &assigned)?;
    }
    if function.pin != 0 {
        node.cell("interrupts", function.pin.into())?;
    }
    if let Some(msi) = function.msi {
        node.cell("ibm,req#msi", msi.vectors)?;
    }
    if let Some(msi_x) = function.msi_x {
        node.cell("ibm,req#msi-x", msi_x.entries)?;
    }
    if space.capability(PCI_EXPRESS).is_some() {
        node.cell("ibm,pci-config-space-type", 1)?;
    }
    bus.describe(address, &mut node)?;
    Ok(path)
}

/// The path of a function's node: its name, and its device and function numbers (PCI bus binding
/// §2.2.1.3).
pub(super) fn function_path(bridge: &str, address: PciAddress, bus: &dyn PciBus) -> String {
    let ids = Ids::of(&ConfigSpace::new(bus, address));
    let name = node_name(ids.class_code, ids.vendor, ids.device);
    match address.function() {
        0 => format!("{bridge}/{name}@{:x}", address.device()),
        number => format!("{bridge}/{name}@{:x},{number:x}", address.device()),
    }
}

/// What tells drivers which function it is.
struct Ids {
    vendor: u16,
    device: u16,
    revision: u8,
    class_code: u32,
    /// Vendor and subsystem, where there are any.
    subsystem: Option<(u16, u16)>,
}

impl Ids {
    fn of(space: &ConfigSpace<'_>) -> Self {
        let subsystem = (space.u16(SUBSYSTEM_VENDOR_ID), space.u16(SUBSYSTEM_ID));
        Self {
            vendor: space.u16(VENDOR_ID),
            device: space.u16(DEVICE_ID),
            revision: space.u8(REVISION_ID),
            class_code: space.class_code(),
            subsystem: (subsystem.0 != 0).then_some(subsystem),
        }
    }

    /// From the most specific to the least (PCI bus binding §4.1.1, "compatible").
    fn compatible(&self) -> Vec<String> {
        let Self { vendor, device, revision, class_code, subsystem } = self;
        let mut names = Vec::new();
        if let Some((by, subsystem)) = subsystem {
            let whole = format!("pci{vendor:x},{device:x}.{by:x}.{subsystem:x}");
            names.extend([format!("{whole}.{revision:x}"), whole]);
            names.push(format!("pci{by:x},{subsystem:x}"));
        }
        let device = format!("pci{vendor:x},{device:x}");
        names.extend([format!("{device}.{revision:x}"), device]);
        names.push(format!("pciclass,{class_code:06x}"));
        names.push(format!("pciclass,{:04x}", class_code >> 8));
        names
    }
}

/// The registers of a function: its configuration space, then each address that it needs, with its
/// size.
fn reg(address: PciAddress, bars: &[Bar]) -> Vec<u32> {
    let mut reg = vec![address.cell(), 0, 0, 0, 0];
    for bar in bars {
        let [high, low] = cells(bar.bytes);
        reg.extend([phys_hi(address, bar), 0, 0, high, low]);
    }
    reg
}

/// The addresses that a function has. None, unless all that is in memory space but its ROM has one:
/// of what is missing in a list, guests think that it is not there.
fn assigned(
    address: PciAddress,
    bars: &[Bar],
    space: &ConfigSpace<'_>,
    windows: &PciWindows,
) -> Vec<u32> {
    let mut assigned = Vec::new();
    for bar in bars.iter().filter(|bar| bar.space != Space::Io) {
        let at = bar.address(space);
        if windows.real(at, bar.bytes).is_some() {
            let ([at_high, at_low], [high, low]) = (cells(at), cells(bar.bytes));
            let phys_hi = phys_hi(address, bar) | NOT_RELOCATABLE;
            assigned.extend([phys_hi, at_high, at_low, high, low]);
        } else if !bar.is_rom() {
            return Vec::new();
        }
    }
    assigned
}

fn phys_hi(address: PciAddress, bar: &Bar) -> u32 {
    let space = match bar.space {
        Space::Io => IO,
        Space::Memory32 => MEMORY_32,
        Space::Memory64 => MEMORY_64,
    };
    let prefetchable = if bar.is_prefetchable { PREFETCHABLE } else { 0 };
    space | prefetchable | address.cell() | u32::from(bar.register)
}

/// Sets a flag, unless another bridge did.
fn once(tree: &mut Tree, path: &str, name: &str) -> Result<(), FdtError> {
    if tree.value(path, name).is_none() {
        tree.existing(path)?.flag(name)?;
    }
    Ok(())
}

fn range((space, window): (u32, PciWindow)) -> [u32; 7] {
    let [bus_high, bus_low] = cells(window.bus);
    let [high, low] = cells(window.start.0);
    let [bytes_high, bytes_low] = cells(window.bytes);
    [space, bus_high, bus_low, high, low, bytes_high, bytes_low]
}

/// The two halves of a number.
fn cells(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, number as u32]
}
