//! The pseries machine, for tests of what its clients see.
#![allow(dead_code)] // No test needs all of it.

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::platform::outline;
use arch_ppc64::{Machine, fdt};
use vm_memory::GuestAddress;
use vof_device::DeviceTree;
use vof_device::test_utils::TestMachine;

/// How large a machine is.
pub(crate) struct Config {
    pub(crate) memory: Memory,
    pub(crate) boot_cpus: u32,
    pub(crate) max_cpus: u32,
}

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        self.memory
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(self.boot_cpus, Default::default()).with_max(self.max_cpus)
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("console=hvc0")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

/// The tree of a machine at its start of this number, with other randomness at each.
pub(crate) fn tree(machine: &Machine, boot_count: u8) -> DeviceTree {
    let start =
        fdt::Start::new(GuestAddress(0x40_0000), [boot_count; 32]).number(boot_count.into());
    DeviceTree::from_blob(&outline(machine).unwrap().blob(&start).unwrap()).unwrap()
}

/// A machine of twelve processors, with its own tree.
pub(crate) fn machine() -> TestMachine {
    let config = Config { memory: Memory::of_size(64 << 20), boot_cpus: 12, max_cpus: 12 };
    let machine = Machine::new(&config).unwrap();
    TestMachine::in_memory(tree(&machine, 1), machine.memory_map(), |builder| builder)
}
