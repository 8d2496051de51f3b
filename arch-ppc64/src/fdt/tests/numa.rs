//! What a guest makes of NUMA nodes, which is what Linux makes of them (`arch/powerpc/mm/numa.c`).

use proptest::prelude::*;

use super::*;
use crate::CpuIndex;
use crate::topology::MemoryKind;

/// Two sockets of two nodes; the last node of each has no CPU, and one more has no memory. In the last
/// socket, memory can be plugged.
pub(super) fn two_sockets() -> TestConfig {
    let at = |block: u64| GuestAddress(block * LMB_BYTES);
    let ram = |block, blocks: u64, node| {
        MemoryRange::ram(at(block), blocks * LMB_BYTES).on_node(NumaNode(node))
    };
    TestConfig {
        ranges: vec![
            ram(0, 2, 0),
            ram(2, 1, 1),
            ram(4, 3, 4),
            ram(7, 1, 5),
            MemoryRange::hotplug(at(8), 4 * LMB_BYTES).on_node(NumaNode(5)),
        ],
        cpus: Cpus::new(6, CpuModel::Power9).with_max(8),
        topology: Some(
            CpuTopology::new(8).with_threads(2, 8).unwrap().with_nodes([0, 4, 7, 4].map(NumaNode)),
        ),
        distances: vec![
            (0, 1, 20),
            (4, 5, 20),
            (0, 4, 40),
            (0, 5, 40),
            (1, 4, 40),
            (1, 5, 40),
            (7, 0, 160),
            (7, 1, 160),
            (7, 4, 160),
            (7, 5, 160),
        ],
        ..TestConfig::default()
    }
}

/// 2,048 CPUs, eight a core; 16 TiB, of which most can be plugged; 256 nodes.
pub(super) fn largest() -> TestConfig {
    const NODE_BYTES: u64 = (16 << 40) / 256;
    let ranges = (0..=u8::MAX).flat_map(|node| {
        let start = u64::from(node) * NODE_BYTES;
        let ram = MemoryRange::ram(GuestAddress(start), LMB_BYTES);
        let rest = MemoryRange::hotplug(ram.end(), NODE_BYTES - LMB_BYTES);
        [ram, rest].map(|range| range.on_node(NumaNode(node)))
    });
    let topology = CpuTopology::new(2048).with_threads(8, 8).unwrap();
    TestConfig {
        ranges: ranges.collect(),
        cpus: Cpus::new(2048, CpuModel::Power9),
        topology: Some(topology.with_nodes((0..=u8::MAX).map(NumaNode))),
        distances: (1..=u8::MAX).map(|node| (0, node, node.clamp(11, 254))).collect(),
        x_vof: false,
        ..TestConfig::default()
    }
}

/// A tree as a guest reads it that takes associativity in a form.
struct Guest {
    tree: Tree,
    points: Vec<usize>,
    form: u8,
}

impl Guest {
    /// A guest with this byte 5 of vector 5, that knows memory in blocks, and in sets if it says so.
    fn of(config: &TestConfig, form_bits: u8, sets: bool) -> Self {
        let machine = Machine::new(config).unwrap();
        let mut vector = vec![0; 26];
        for (byte, value) in [(2, 0x20), (5, form_bits), (24, 0x40), (26, 0x40)] {
            vector[byte - 1] = value;
        }
        vector[21] = if sets { 0x80 } else { 0 };
        let mut vectors = vec![0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4];
        // Four that are to be ignored.
        vectors.extend([0, 0x80].repeat(4));
        vectors.push(vector.len() as u8 - 1);
        vectors.extend(vector);
        let (decision, _) = negotiate(&Platform::of(&machine), &vectors).unwrap();
        // As the next start has it.
        let start = Start { decision: Some(decision), ..start(&machine) };
        let tree = Tree::parse(&build(&machine, &start).unwrap());
        let agreed = tree.value("/chosen", "ibm,architecture-vec-5").unwrap()[5];
        assert_eq!(agreed, form_bits & 0xa0);
        let points = tree.cells("/rtas", "ibm,associativity-reference-points");
        let points = points.into_iter().map(|point| point as usize).collect();
        let form = match agreed {
            0 => 0,
            0x80 => 1,
            _ => 2,
        };
        Self { tree, points, form }
    }

    /// The node that a list of domains, without its length, is of.
    fn node(&self, domains: &[u32]) -> u32 {
        let primary = if self.form == 0 { self.points[1] } else { self.points[0] };
        let most = self.tree.cells("/rtas", "ibm,max-associativity-domains");
        assert_eq!(most[0] as usize, most.len() - 1);
        for (domain, most) in domains.iter().zip(&most[1..]) {
            assert!(domain < most, "{domains:?} of {most:?}");
        }
        domains[primary - 1]
    }

    fn domains(&self, path: &str) -> Vec<u32> {
        let list = self.tree.cells(path, "ibm,associativity");
        assert_eq!(list[0] as usize, list.len() - 1, "{path}");
        list[1..].to_vec()
    }

    fn lookup(&self, list: u32) -> Vec<u32> {
        let lists = self
            .tree
            .cells("/ibm,dynamic-reconfiguration-memory", "ibm,associativity-lookup-arrays");
        let (count, length) = (lists[0], lists[1] as usize);
        assert!(list < count);
        assert_eq!(lists.len(), 2 + count as usize * length);
        lists[2 + list as usize * length..][..length].to_vec()
    }

    /// The blocks that can be plugged: address, connector, list, flags.
    fn blocks(&self) -> Vec<(u64, u32, u32, u32)> {
        const NODE: &str = "/ibm,dynamic-reconfiguration-memory";
        let address = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let mut blocks = Vec::new();
        if self.tree.value(NODE, "ibm,dynamic-memory-v2").is_some() {
            assert_eq!(self.tree.value(NODE, "ibm,dynamic-memory"), None);
            let cells = self.tree.cells(NODE, "ibm,dynamic-memory-v2");
            assert_eq!(cells.len(), 1 + 6 * cells[0] as usize);
            for set in cells[1..].chunks(6) {
                let start = address(set[1], set[2]);
                let connector = |number| if set[3] == 0 { 0 } else { set[3] + number };
                blocks.extend((0..set[0]).map(|number| {
                    let at = start + u64::from(number) * LMB_BYTES;
                    (at, connector(number), set[4], set[5])
                }));
            }
        } else {
            let cells = self.tree.cells(NODE, "ibm,dynamic-memory");
            assert_eq!(cells.len(), 1 + 6 * cells[0] as usize);
            let block = |cells: &[u32]| (address(cells[0], cells[1]), cells[2], cells[4], cells[5]);
            blocks.extend(cells[1..].chunks(6).map(block));
        }
        blocks
    }

    /// The domains of a node at the levels that count.
    fn levels(&self, node: u32) -> Vec<u32> {
        let all = self.tree.nodes();
        let has = |node: &parser::Node| node.value("ibm,associativity").is_some();
        let paths = all.iter().filter(|(_, node)| has(node)).map(|(path, _)| path);
        let lists = paths.map(|path| self.domains(path)).filter(|list| self.node(list) == node);
        let levels = lists.map(|list| self.points.iter().map(|&at| list[at - 1]).collect());
        let mut levels: HashSet<Vec<u32>> = levels.collect();
        assert_eq!(levels.len(), 1, "node {node} is in one place: {levels:?}");
        levels.drain().next().unwrap()
    }

    /// The distance that Linux's `__node_distance` gives.
    fn distance(&self, one: u32, other: u32) -> u32 {
        match self.form {
            0 => {
                if one == other {
                    10
                } else {
                    20
                }
            }
            1 => {
                let differ = self.levels(one).into_iter().zip(self.levels(other));
                10 << differ.take_while(|(one, other)| one != other).count()
            }
            _ => {
                let nodes = self.tree.cells("/rtas", "ibm,numa-lookup-index-table");
                assert_eq!(nodes[0] as usize, nodes.len() - 1);
                let place = |node| nodes[1..].iter().position(|&known| known == node).unwrap();
                let table = self.tree.value("/rtas", "ibm,numa-distance-table").unwrap();
                let count = nodes.len() - 1;
                assert_eq!(table[..4], ((count * count) as u32).to_be_bytes());
                assert_eq!(table.len(), 4 + count * count);
                table[4 + place(one) * count + place(other)].into()
            }
        }
    }
}

/// LoPAPR chapter 15: "one or more lists of numbers, each of which represents a domain".
#[test]
fn each_form_has_the_same_nodes() {
    for (bits, form) in [(0, 0), (0x80, 1), (0x20, 2), (0xa0, 2)] {
        for sets in [false, true] {
            let guest = Guest::of(&two_sockets(), bits, sets);
            assert_eq!(guest.form, form);
            let node = |path: &str| guest.node(&guest.domains(path));
            let cpus = ["0", "8", "10"].map(|unit| node(&format!("/cpus/PowerPC,POWER9@{unit}")));
            assert_eq!(cpus, [0, 4, 7]);
            let memory = ["0", "20000000", "40000000", "70000000"];
            assert_eq!(memory.map(|unit| node(&format!("/memory@{unit}"))), [0, 1, 4, 5]);
            let blocks = guest.blocks();
            let nodes: Vec<u32> =
                blocks.iter().map(|block| guest.node(&guest.lookup(block.2))).collect();
            assert_eq!(nodes, [0, 0, 1, 4, 4, 4, 5, 5, 5, 5, 5], "no block for the hole");
            assert_eq!(blocks[10], (11 * LMB_BYTES, 0x8000_000b, 5, 0));
            // The lists of blocks are those of the nodes that are there.
            assert_eq!(guest.lookup(blocks[0].2), guest.domains("/memory@0"));
            assert_eq!(guest.lookup(blocks[6].2), guest.domains("/memory@70000000"));
        }
    }
}

#[test]
fn distances_are_what_was_asked_for() {
    let config = two_sockets();
    let machine = Machine::new(&config).unwrap();
    for (bits, is_told) in [(0, false), (0x80, true), (0x20, true), (0xa0, true)] {
        let guest = Guest::of(&config, bits, true);
        for &one in machine.nodes() {
            for &other in machine.nodes() {
                let wanted = match machine.numa_distances().between(one, other) {
                    10 => 10,
                    _ if !is_told => 20,
                    wanted => wanted.into(),
                };
                let found = guest.distance(one.0.into(), other.0.into());
                assert_eq!(found, wanted, "{one} {other} {bits:#x}");
            }
        }
    }
}

/// What form 1 cannot say, form 2 does.
#[test]
fn form_2_says_any_distance() {
    let config =
        TestConfig { distances: vec![(0, 4, 11), (7, 1, 254), (1, 4, 33)], ..two_sockets() };
    let guest = Guest::of(&config, 0xa0, true);
    for (one, other, distance) in [(0, 4, 11), (4, 0, 11), (1, 7, 254), (1, 4, 33), (5, 7, 20)] {
        assert_eq!(guest.distance(one, other), distance);
    }
    // Nodes that could be, for Linux asks for all of them.
    assert_eq!(guest.distance(2, 3), 20);
}

#[test]
fn largest_machine_has_a_node_for_all() {
    let config = largest();
    let guest = Guest::of(&config, 0xa0, true);
    let cpus = &guest.tree.node("/cpus").unwrap().children;
    let nodes: Vec<u32> =
        cpus.iter().map(|cpu| guest.node(&guest.domains(&format!("/cpus/{}", cpu.name)))).collect();
    assert_eq!(nodes, (0..256).collect::<Vec<_>>());
    let servers = guest.tree.cells("/cpus/PowerPC,POWER9@7f8", "ibm,ppc-interrupt-server#s");
    assert_eq!(servers, (2040..2048).collect::<Vec<_>>());
    assert_eq!(guest.distance(0, 77), 77);
    assert_eq!(guest.distance(255, 255), 10);
    let blocks = guest.blocks();
    assert_eq!(blocks.len(), 65_536);
    assert_eq!(blocks[65_535], ((16 << 40) - LMB_BYTES, 0x8000_ffff, 255, 0));
    assert_eq!(blocks, Guest::of(&config, 0xa0, false).blocks());
}

/// Machines of any number of nodes.
fn any_machine() -> impl Strategy<Value = TestConfig> {
    let ranges = prop::collection::vec((0..3_u8, 1..4_u64, 0..9_u8), 1..12);
    let cores = prop::collection::vec(0..9_u8, 1..6);
    let distances = prop::collection::vec(any::<prop::sample::Index>(), 0..12);
    (ranges, cores, 0..4_u32, distances, 11..=254_u8).prop_map(
        |(ranges, cores, threads, distances, distance)| {
            let mut start = 0;
            let mut next = |kind, blocks: u64, node| {
                let at = GuestAddress(start);
                start += blocks * LMB_BYTES;
                let bytes = blocks * LMB_BYTES;
                let range = match kind {
                    0 => MemoryRange::ram(at, bytes),
                    1 => MemoryRange::hotplug(at, bytes),
                    _ => MemoryRange::reserved(at, bytes),
                };
                range.on_node(NumaNode(node))
            };
            let first = next(0, 1, ranges[0].2);
            let others = ranges.into_iter().map(|(kind, blocks, node)| next(kind, blocks, node));
            let ranges: Vec<MemoryRange> = [first].into_iter().chain(others).collect();
            let (count, threads) = (cores.len() as u32, 1 << threads);
            let topology = CpuTopology::new(count * threads).with_threads(threads, 8).unwrap();
            let mut config = TestConfig {
                ranges,
                cpus: Cpus::new(threads, CpuModel::Power9).with_max(count * threads),
                topology: Some(topology.with_nodes(cores.into_iter().map(NumaNode))),
                ..TestConfig::default()
            };
            let nodes = Machine::new(&config).unwrap().nodes().to_vec();
            config.distances = distances
                .chunks_exact(2)
                .map(|two| (two[0].get(&nodes).0, two[1].get(&nodes).0, distance))
                .filter(|(one, other, _)| one != other)
                .collect();
            config
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    /// Every CPU, memory and block is in the node that the machine says, in every form and every list;
    /// so far from each other as it says, where the form can say it.
    #[test]
    fn tree_of_any_machine_fits_together(
        config in any_machine(),
        bits in prop::sample::select(vec![0, 0x80, 0x20, 0xa0]),
        sets: bool,
    ) {
        let machine = Machine::new(&config).unwrap();
        let guest = Guest::of(&config, bits, sets);
        let cpus = &guest.tree.node("/cpus").unwrap().children;
        prop_assert_eq!(cpus.len(), 1);
        let domains = guest.domains(&format!("/cpus/{}", cpus[0].name));
        prop_assert_eq!(guest.node(&domains), u32::from(machine.topology().node(CpuIndex(0)).0));
        prop_assert_eq!(domains, machine.topology().domains(CpuIndex(0)));
        for range in machine.memory_map().ram() {
            let domains = guest.domains(&format!("/memory@{:x}", range.start.0));
            prop_assert_eq!(guest.node(&domains), u32::from(range.node.0));
        }
        if machine.memory_map().hotplug_bytes() > 0 {
            let mut blocks = guest.blocks().into_iter();
            let memory = machine.memory_map().ranges().iter();
            for range in memory.filter(|range| range.kind != MemoryKind::Reserved) {
                for at in (range.start.0..range.end().0).step_by(LMB_BYTES as usize) {
                    let (start, connector, list, flags) = blocks.next().unwrap();
                    prop_assert_eq!(start, at);
                    prop_assert_eq!(guest.node(&guest.lookup(list)), u32::from(range.node.0));
                    let is_ram = range.kind == MemoryKind::Ram;
                    let number = (at / LMB_BYTES) as u32;
                    let wanted = if is_ram { (0, 0xa0) } else { (0x8000_0000 | number, 0) };
                    prop_assert_eq!((connector, flags), wanted);
                }
            }
            prop_assert_eq!(blocks.next(), None);
        }
        let count = if guest.form == 2 { machine.node_count() } else { 0 };
        for one in 0..count {
            for other in 0..count {
                let nodes = [one, other].map(|number| NumaNode(number as u8));
                let wanted = machine.numa_distances().between(nodes[0], nodes[1]);
                prop_assert_eq!(guest.distance(one, other), u32::from(wanted));
            }
        }
    }
}
