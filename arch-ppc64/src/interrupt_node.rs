//! The interrupt controller in the tree: one node, which is XICS's or XIVE's.

use crate::cas::decision::InterruptMode;
use crate::layout::{
    PAGE_BYTES, XIVE_LAST_PRIORITY, XIVE_OS_PAGE, XIVE_QUEUE_SHIFT, XIVE_USER_PAGE,
};
use crate::topology::CpuTopology;

/// The [id](crate::platform::Device::id) of the device, whichever it is.
pub(crate) const ID: &str = "interrupt-controller";

/// The name of XIVE's node, by its first page.
const XIVE_NAME: &str = "interrupt-controller@60302031b0000";
const _: () = assert!(XIVE_USER_PAGE.0 == 0x6_0302_031b_0000);
const XIVE_PATH: &str = "/interrupt-controller@60302031b0000";

const XICS_NAME: &str = "interrupt-controller";
const XICS_PATH: &str = "/interrupt-controller";

/// Where XIVE says which priorities guests must not use: in the root.
pub(crate) const RESERVED_PRIORITIES: &str = "ibm,plat-res-int-priorities";

/// Name of the node.
pub(crate) const fn name(mode: InterruptMode) -> &'static str {
    match mode {
        InterruptMode::Xics => XICS_NAME,
        InterruptMode::Xive => XIVE_NAME,
    }
}

/// Full path of the node.
pub(crate) const fn path(mode: InterruptMode) -> &'static str {
    match mode {
        InterruptMode::Xics => XICS_PATH,
        InterruptMode::Xive => XIVE_PATH,
    }
}

/// The properties of the node. Both have the same two cells of an interrupt: the number of the
/// source, and 0 for edge or 1 for level.
pub(crate) fn properties(
    mode: InterruptMode,
    topology: &CpuTopology,
) -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    let mut properties = match mode {
        // The presentation layer by hypercall, the sources by RTAS (LoPAPR §B.6.11).
        InterruptMode::Xics => vec![
            ("device_type", text("PowerPC-External-Interrupt-Presentation")),
            ("compatible", text("IBM,ppc-xicp")),
            // One range: numbers between those of cores are in it, too.
            ("ibm,interrupt-server-ranges", cells(&[0, topology.server_end()])),
        ],
        InterruptMode::Xive => vec![
            ("device_type", text("power-ivpe")),
            ("compatible", text("ibm,power-ivpe")),
            (
                "reg",
                [XIVE_USER_PAGE, XIVE_OS_PAGE]
                    .map(|page| [page.0.to_be_bytes(), PAGE_BYTES.to_be_bytes()].concat())
                    .concat(),
            ),
            ("ibm,xive-eq-sizes", cells(&[XIVE_QUEUE_SHIFT])),
            // For what CPUs tell each other: first number, and how many.
            ("ibm,xive-lisn-ranges", cells(&[0, topology.cpus()])),
        ],
    };
    properties.extend([
        ("interrupt-controller", vec![]),
        ("#address-cells", cells(&[0])),
        ("#interrupt-cells", cells(&[2])),
    ]);
    properties
}

/// The value of [`RESERVED_PRIORITIES`]: the first, and how many. 0xff is none.
pub(crate) fn reserved_priorities() -> Vec<u8> {
    let first = u32::from(XIVE_LAST_PRIORITY) + 1;
    cells(&[first, 0xff - first])
}

fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}
