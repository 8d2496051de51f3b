//! The pseries machine, for tests of what its clients see.

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::{Machine, fdt};
use vm_memory::GuestAddress;
use vof_device::DeviceTree;
use vof_device::test_utils::TestMachine;

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(64 << 20)
    }

    fn cpus(&self) -> Cpus {
        Cpus { boot: 12, max: 12, model: Default::default() }
    }

    fn boot(&self) -> Boot<'_> {
        Boot { cmdline: "console=hvc0" }
    }

    fn x_vof(&self) -> bool {
        true
    }
}

/// A machine of twelve processors, with its own tree.
pub(crate) fn machine() -> TestMachine {
    let machine = Machine::new(&Config).unwrap();
    let start = fdt::Start {
        entry: GuestAddress(0x40_0000),
        entry_is_64bit: true,
        initrd: None,
        boot_count: 1,
        rng_seed: [7; 32],
        flat_rtas: None,
    };
    let tree = DeviceTree::from_blob(&fdt::build(&machine, &start).unwrap()).unwrap();
    TestMachine::new(tree, machine.memory_bytes(), |builder| builder)
}
