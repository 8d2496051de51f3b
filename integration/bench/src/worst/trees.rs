//! Trees that make calls slow.

use arch_ppc64::Machine;
use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use vm_fdt::FdtWriter;
use vof_device::{DeviceTree, limits};

use crate::machine::{self, Largest};

/// Phandles: nodes are counted as they are written.
pub(super) const CHOSEN: u32 = 2;
pub(super) const RTAS: u32 = 4;
pub(super) const MEMORY: u32 = 5;
pub(super) const FIRST_DEVICE: u32 = 10;

/// A tree with what services look for, and with the nodes that `devices` writes.
fn tree(devices: impl FnOnce(&mut FdtWriter, &mut u32) -> Result<(), vm_fdt::Error>) -> DeviceTree {
    let write = || {
        let mut fdt = FdtWriter::new()?;
        let mut phandle = 0;
        let mut begin = |fdt: &mut FdtWriter, name: &str| {
            phandle += 1;
            let node = fdt.begin_node(name)?;
            fdt.property_phandle(phandle)?;
            Ok::<_, vm_fdt::Error>(node)
        };
        let root = begin(&mut fdt, "")?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        for name in ["chosen", "aliases", "rtas"] {
            let node = begin(&mut fdt, name)?;
            fdt.end_node(node)?;
        }
        let memory = begin(&mut fdt, "memory@0")?;
        fdt.property_string("device_type", "memory")?;
        fdt.end_node(memory)?;
        let vdevice = begin(&mut fdt, "vdevice")?;
        let vty = begin(&mut fdt, "vty@71000000")?;
        fdt.end_node(vty)?;
        fdt.end_node(vdevice)?;
        let cpus = begin(&mut fdt, "cpus")?;
        let cpu = begin(&mut fdt, "PowerPC,POWER9@0")?;
        fdt.property_string("device_type", "cpu")?;
        fdt.end_node(cpu)?;
        fdt.end_node(cpus)?;
        devices(&mut fdt, &mut phandle)?;
        fdt.end_node(root)?;
        fdt.finish()
    };
    let blob = write().expect("the tree is a valid one");
    DeviceTree::from_blob(&blob).expect("the tree is a valid one")
}

/// So many nodes with eleven properties each.
fn siblings(count: u32) -> DeviceTree {
    tree(|fdt, phandle| {
        for unit in 0..count {
            *phandle += 1;
            let node = fdt.begin_node(&format!("ibm,device@{unit:x}"))?;
            fdt.property_phandle(*phandle)?;
            for name in ["reg", "ibm,my-drc-index", "interrupt-parent", "ibm,loc-index"] {
                fdt.property_u32(name, unit)?;
            }
            for name in ["compatible", "status", "ibm,loc-code", "ibm,associativity", "interrupts"]
            {
                fdt.property_string(name, "0123456789abcdef")?;
            }
            fdt.property_string("device_type", "device")?;
            fdt.end_node(node)?;
        }
        Ok(())
    })
}

pub(super) fn small() -> DeviceTree {
    siblings(10)
}

pub(super) fn middle() -> DeviceTree {
    siblings(990)
}

pub(super) fn large() -> DeviceTree {
    siblings(100_000)
}

/// Nodes as deep as they can be, with names as long as they can be: longer than vm-fdt writes.
pub(super) fn deep() -> DeviceTree {
    let cells =
        |cells: &[u32]| cells.iter().flat_map(|cell| cell.to_be_bytes()).collect::<Vec<u8>>();
    let mut structure = Vec::new();
    for level in 0..=limits::MAX_DEPTH as u32 {
        structure.extend(cells(&[1]));
        let len = if level == 0 { 0 } else { limits::MAX_NODE_NAME_BYTES };
        structure.extend(vec![b'd'; len]);
        structure.push(0);
        structure.resize(structure.len().next_multiple_of(4), 0);
        // The only property, `phandle`, has the first name of the strings block.
        structure.extend(cells(&[3, 4, 0, level + 1]));
    }
    structure.extend(cells(&vec![2; limits::MAX_DEPTH + 1]));
    structure.extend(cells(&[9]));
    let (header, reservations, strings) = (40, 16, b"phandle\0");
    let (structure_at, len) = (header + reservations, structure.len() as u32);
    let (strings_at, strings_len) = (structure_at + len, strings.len() as u32);
    let total = strings_at + strings_len;
    let mut blob = cells(&[0xd00d_feed, total, structure_at, strings_at, header, 17, 16, 0]);
    blob.extend(cells(&[strings_len, len, 0, 0, 0, 0]));
    blob.extend(structure);
    blob.extend(strings);
    DeviceTree::from_blob(&blob).expect("the tree is a valid one")
}

/// Siblings that share units and names, so that whole names have to be compared.
pub(super) fn wide() -> DeviceTree {
    tree(|fdt, phandle| {
        for unit in 0..50_000 {
            for name in ["x,device", "y,other"] {
                *phandle += 1;
                let node = fdt.begin_node(&format!("{name}@{unit:x}"))?;
                fdt.property_phandle(*phandle)?;
                fdt.end_node(node)?;
            }
        }
        // The unit of another name: whose manufacturer is left out has to be looked for.
        *phandle += 1;
        let node = fdt.begin_node("z,device@c350")?;
        fdt.property_phandle(*phandle)?;
        fdt.end_node(node)?;
        Ok(())
    })
}

/// `ibm,dynamic-memory` of 16 TiB: 65,536 blocks of 24 bytes.
pub(super) fn largest_list() -> DeviceTree {
    let mut tree = small();
    let memory = tree.find("/memory@0").expect("there is one");
    tree.set_property(memory, "ibm,dynamic-memory", &vec![1; 4 + 65_536 * 24]).expect("it is set");
    tree
}

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(1 << 30).with_hotplug(512 << 30)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(950, Default::default())
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("console=hvc0")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

/// A pseries machine of nearly 1,000 nodes.
pub(super) fn pseries_machine() -> Machine {
    Machine::new(&Config).expect("it is a machine")
}

/// Its tree.
pub(super) fn pseries() -> DeviceTree {
    tree_of(&pseries_machine())
}

/// The largest pseries machine, with all its memory in the list of blocks.
pub(super) fn largest_machine() -> Machine {
    Largest { threads: 1, hotplug: true }.machine()
}

/// Its tree.
pub(super) fn largest_pseries() -> DeviceTree {
    tree_of(&largest_machine())
}

fn tree_of(machine: &Machine) -> DeviceTree {
    let blob = machine::blob(&machine::tree(&machine::platform(machine)));
    DeviceTree::from_blob(&blob).expect("the tree is a valid one")
}
