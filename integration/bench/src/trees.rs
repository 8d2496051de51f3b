//! Trees to measure on.

use vm_fdt::FdtWriter;

/// Properties of each node, besides the `name` that a client sees.
pub const PROPERTIES: usize = 12;

/// Their names.
pub const NAMES: [&str; PROPERTIES] = [
    "phandle",
    "device_type",
    "compatible",
    "reg",
    "status",
    "#address-cells",
    "#size-cells",
    "interrupts",
    "interrupt-parent",
    "ibm,associativity",
    "ibm,my-drc-index",
    "ibm,loc-code",
];

/// Children of a node that has any: so many that links between siblings matter, so few that a
/// large tree is as deep as a machine's is.
const CHILDREN: usize = 16;

/// A flattened tree of `nodes` nodes, each with [`PROPERTIES`] properties: what a device of a
/// pseries machine has, with values of 4 to 27 bytes.
///
/// # Panics
/// If `nodes` is 0, or more than phandles can tell apart.
pub fn blob(nodes: usize) -> Vec<u8> {
    assert!(nodes > 0, "a tree has a root");
    let mut fdt = FdtWriter::new().expect("the tree is a valid one");
    write_node(&mut fdt, 0, nodes, &mut 0).expect("the tree is a valid one");
    fdt.finish().expect("the tree is a valid one")
}

/// The phandle of a node: they are counted depth first, as a machine's builder does.
pub fn phandle(place: usize) -> u32 {
    u32::try_from(place + 1).expect("a phandle is one cell")
}

/// A root, and a memory node with the phandle behind the root's, for free memory to be listed in.
///
/// # Panics
/// Never: what it writes is valid.
pub fn memory_blob() -> Vec<u8> {
    let write = || {
        let mut fdt = FdtWriter::new()?;
        let root = fdt.begin_node("")?;
        fdt.property_phandle(phandle(0))?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        let memory = fdt.begin_node("memory@0")?;
        fdt.property_phandle(phandle(1))?;
        fdt.property_string("device_type", "memory")?;
        fdt.end_node(memory)?;
        fdt.end_node(root)?;
        fdt.finish()
    };
    write().expect("the tree is a valid one")
}

/// Writes a node and all below it; the children of number n are 16n + 1 to 16n + 16.
fn write_node(
    fdt: &mut FdtWriter,
    number: usize,
    nodes: usize,
    written: &mut usize,
) -> Result<(), vm_fdt::Error> {
    let unit = number as u32;
    let name = if number == 0 { String::new() } else { format!("device@{unit:x}") };
    let node = fdt.begin_node(&name)?;
    // The first, as in a machine's tree: libfdt goes through all that comes before it.
    fdt.property_phandle(phandle(*written))?;
    *written += 1;
    fdt.property_string("device_type", "device")?;
    fdt.property_string("compatible", "IBM,pseries-device")?;
    fdt.property_array_u32("reg", &[0, unit, 0, 0x1000])?;
    fdt.property_string("status", "okay")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    fdt.property_array_u32("interrupts", &[unit, 0])?;
    fdt.property_u32("interrupt-parent", 1)?;
    fdt.property_array_u32("ibm,associativity", &[4, 0, 0, 0, unit])?;
    fdt.property_u32("ibm,my-drc-index", 0x1000_0000 | unit)?;
    fdt.property_string("ibm,loc-code", &format!("U9009.42A.1234567-C{unit:08}"))?;
    for child in (number * CHILDREN + 1..).take(CHILDREN).take_while(|&child| child < nodes) {
        write_node(fdt, child, nodes, written)?;
    }
    fdt.end_node(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vof_device::DeviceTree;

    #[test]
    fn trees_have_the_nodes_and_properties_they_say() {
        for nodes in [1, 2, 17, 18, 500] {
            let tree = DeviceTree::from_blob(&blob(nodes)).unwrap();
            assert_eq!(tree.nodes().len(), nodes);
            for node in tree.nodes() {
                let names: Vec<&str> = tree.properties(node).map(|(name, _)| name).collect();
                assert_eq!(names, NAMES);
            }
            let last = tree.node_by_phandle(phandle(nodes - 1));
            assert!(last.is_some());
        }
    }
}
