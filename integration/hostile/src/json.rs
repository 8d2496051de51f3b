//! Configuration files: what validates is a machine with a tree and a client interface.

use std::path::Path;
use std::sync::Arc;

use arch_ppc64::cas;
use arch_ppc64::config::MachineConfig;
use arch_ppc64::fdt::Start;
use arch_ppc64::layout::{
    MAX_CMDLINE_BYTES, MAX_CPUS, MAX_MEMORY_BYTES, MIN_MEMORY_BYTES, PAGE_BYTES, VTY_PATH,
};
use arch_ppc64::platform::outline;
use arch_ppc64::{Machine, NoConsole};
use pseries_vmm::config::VmConfig;
use vm_memory::GuestAddress;
use vof_device::{DeviceTree, Vof};

use crate::Reach;

const GOALS: [&str; 14] = [
    "is a configuration",
    "is a machine",
    "has a client interface",
    "has a flat tree",
    "has several CPUs",
    "has room for more memory",
    "has a command line",
    "is refused with its key",
    "begins with a mark of the byte order",
    "is refused with its encoding",
    "is refused as its parts do not fit together",
    "has several threads a core",
    "has memory zones",
    "has NUMA nodes",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

/// Larger machines are made and not built: that takes too long to do it often.
const BUILT_CPUS_MAX: u32 = 64;
const BUILT_HOTPLUG_MAX: u64 = 64 << 30;

/// `data` is a file's content.
pub fn run(data: &[u8]) -> Reach {
    let mut reach = Reach::NONE;
    let config = match VmConfig::from_json(data, Path::new("machine.json")) {
        Ok(config) => config,
        Err(error) => {
            let said = error.to_string();
            assert!(said.starts_with("machine.json"), "{said}");
            let why = std::error::Error::source(&error).map(ToString::to_string);
            let why = why.expect("there is a reason");
            assert!(!why.is_empty());
            // One line that a terminal shows as it is, and not too long, whatever is in the file.
            for text in [&said, &why] {
                assert!(text.len() < 4000 && !text.contains(char::is_control), "{text:?}");
            }
            if said.contains("at \"") {
                reach.add(7);
            }
            if why.contains("in UTF-16") || why.contains("in UTF-32") {
                reach.add(9);
            }
            return reach;
        }
    };
    reach.add(0);
    if data.starts_with(b"\xef\xbb\xbf") {
        reach.add(8);
    }
    if let Err(error) = config.check_layout() {
        let said = error.to_string();
        assert!(!said.is_empty() && !said.contains(char::is_control), "{said:?}");
        // What nobody has checked does no harm either.
        let _ = Machine::new(&config);
        reach.add(10);
        return reach;
    }
    let machine = match Machine::new(&config) {
        Ok(machine) => machine,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return reach;
        }
    };
    reach.add(1);
    check_limits(&machine, &config);
    let map = machine.memory_map();
    if machine.max_cpus() > BUILT_CPUS_MAX || map.hotplug_bytes() > BUILT_HOTPLUG_MAX {
        return reach;
    }
    if machine.boot_cpus() > 1 {
        reach.add(4);
    }
    if map.hotplug_bytes() > 0 {
        reach.add(5);
    }
    if config.payload.cmdline.is_some() {
        reach.add(6);
    }
    for (goal, is_there) in [
        (11, machine.topology().threads_per_core() > 1),
        (12, !config.memory.zones.is_empty()),
        (13, !config.numa.is_empty()),
    ] {
        if is_there {
            reach.add(goal);
        }
    }
    let start = Start::new(GuestAddress(0x40_0000), [7; 32])
        .with_initrd(Some((GuestAddress(0x200_0000), 0x1234)))
        .with_flat_rtas((!machine.x_vof()).then_some(GuestAddress(0x300_0000)));
    let blob = outline(&machine)
        .expect("the machine has devices")
        .blob(&start)
        .expect("a machine has a tree");
    assert!(blob.len() < 8 << 20, "a tree of {} bytes", blob.len());
    let tree = DeviceTree::from_blob(&blob).expect("the machine's tree is one");
    check_tree(&machine, &tree);
    if !machine.x_vof() {
        reach.add(3);
        return reach;
    }
    Vof::builder(tree, map)
        .console(VTY_PATH, Arc::new(NoConsole))
        .cas(Box::new(cas::Platform::of(&machine)))
        .firmware(GuestAddress(0), vof_firmware::RESERVED_BYTES)
        .build()
        .expect("a machine has a client interface");
    reach.add(2);
    reach
}

fn check_limits(machine: &Machine, config: &VmConfig) {
    let map = machine.memory_map();
    assert!(map.rma().bytes >= MIN_MEMORY_BYTES && map.end().0 <= MAX_MEMORY_BYTES);
    for range in map.ranges() {
        assert!(range.bytes > 0 && range.bytes % PAGE_BYTES == 0);
        assert_eq!(range.start.0 % PAGE_BYTES, 0);
    }
    assert!(map.ranges().windows(2).all(|two| two[0].end() <= two[1].start));
    assert!((1..=MAX_CPUS).contains(&machine.boot_cpus()));
    assert!((machine.boot_cpus()..=MAX_CPUS).contains(&machine.max_cpus()));
    let cmdline = machine.cmdline();
    assert!(cmdline.len() <= MAX_CMDLINE_BYTES && !cmdline.contains('\0'));
    assert_eq!(machine.x_vof(), config.x_vof());
}

/// The tree says what the configuration does.
fn check_tree(machine: &Machine, tree: &DeviceTree) {
    let cpus = tree.find("/cpus").expect("there are CPUs");
    let is_cpu = |&node: &_| tree.property(node, "device_type") == Some(b"cpu\0");
    let cores = machine.boot_cpus() / machine.topology().threads_per_core();
    assert_eq!(tree.children(cpus).filter(is_cpu).count(), cores as usize);
    for range in machine.memory_map().ram() {
        let path = format!("/memory@{:x}", range.start.0);
        let memory = tree.find(&path).expect("each range has a node");
        let reg = [range.start.0, range.bytes].map(u64::to_be_bytes).concat();
        assert_eq!(tree.property(memory, "reg"), Some(reg.as_slice()), "{path}");
    }
    let chosen = tree.find("/chosen").expect("there is /chosen");
    let bootargs = [machine.cmdline().as_bytes(), b"\0"].concat();
    assert_eq!(tree.property(chosen, "bootargs"), Some(bootargs.as_slice()));
}
