//! Trees, read back by a parser that knows nothing of the writer.

mod interrupts;
mod mmu;
mod numa;
mod parser;
mod tools;
mod trees;

use std::collections::HashSet;

use vm_memory::GuestAddress;

use self::parser::Tree;
use super::{BOOT_COUNT_PROPERTY, FdtError, SLACK_BYTES, Start};
use crate::cas::{Decision, Platform, TreeChange, negotiate};
use crate::config::{Cpus, Memory};
use crate::cpu::CpuModel;
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::machine::tests::TestConfig;
use crate::platform::outline;
use crate::rtas;
use crate::topology::{CpuTopology, MemoryRange, NumaNode};

const RTAS_BASE: GuestAddress = GuestAddress(0x200_0000);
const INITRD: (GuestAddress, u64) = (GuestAddress(0x300_0000), 0x12_3456);

fn build(machine: &Machine, start: &Start) -> Result<Vec<u8>, FdtError> {
    outline(machine).unwrap().blob(start)
}

/// The first start of a machine with an initial RAM disk.
fn start(machine: &Machine) -> Start {
    Start {
        entry: GuestAddress(0x40_0000),
        entry_is_64bit: true,
        initrd: Some(INITRD),
        boot_count: 1,
        rng_seed: [7; 32],
        flat_rtas: (!machine.x_vof()).then_some(RTAS_BASE),
        decision: None,
        bootpath: None,
        bootp_response: None,
        bootargs: None,
    }
}

fn tree_of(config: &TestConfig) -> Tree {
    let machine = Machine::new(config).unwrap();
    Tree::parse(&build(&machine, &start(&machine)).unwrap())
}

fn vof_tree() -> Tree {
    tree_of(&TestConfig::default())
}

fn flat_tree() -> Tree {
    tree_of(&TestConfig { x_vof: false, ..TestConfig::default() })
}

/// Machines of each shape.
fn shapes() -> Vec<TestConfig> {
    let mut shapes = Vec::new();
    for (boot, max) in [(1, 1), (1, 8), (2, 2), (7, 2048)] {
        for hotplug_bytes in [0, LMB_BYTES, 4 * LMB_BYTES] {
            for x_vof in [false, true] {
                for model in CpuModel::ALL {
                    shapes.push(TestConfig {
                        memory: Memory::of_size(2 * LMB_BYTES).with_hotplug(hotplug_bytes),
                        cpus: Cpus::new(boot, model).with_max(max),
                        x_vof,
                        ..TestConfig::default()
                    });
                }
            }
        }
    }
    shapes
}

#[test]
fn every_shape_has_a_sound_tree() {
    for config in shapes() {
        let machine = Machine::new(&config).unwrap();
        let blob = build(&machine, &start(&machine)).unwrap();
        // Well-formed, or the parser would have panicked.
        let tree = Tree::parse(&blob);
        assert!(tree.total_bytes >= tree.used_bytes + SLACK_BYTES, "not packed");
        let nodes = tree.nodes();
        let phandles: HashSet<u32> = nodes.iter().map(|(_, node)| node.phandle()).collect();
        assert_eq!(phandles.len(), nodes.len(), "each has its own");
        assert!(!phandles.contains(&0) && !phandles.contains(&u32::MAX));
        for path in [
            "/chosen",
            "/cpus",
            "/memory@0",
            "/rtas",
            "/vdevice/vty@71000000",
            "/interrupt-controller",
            "/hypervisor",
            "/aliases",
            "/openprom",
            "/options",
        ] {
            assert!(tree.node(path).is_some(), "{path}");
        }
        let cpus = &tree.node("/cpus").unwrap().children;
        assert_eq!(cpus.len(), config.cpus.boot as usize);
        let drc = tree.node("/ibm,dynamic-reconfiguration-memory");
        assert_eq!(drc.is_some(), config.memory.hotplug_bytes != 0);
    }
}

/// A guest that keeps a phandle over a restart finds the same node.
#[test]
fn phandles_are_the_same_at_each_start() {
    let phandles = |tree: &Tree| -> Vec<(String, u32)> {
        tree.nodes().iter().map(|(path, node)| (path.clone(), node.phandle())).collect()
    };
    for config in shapes() {
        let machine = Machine::new(&config).unwrap();
        let first = start(&machine);
        let again = Start { boot_count: 2, rng_seed: [9; 32], initrd: None, ..first.clone() };
        let [first, again] =
            [first, again].map(|start| Tree::parse(&build(&machine, &start).unwrap()));
        assert_eq!(phandles(&first), phandles(&again));
        // The way in makes no difference either.
        let other = tree_of(&TestConfig { x_vof: !config.x_vof, ..config });
        assert_eq!(phandles(&other), phandles(&first));
    }
}

#[test]
fn largest_machine_has_a_tree() {
    let tree = tree_of(&TestConfig {
        memory: Memory::of_size(8 << 40).with_hotplug(8 << 40),
        cpus: Cpus::new(2048, CpuModel::Power9),
        x_vof: false,
        ..TestConfig::default()
    });
    assert_eq!(tree.node("/cpus").unwrap().children.len(), 2048);
    assert!(tree.node("/cpus/PowerPC,POWER9@7ff").is_some());
}

/// What hangs a guest without a word when it is missing.
#[test]
fn nothing_is_missing_that_hangs_silently() {
    for tree in [vof_tree(), flat_tree()] {
        assert_eq!(tree.strings("/", "device_type"), ["chrp"]);
        assert_eq!(tree.cells("/", "#address-cells"), [2]);
        assert_eq!(tree.cells("/", "#size-cells"), [2]);
        let functions = tree.strings("/rtas", "ibm,hypertas-functions");
        assert!(functions.contains(&"hcall-set-mode".to_owned()));
        assert_eq!(tree.cells("/cpus/PowerPC,POWER9@0", "ibm,vmx"), [2]);
        assert_eq!(tree.strings("/chosen", "bootargs"), ["console=hvc0"]);
        assert_eq!(tree.cells("/chosen", "linux,pci-probe-only"), [0]);
        assert!(tree.value("/hypervisor", "hcall-instructions").is_none());
        // GRUB negotiates, and leaves out its scan for disks, where these begin with "IBM".
        for name in ["model", "compatible"] {
            assert!(tree.strings("/", name).iter().all(|text| !text.starts_with("IBM")));
        }
    }
}

#[test]
fn names_of_more_than_31_characters_are_there() {
    let tree = tree_of(&TestConfig {
        memory: Memory::of_size(LMB_BYTES).with_hotplug(LMB_BYTES),
        ..TestConfig::default()
    });
    let encodings = tree.cells("/cpus/PowerPC,POWER9@0", "ibm,processor-radix-AP-encodings");
    // AP code, and log2 of the page size: 4 KiB, 64 KiB, 2 MiB, 1 GiB.
    let sizes: Vec<_> = encodings.iter().map(|cell| (cell >> 29, cell & 0x1fff_ffff)).collect();
    assert_eq!(sizes, [(0, 12), (5, 16), (1, 21), (2, 30)]);
    assert_eq!(tree.cells("/rtas", "ibm,associativity-reference-points"), [4, 4]);
    let node = "/ibm,dynamic-reconfiguration-memory";
    assert_eq!(tree.cells(node, "ibm,lmb-size"), [0, LMB_BYTES as u32]);
    for (path, node) in tree.nodes() {
        let names = node.properties.iter().map(|(name, _)| name).chain([&path]);
        for name in names {
            assert!(!name.contains("long-name") && !name.contains("x@0"), "{name} is left over");
        }
    }
}

/// LoPAPR §B.6.3: a node a range, the first of which is the real mode area.
#[test]
fn each_range_of_ram_has_its_node() {
    let ram = |start, bytes| MemoryRange::ram(GuestAddress(start), bytes);
    let ranges = vec![
        ram(0, LMB_BYTES),
        ram(LMB_BYTES, LMB_BYTES).on_node(NumaNode(2)),
        MemoryRange::reserved(GuestAddress(1 << 30), LMB_BYTES),
        ram(1 << 32, 2 * LMB_BYTES).on_node(NumaNode(1)),
    ];
    let tree = tree_of(&TestConfig { ranges: ranges.clone(), ..TestConfig::default() });
    let root = tree.node("/").unwrap();
    let is_memory = |name: &&str| name.starts_with("memory@");
    let nodes: Vec<&str> =
        root.children.iter().map(|node| node.name.as_str()).filter(is_memory).collect();
    assert_eq!(nodes, ["memory@0", "memory@10000000", "memory@100000000"]);
    for (node, reg, numa) in [
        (nodes[0], [0, 0, 0, LMB_BYTES as u32], 0),
        (nodes[1], [0, LMB_BYTES as u32, 0, LMB_BYTES as u32], 2),
        (nodes[2], [1, 0, 0, 2 * LMB_BYTES as u32], 1),
    ] {
        let path = format!("/{node}");
        assert_eq!(tree.value(&path, "device_type"), Some(&b"memory\0"[..]));
        assert_eq!(tree.cells(&path, "reg"), reg);
        assert_eq!(tree.cells(&path, "ibm,associativity"), [4, 0, 0, 0, numa]);
    }
    assert_eq!(tree.cells("/rtas", "ibm,max-associativity-domains"), [4, 3, 3, 3, 3]);
    let capacity = tree.cells("/rtas", "ibm,lrdr-capacity");
    assert_eq!(capacity[..2], [1, 2 * LMB_BYTES as u32]);

    // What can be plugged is behind it, or between.
    let plugged = MemoryRange::hotplug(GuestAddress(1 << 33), 3 * LMB_BYTES).on_node(NumaNode(3));
    let config = TestConfig {
        ranges: [ranges, vec![plugged]].concat(),
        x_vof: false,
        ..TestConfig::default()
    };
    let tree = tree_of(&config);
    let capacity = tree.cells("/rtas", "ibm,lrdr-capacity");
    assert_eq!(capacity[..2], [2, 3 * LMB_BYTES as u32]);
    let node = "/ibm,dynamic-reconfiguration-memory";
    let lists = tree.cells(node, "ibm,associativity-lookup-arrays");
    assert_eq!(lists, [4, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    let (reserved, first) = (0xa0, (1u64 << 33 >> 28) as u32);
    let machine = Machine::new(&config).unwrap();
    let blocks = crate::memory_blocks::MemoryBlocks::of_machine(&machine).unwrap();
    let cells = |value: Vec<u8>| -> Vec<u32> {
        value.chunks(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
    };
    let connector = 0x8000_0000 | first;
    assert_eq!(
        cells(blocks.sets()),
        [
            [4].as_slice(),
            &[1, 0, 0, 0, 0, reserved],
            &[1, 0, LMB_BYTES as u32, 0, 2, reserved],
            &[2, 1, 0, 0, 1, reserved],
            &[3, 2, 0, connector, 3, 0],
        ]
        .concat()
    );
    let list = cells(blocks.blocks());
    assert_eq!(list.len(), 1 + 7 * 6);
    assert_eq!(list[0], 7);
    assert_eq!(list[list.len() - 6..], [2, 2 * LMB_BYTES as u32, connector + 2, 0, 3, 0]);
}

/// LoPAPR §B.6.2.1: a node a core, with a server a thread.
#[test]
fn each_core_has_its_node() {
    for (threads, servers) in [(1, 1), (1, 8), (2, 2), (2, 8), (4, 4), (4, 8), (8, 8)] {
        let nodes = [0, 0, 2, 5].map(NumaNode);
        let topology = CpuTopology::new(32).with_threads(threads, servers).unwrap();
        let tree = tree_of(&TestConfig {
            cpus: Cpus::new(16, CpuModel::Power9).with_max(32),
            topology: Some(topology.with_nodes(nodes)),
            ..TestConfig::default()
        });
        let cores = &tree.node("/cpus").unwrap().children;
        assert_eq!(cores.len() as u32, 16 / threads);
        for (number, core) in (0..).zip(cores) {
            let first = number * servers;
            assert_eq!(core.name, format!("PowerPC,POWER9@{first:x}"));
            let path = format!("/cpus/{}", core.name);
            assert_eq!(tree.cells(&path, "reg"), [first]);
            let numbers: Vec<u32> = (first..first + threads).collect();
            assert_eq!(tree.cells(&path, "ibm,ppc-interrupt-server#s"), numbers);
            let pairs: Vec<u32> = numbers.iter().flat_map(|&server| [server, 0]).collect();
            assert_eq!(tree.cells(&path, "ibm,ppc-interrupt-gserver#s"), pairs);
            let node = nodes.get(number as usize).map_or(0, |node| node.0.into());
            assert_eq!(tree.cells(&path, "ibm,associativity"), [5, 0, 0, 0, node, first]);
        }
        let capacity = tree.cells("/rtas", "ibm,lrdr-capacity");
        assert_eq!(capacity[4], 32 / threads, "in cores");
        let ranges = tree.cells("/interrupt-controller", "ibm,interrupt-server-ranges");
        assert_eq!(ranges, [0, (32 / threads - 1) * servers + threads]);
        // There are as many nodes as the highest number of one says, of memory or of CPUs.
        let highest = nodes.iter().take(32 / threads as usize).max().unwrap();
        let most = tree.cells("/rtas", "ibm,max-associativity-domains");
        let count = u32::from(highest.0) + 1;
        assert_eq!(most, [4, count, count, count, count]);
    }
}

#[test]
fn flat_tree_is_as_after_negotiation() {
    for config in shapes().into_iter().filter(|config| !config.x_vof) {
        let machine = Machine::new(&config).unwrap();
        let platform = Platform::of(&machine);
        let tree = Tree::parse(&build(&machine, &start(&machine)).unwrap());
        for change in Decision::default_for(&platform).changes(&platform) {
            match change {
                TreeChange::Set { path, name, value } => {
                    assert_eq!(tree.value(&path, &name), Some(value.as_slice()), "{path} {name}");
                }
                TreeChange::SetChildren { path, name, value } => {
                    for child in &tree.node(&path).unwrap().children {
                        assert_eq!(child.value(&name), Some(value.as_slice()), "{path} {name}");
                    }
                }
                TreeChange::Remove { path, name } => {
                    assert_eq!(tree.value(&path, &name), None, "{path} {name}");
                }
                TreeChange::Rename { path, name } => panic!("{path} is not to be {name}"),
            }
        }
        let vector = tree.value("/chosen", "ibm,architecture-vec-5").unwrap();
        assert!(vector.len() >= 27 && vector[0] as usize == vector.len() - 2);
        let has_radix = config.cpus.model >= CpuModel::Power9;
        let radix = if has_radix { 0x40 } else { 0 };
        assert_eq!((vector[24], vector[26]), (radix, radix), "radix, GTSE");
    }
}

/// A start that comes of a negotiation says what was agreed on, on either way in.
#[test]
fn tree_says_what_the_start_before_agreed_on() {
    // A kernel that knows POWER9 at most.
    let vectors = [
        [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 5].as_slice(),
        &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80],
    ];
    for x_vof in [true, false] {
        let cpus = Cpus::new(2, CpuModel::Power10);
        let machine = Machine::new(&TestConfig { cpus, x_vof, ..TestConfig::default() }).unwrap();
        let (decision, _) = negotiate(&Platform::of(&machine), &vectors.concat()).unwrap();
        let start = Start { decision: Some(decision), ..start(&machine) };
        let tree = Tree::parse(&build(&machine, &start).unwrap());
        for cpu in ["/cpus/PowerPC,POWER10@0", "/cpus/PowerPC,POWER10@1"] {
            assert_eq!(tree.cells(cpu, "cpu-version"), [0x0f00_0005]);
        }
        let vector = tree.value("/chosen", "ibm,architecture-vec-5").unwrap();
        assert_eq!((vector[24], vector[5]), (0x40, 0));
    }
}

/// What a CPU's node says but for its version and features is true at each level from POWER9's on:
/// negotiation can leave it as it is.
#[test]
fn cpus_of_each_model_say_what_each_level_has() {
    let of = |model: CpuModel| {
        let cpus = Cpus::new(1, model);
        let tree = tree_of(&TestConfig { cpus, ..TestConfig::default() });
        let node = tree.node(&format!("/cpus/PowerPC,{model}@0")).unwrap();
        let is_same = |name: &str| !matches!(name, "cpu-version" | "phandle");
        let mut said = node.properties.clone();
        said.retain(|(name, _)| is_same(name));
        said
    };
    let [mut power8, mut power9] = [CpuModel::Power8, CpuModel::Power9].map(of);
    for model in CpuModel::ALL.into_iter().filter(|model| *model >= CpuModel::Power9) {
        assert_eq!(of(model), power9, "{model}");
    }
    // POWER8 has no radix trees, and its decrementer has 32 bits without a word about it.
    power9.retain(|(name, _)| {
        !matches!(&**name, "ibm,processor-radix-AP-encodings" | "ibm,dec-bits")
    });
    for said in [&mut power8, &mut power9] {
        said.retain(|(name, _)| !matches!(&**name, "ibm,pa-features" | "ibm,pft-size"));
    }
    assert_eq!(power8, power9);
}

#[test]
fn tree_of_a_client_is_as_before_negotiation() {
    let tree = tree_of(&TestConfig {
        memory: Memory::of_size(LMB_BYTES).with_hotplug(LMB_BYTES),
        ..TestConfig::default()
    });
    assert_eq!(tree.value("/chosen", "ibm,architecture-vec-5"), None);
    assert!(tree.value("/ibm,dynamic-reconfiguration-memory", "ibm,dynamic-memory").is_some());
    assert!(tree.reserved.is_empty());
    assert_eq!(tree.value("/rtas", "linux,rtas-base"), None);
    assert_eq!(
        tree.value("/chosen", "ibm,arch-vec-5-platform-support"),
        Some(&[23, 0, 24, 0x40, 25, 0, 26, 0x40][..])
    );
}

/// What a negotiation changes is in nodes that the tree has.
#[test]
fn changes_are_of_nodes_that_exist() {
    for config in shapes() {
        let machine = Machine::new(&config).unwrap();
        let tree = Tree::parse(&build(&machine, &start(&machine)).unwrap());
        let boot_loader = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80];
        let (_, changes) = negotiate(&Platform::of(&machine), &boot_loader).unwrap();
        for change in changes {
            assert!(tree.node(change.path()).is_some(), "{}", change.path());
        }
    }
}

/// Linux, booting.rst: a kernel that is entered with a flat tree finds RTAS in place, and memory
/// that is in use in the reservations.
#[test]
fn flat_tree_says_where_rtas_and_the_ram_disk_are() {
    let tree = flat_tree();
    assert_eq!(tree.reserved, [(RTAS_BASE.0, u64::from(rtas::SIZE_BYTES))]);
    for name in ["linux,rtas-base", "linux,rtas-entry"] {
        assert_eq!(tree.cells("/rtas", name), [RTAS_BASE.0 as u32]);
    }
    assert_eq!(tree.cells("/rtas", "rtas-size"), [rtas::SIZE_BYTES]);
    assert_eq!(tree.strings("/chosen", "linux,stdout-path"), ["/vdevice/vty@71000000"]);
    assert_eq!(tree.cells("/chosen", "linux,initrd-start"), [0, 0x300_0000]);
    assert_eq!(tree.cells("/chosen", "linux,initrd-end"), [0, 0x312_3456]);
    assert_eq!(tree.boot_cpu, 0);
}

#[test]
fn client_is_where_the_firmware_asks_for_it() {
    let tree = vof_tree();
    let client = tree.cells("/chosen", vof_firmware::CLIENT_PROPERTY);
    assert_eq!(client, [0x40_0000, 64, 0x300_0000, 0x12_3456]);
    assert_eq!(tree.value("/chosen", "linux,initrd-start"), None);
}

/// A client works with cells: an address beyond them is told, not cut.
#[test]
fn start_beyond_a_cell_is_refused() {
    let beyond = GuestAddress(1 << 32);
    for x_vof in [true, false] {
        let machine = Machine::new(&TestConfig { x_vof, ..TestConfig::default() }).unwrap();
        let good = start(&machine);
        let wrong = if x_vof {
            vec![
                Start { entry: beyond, ..good.clone() },
                Start { initrd: Some((beyond, 1)), ..good.clone() },
                Start { initrd: Some((GuestAddress(0), 1 << 32)), ..good },
            ]
        } else {
            vec![
                Start { flat_rtas: Some(beyond), ..good.clone() },
                Start { initrd: Some((beyond, u64::MAX)), ..good },
            ]
        };
        for start in wrong {
            let error = build(&machine, &start).unwrap_err();
            assert_eq!(error, FdtError::Address { value: 1 << 32 });
        }
    }
}

#[test]
fn chosen_is_made_anew_at_each_start() {
    let machine = Machine::new(&TestConfig::default()).unwrap();
    let again = Start { boot_count: 3, rng_seed: [9; 32], initrd: None, ..start(&machine) };
    let tree = Tree::parse(&build(&machine, &again).unwrap());
    assert_eq!(tree.cells("/chosen", BOOT_COUNT_PROPERTY), [3]);
    assert_eq!(tree.value("/chosen", "rng-seed"), Some(&[9; 32][..]));
    assert_eq!(tree.cells("/chosen", vof_firmware::CLIENT_PROPERTY), [0x40_0000, 64, 0, 0]);
}

/// `ibm,associativity-reference-points` names levels of `ibm,associativity` (LoPAPR chapter 15):
/// in form 1, the first is where the number of the NUMA node is.
#[test]
fn associativity_is_one_numa_node() {
    let tree =
        tree_of(&TestConfig { cpus: Cpus::new(3, CpuModel::Power9), ..TestConfig::default() });
    let points = tree.cells("/rtas", "ibm,associativity-reference-points");
    let most = tree.cells("/rtas", "ibm,max-associativity-domains");
    for (path, node) in tree.nodes() {
        if node.value("ibm,associativity").is_none() {
            continue;
        }
        let domains = tree.cells(&path, "ibm,associativity");
        assert_eq!(domains[0] as usize, domains.len() - 1);
        for &level in &points {
            assert!(domains[level as usize] < most[level as usize], "{path}");
        }
    }
    for vcpu in 0..3 {
        // What the tree says is what H_HOME_NODE_ASSOCIATIVITY answers.
        let domains = tree.cells(&format!("/cpus/PowerPC,POWER9@{vcpu}"), "ibm,associativity");
        assert_eq!(domains[1..], CpuTopology::new(3).domains(crate::CpuIndex(vcpu)));
    }
}

#[test]
fn interrupts_have_a_parent_and_servers() {
    let config =
        TestConfig { cpus: Cpus::new(2, CpuModel::Power9).with_max(6), ..TestConfig::default() };
    let tree = tree_of(&config);
    let controller = tree.node("/interrupt-controller").unwrap();
    let parent = tree.cells("/vdevice/vty@71000000", "interrupt-parent");
    assert_eq!(parent, [controller.phandle()]);
    // Source and sense, as `#interrupt-cells` says; 0 is an edge.
    assert_eq!(tree.cells("/interrupt-controller", "#interrupt-cells"), [2]);
    assert_eq!(tree.cells("/vdevice/vty@71000000", "interrupts"), [0x1000, 0]);
    assert_eq!(tree.cells("/interrupt-controller", "ibm,interrupt-server-ranges"), [0, 6]);
    assert_eq!(
        tree.strings("/interrupt-controller", "device_type"),
        ["PowerPC-External-Interrupt-Presentation"]
    );
    assert_eq!(tree.strings("/interrupt-controller", "compatible"), ["IBM,ppc-xicp"]);
    assert_eq!(tree.cells("/cpus/PowerPC,POWER9@1", "ibm,ppc-interrupt-server#s"), [1]);
}

/// "An OS that wants to be EPOW-aware will look for the epow-events node […], enable the interrupts
/// listed in its interrupts property" (LoPAPR §10.2.1).
#[test]
fn warnings_have_an_interrupt() {
    let tree = vof_tree();
    assert_eq!(tree.cells("/event-sources/epow-events", "interrupts"), [0x1001, 0]);
    assert_eq!(tree.cells("/event-sources", "#interrupt-cells"), [2]);
    assert_eq!(tree.cells("/event-sources", "interrupt-ranges"), [0x1001, 1]);
    assert_eq!(tree.value("/event-sources", "interrupt-controller"), Some(&[][..]));
    // Events come with an interrupt: nobody has to look for them.
    assert_eq!(tree.cells("/rtas", "rtas-event-scan-rate"), [0]);
    // But Linux keeps events of slots only where it looks.
    let tree = tree_of(&TestConfig { has_slots: true, ..TestConfig::default() });
    assert_eq!(tree.cells("/rtas", "rtas-event-scan-rate"), [1]);
}

#[test]
fn rtas_has_every_call_and_its_size() {
    let tree = vof_tree();
    let machine = Machine::new(&TestConfig::default()).unwrap();
    let calls = outline(&machine).unwrap().rtas_calls();
    assert!(calls.len() > 16);
    for (name, token) in calls {
        assert_eq!(tree.cells("/rtas", name), [token]);
        assert_eq!(rtas::token_of(name), Some(token));
    }
    // Linux ignores ibm,os-term without it.
    assert_eq!(tree.value("/rtas", "ibm,extended-os-term"), Some(&[][..]));
    // The last address there may be, the size of a block, the most CPUs.
    assert_eq!(tree.cells("/rtas", "ibm,lrdr-capacity"), [0, 512 << 20, 0, 256 << 20, 1]);
}

/// Guests find an NVRAM by a node of its type, and read it by RTAS (LoPAPR chapter 8). A machine that
/// is given none tells of none.
#[test]
fn nothing_tells_of_an_nvram_that_is_not_there() {
    let tree = vof_tree();
    for (path, node) in tree.nodes() {
        assert_ne!(node.value("device_type"), Some(&b"nvram\0"[..]), "{path}");
    }
    for call in ["nvram-fetch", "nvram-store"] {
        assert_eq!(tree.value("/rtas", call), None);
    }
}

/// What Linux reads of `ibm,pa-features`: length, type, then attribute bytes with bit 0 the most
/// significant. What a bit denies is switched off, so one that is missing costs the guest.
#[test]
fn processor_features_are_those_that_guests_need() {
    let tree = vof_tree();
    let features = tree.value("/cpus/PowerPC,POWER9@0", "ibm,pa-features").unwrap();
    assert_eq!((features[0] as usize, features[1]), (features.len() - 2, 0));
    let has = |byte: usize, bit: u8| features[2 + byte] & (0x80 >> bit) != 0;
    // MMU, FPU, SLB, CTRL, no-execute; caching-inhibited large pages; little-endian; radix.
    for (byte, bit) in [(0, 0), (0, 1), (0, 2), (0, 3), (0, 6), (1, 2), (5, 0), (40, 0)] {
        assert!(has(byte, bit), "byte {byte} bit {bit}");
    }
    // Transactional memory, a larger decrementer, event-based branches, copy and paste, quad
    // precision and decimal floating point, the second watchpoint: not every back end has them.
    for (byte, bit) in [(22, 0), (24, 0), (34, 0), (38, 0), (50, 0), (54, 0), (64, 0)] {
        assert!(!has(byte, bit), "byte {byte} bit {bit}");
    }
    assert_eq!(features[2..].iter().map(|byte| byte.count_ones()).sum::<u32>(), 8);
}

/// What else a CPU's node says of it, and what it does not: there is no large decrementer, and
/// counters that count are not on every back end.
#[test]
fn a_cpu_promises_what_each_back_end_has() {
    let tree = vof_tree();
    let cpu = "/cpus/PowerPC,POWER9@0";
    assert_eq!(tree.cells(cpu, "ibm,dec-bits"), [32]);
    for name in ["performance-monitor", "ibm,dfp", "ibm,tm"] {
        assert!(tree.value(cpu, name).is_none(), "{name}");
    }
}

#[test]
fn memory_is_one_range() {
    let tree = tree_of(&TestConfig { memory: Memory::of_size(5 << 30), ..TestConfig::default() });
    assert_eq!(tree.cells("/memory@0", "reg"), [0, 0, 1, 0x4000_0000]);
    assert_eq!(tree.strings("/memory@0", "device_type"), ["memory"]);
}

/// A guest in a compatibility mode is told the level, not the processor.
#[test]
fn processor_version_is_that_of_the_machine() {
    let machine = Machine::new(&TestConfig::default()).unwrap();
    for (host_pvr, version) in [(0x004e_1200, 0x004e_1200), (0x0080_0200, 0x0f00_0005)] {
        let machine = machine.clone().on_host(host_pvr).unwrap();
        let tree = Tree::parse(&build(&machine, &start(&machine)).unwrap());
        assert_eq!(tree.cells("/cpus/PowerPC,POWER9@0", "cpu-version"), [version]);
    }
}
