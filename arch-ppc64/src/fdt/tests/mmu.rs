//! What the cores say of radix trees and hashed page tables.

use super::*;
use crate::cas::{Mmu, Support};
use crate::hpt::Order;

const CPU: &str = "/cpus/PowerPC,POWER9@0";

fn machine(mmu: Support<Mmu>) -> Machine {
    Machine::new(&TestConfig::default()).unwrap().with_mmu(mmu)
}

fn tree_of(machine: &Machine) -> Tree {
    Tree::parse(&build(machine, &start(machine)).unwrap())
}

/// Of a machine with 512 MiB: a 128th of it are 4 MiB.
#[test]
fn a_core_says_how_large_the_table_is() {
    let size = |machine: &Machine| tree_of(machine).cells(CPU, "ibm,pft-size");
    assert_eq!(size(&machine(Support::Only(Mmu::Radix))), [0, 0]);
    assert_eq!(size(&machine(Support::Only(Mmu::Hash))), [0, 22]);
    assert_eq!(size(&machine(Support::Either)), [0, 22]);
    let order = |order| Order::new(order).unwrap();
    for (least, most, made) in [(18, 20, 20), (24, 46, 24), (18, 46, 22)] {
        let orders = order(least)..=order(most);
        assert_eq!(size(&machine(Support::Either).with_hpt_orders(orders)), [0, made]);
    }
}

#[test]
fn a_core_without_radix_does_not_speak_of_it() {
    for (mmu, has_radix) in [
        (Support::Only(Mmu::Radix), true),
        (Support::Either, true),
        (Support::Only(Mmu::Hash), false),
    ] {
        let tree = tree_of(&machine(mmu));
        let encodings = tree.value(CPU, "ibm,processor-radix-AP-encodings");
        assert_eq!(encodings.is_some(), has_radix, "{mmu}");
        // Two bytes before the attributes.
        let features = tree.value(CPU, "ibm,pa-features").unwrap();
        assert_eq!(features[2 + 40], if has_radix { 0x80 } else { 0 }, "{mmu}");
    }
}
