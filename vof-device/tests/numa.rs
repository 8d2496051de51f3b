//! NUMA nodes through the guest's door: what a kernel finds after it has said which form of associativity
//! and which list of memory it knows.

use arch_ppc64::cas;
use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::layout::LMB_BYTES;
use arch_ppc64::platform::outline;
use arch_ppc64::topology::{
    CpuTopology, CpuTopologyError, MemoryMap, MemoryMapError, MemoryRange, NumaDistanceError,
    NumaDistances, NumaNode,
};
use arch_ppc64::{Machine, fdt};
use vm_memory::GuestAddress;
use vof_device::DeviceTree;
use vof_device::test_utils::{Client, TestMachine};

const CAS: &str = "ibm,client-architecture-support";
const DRCONF: &str = "/ibm,dynamic-reconfiguration-memory";

/// Three nodes: two with CPUs and memory, one with memory that can be plugged.
struct Config;

/// Two nodes, and how far they are from each other.
const DISTANCES: [(u8, u8, u32); 3] = [(0, 1, 40), (0, 2, 80), (1, 2, 80)];

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(3 * LMB_BYTES)
    }
    fn memory_map(&self) -> Result<MemoryMap, MemoryMapError> {
        let at = |block: u64| GuestAddress(block * LMB_BYTES);
        MemoryMap::new([
            MemoryRange::ram(at(0), 2 * LMB_BYTES),
            MemoryRange::ram(at(2), LMB_BYTES).on_node(NumaNode(1)),
            MemoryRange::hotplug(at(3), 2 * LMB_BYTES).on_node(NumaNode(2)),
        ])
    }
    fn cpus(&self) -> Cpus {
        Cpus::new(4, Default::default())
    }
    fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
        Ok(CpuTopology::new(4).with_threads(2, 2)?.with_nodes([0, 1].map(NumaNode)))
    }
    fn numa_distances(&self) -> Result<NumaDistances, NumaDistanceError> {
        let [first, second, later] = [0, 1, 2].map(NumaNode);
        NumaDistances::new([(first, second, 40), (first, later, 80), (second, later, 80)])
    }
    fn boot(&self) -> Boot<'_> {
        Boot::new("console=hvc0")
    }
    fn x_vof(&self) -> bool {
        true
    }
}

fn machine() -> TestMachine {
    let machine = Machine::new(&Config).unwrap();
    let start = fdt::Start::new(GuestAddress(0x40_0000), [1; 32]);
    let blob = outline(&machine).unwrap().blob(&start).unwrap();
    let tree = DeviceTree::from_blob(&blob).unwrap();
    TestMachine::in_memory(tree, machine.memory_map(), |builder| {
        builder.cas(Box::new(cas::Platform::of(&machine)))
    })
}

/// Negotiates as a kernel that knows any processor, and says this in bytes 5 and 22 of vector 5.
fn negotiate(client: &Client<'_>, forms: u8, lists: u8) {
    let mut fifth = [0; 26];
    for (byte, value) in [(2, 0x20), (5, forms), (22, lists), (24, 0x40), (26, 0x40)] {
        fifth[byte - 1] = value;
    }
    let mut vectors = vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4];
    vectors.extend([0, 0x80].repeat(4));
    vectors.push(25);
    vectors.extend(fifth);
    let root = client.one("open", &["/".into()]);
    let results = client
        .call("call-method", &[CAS.into(), root.into(), vectors.as_slice().into()], 2)
        .results;
    assert_eq!(results, [0, 0]);
}

fn cells(client: &Client<'_>, path: &str, name: &str) -> Vec<u32> {
    let value = client.getprop(client.phandle(path), name);
    let value = value.unwrap_or_else(|| panic!("{path} has {name}"));
    value.chunks(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
}

/// The domains that count, of a node: its own, then those above.
fn counted(points: &[u32], list: &[u32]) -> Vec<u32> {
    points.iter().map(|&point| list[point as usize - 1]).collect()
}

#[test]
fn a_kernel_of_form_1_finds_distances_in_the_levels() {
    let machine = machine();
    let client = machine.client();
    negotiate(&client, 0x80, 0x80);
    let vector = client.getprop(client.phandle("/chosen"), "ibm,architecture-vec-5").unwrap();
    assert_eq!(vector[5], 0x80);
    let points = cells(&client, "/rtas", "ibm,associativity-reference-points");
    let list = |path| {
        let list = cells(&client, path, "ibm,associativity");
        assert_eq!(list[0] as usize, list.len() - 1);
        counted(&points, &list[1..])
    };
    let arrays = cells(&client, DRCONF, "ibm,associativity-lookup-arrays");
    let array = |node: usize| counted(&points, &arrays[2 + 4 * node..]);
    assert_eq!(arrays[..2], [3, 4]);
    let nodes = [list("/memory@0"), list("/memory@20000000"), array(2)];
    assert_eq!(nodes[0], list("/cpus/PowerPC,POWER9@0"));
    assert_eq!(nodes[1], list("/cpus/PowerPC,POWER9@2"));
    assert_eq!([array(0), array(1)], nodes[..2]);
    for (one, other, distance) in DISTANCES {
        let (one, other) = (&nodes[usize::from(one)], &nodes[usize::from(other)]);
        let differ = one.iter().zip(other).take_while(|(one, other)| one != other).count();
        assert_eq!(10 << differ, distance);
    }
}

#[test]
fn a_kernel_of_form_2_finds_distances_in_tables() {
    for forms in [0x20, 0xa0] {
        let machine = machine();
        let client = machine.client();
        // A boot loader came before it, which knew less.
        negotiate(&client, 0, 0);
        negotiate(&client, forms, 0x80);
        let vector = client.getprop(client.phandle("/chosen"), "ibm,architecture-vec-5").unwrap();
        assert_eq!(vector[5], forms);
        assert_eq!(cells(&client, "/rtas", "ibm,associativity-reference-points"), [4]);
        for (path, node) in [
            ("/memory@0", 0),
            ("/memory@20000000", 1),
            ("/cpus/PowerPC,POWER9@0", 0),
            ("/cpus/PowerPC,POWER9@2", 1),
        ] {
            assert_eq!(cells(&client, path, "ibm,associativity")[4], node, "{path}");
        }
        assert_eq!(cells(&client, "/rtas", "ibm,numa-lookup-index-table"), [3, 0, 1, 2]);
        let table = client.getprop(client.phandle("/rtas"), "ibm,numa-distance-table").unwrap();
        assert_eq!(table[..4], [0, 0, 0, 9]);
        assert_eq!(table[4..], [10, 40, 80, 40, 10, 80, 80, 80, 10]);
    }
}

/// LoPAPR §13.5.2: address, connector, reserved, index of the list of domains, flags.
#[test]
fn blocks_name_the_lists_of_their_nodes() {
    let machine = machine();
    let client = machine.client();
    let block = LMB_BYTES as u32;
    negotiate(&client, 0xa0, 0x80);
    assert_eq!(
        cells(&client, DRCONF, "ibm,dynamic-memory-v2"),
        [
            &[3][..],
            &[2, 0, 0, 0, 0, 0xa0],
            &[1, 0, 2 * block, 0, 1, 0xa0],
            &[2, 0, 3 * block, 0x8000_0003, 2, 0],
        ]
        .concat()
    );
    let node = client.phandle(DRCONF);
    assert_eq!(client.getprop(node, "ibm,dynamic-memory"), None);
    // A kernel that it starts knows the longer list only.
    negotiate(&client, 0x80, 0);
    assert_eq!(client.getprop(node, "ibm,dynamic-memory-v2"), None);
    let list = cells(&client, DRCONF, "ibm,dynamic-memory");
    let one = |number: u32, connector, node, flags| {
        [0, number * block, connector, 0, node, flags].to_vec()
    };
    let blocks = [
        one(0, 0, 0, 0xa0),
        one(1, 0, 0, 0xa0),
        one(2, 0, 1, 0xa0),
        one(3, 0x8000_0003, 2, 0),
        one(4, 0x8000_0004, 2, 0),
    ];
    assert_eq!(list, [&[5][..], &blocks.concat()].concat());
}
