//! The interrupt controller's node, before and after negotiation.

use super::*;
use crate::cas::InterruptMode::{self, Xics, Xive};
use crate::cas::Support;

const XICS: &str = "/interrupt-controller";
const XIVE: &str = "/interrupt-controller@60302031b0000";
const EITHER: Support<InterruptMode> = Support::Either;

fn machine(interrupts: Support<InterruptMode>, x_vof: bool) -> Machine {
    let config = TestConfig {
        cpus: Cpus::new(3, CpuModel::Power9).with_max(5),
        x_vof,
        ..TestConfig::default()
    };
    Machine::new(&config).unwrap().with_interrupts(interrupts)
}

fn tree_of(machine: &Machine, decision: Option<Decision>) -> Tree {
    let start = start(machine).with_decision(decision);
    Tree::parse(&build(machine, &start).unwrap())
}

fn decision(machine: &Machine, interrupts: InterruptMode) -> Decision {
    let usual = Decision::default_for(&Platform::of(machine));
    Decision { interrupts, ..usual }
}

/// What the tree says of the controller: its properties, in no order, and that of the root.
fn controller(tree: &Tree, path: &str) -> Vec<(String, Vec<u8>)> {
    const RESERVED: &str = "ibm,plat-res-int-priorities";
    let mut properties = tree.node(path).unwrap().properties.clone();
    properties.extend(tree.value("/", RESERVED).map(|value| (RESERVED.into(), value.to_vec())));
    properties.sort();
    properties
}

/// What Linux reads (`sysdev/xive/spapr.c`).
#[test]
fn xive_says_where_its_pages_are() {
    for x_vof in [true, false] {
        let tree = tree_of(&machine(Support::Only(Xive), x_vof), None);
        assert!(tree.node(XICS).is_none());
        assert_eq!(tree.strings(XIVE, "compatible"), ["ibm,power-ivpe"]);
        assert_eq!(tree.strings(XIVE, "device_type"), ["power-ivpe"]);
        // The page of programs, then that of operating systems.
        let pages = [0x6_0302, 0x031b_0000, 0, 0x1_0000, 0x6_0302, 0x031a_0000, 0, 0x1_0000];
        assert_eq!(tree.cells(XIVE, "reg"), pages);
        assert_eq!(tree.cells(XIVE, "ibm,xive-eq-sizes"), [16]);
        assert_eq!(tree.cells(XIVE, "ibm,xive-lisn-ranges"), [0, 5]);
        assert_eq!(tree.cells(XIVE, "#interrupt-cells"), [2]);
        assert_eq!(tree.cells(XIVE, "#address-cells"), [0]);
        assert_eq!(tree.value(XIVE, "interrupt-controller"), Some(&[][..]));
        assert_eq!(tree.cells("/", "ibm,plat-res-int-priorities"), [7, 0xf8]);
        let support = tree.value("/chosen", "ibm,arch-vec-5-platform-support").unwrap();
        assert_eq!(support[..2], [23, 0x40]);
        let agreed = tree.value("/chosen", "ibm,architecture-vec-5").map(|vector| vector[23]);
        assert_eq!(agreed, (!x_vof).then_some(0x40));
    }
}

/// A guest that has a choice makes it in the middle of its start: devices go on naming the
/// controller by the same phandle.
#[test]
fn node_is_that_of_the_agreement() {
    let machine = machine(EITHER, true);
    let before = tree_of(&machine, None);
    assert!(before.node(XIVE).is_none());
    assert_eq!(
        before.value("/chosen", "ibm,arch-vec-5-platform-support").unwrap()[..2],
        [23, 0x80]
    );
    let xive = tree_of(&machine, Some(decision(&machine, Xive)));
    assert!(xive.node(XICS).is_none());
    assert_eq!(xive.value("/chosen", "ibm,architecture-vec-5").unwrap()[23], 0x40);
    let only = self::machine(Support::Only(Xive), true);
    assert_eq!(controller(&xive, XIVE), controller(&tree_of(&only, None), XIVE));
    let parent = |tree: &Tree| tree.cells("/vdevice/vty@71000000", "interrupt-parent");
    assert_eq!(parent(&xive), xive.cells(XIVE, "phandle"));
    assert_eq!(parent(&xive), before.cells(XICS, "phandle"));
    // The last agreement counts, whatever was before.
    let platform = Platform::of(&machine);
    let mut tree = outline(&machine).unwrap().tree(&start(&machine)).unwrap();
    for mode in [Xive, Xive, Xics, Xics, Xive, Xics] {
        tree.apply(&decision(&machine, mode).changes(&platform)).unwrap();
        let now = Tree::parse(&tree.flatten(SLACK_BYTES).unwrap());
        let (path, like) = match mode {
            Xive => (XIVE, &xive),
            Xics => (XICS, &before),
        };
        assert_eq!(controller(&now, path), controller(like, path), "{mode}");
    }
}

/// Nobody asks a guest with a flat tree: it gets what every guest can do.
#[test]
fn flat_tree_has_xics_where_there_is_a_choice() {
    let tree = tree_of(&machine(EITHER, false), None);
    assert_eq!(tree.strings(XICS, "compatible"), ["IBM,ppc-xicp"]);
    assert!(tree.node(XIVE).is_none());
    assert_eq!(tree.value("/", "ibm,plat-res-int-priorities"), None);
    assert_eq!(tree.value("/chosen", "ibm,architecture-vec-5").unwrap()[23], 0);
}
