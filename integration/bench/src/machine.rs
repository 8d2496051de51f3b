//! What the largest machine costs: its tree, as it is put together at each start.

use std::hint::black_box;
use std::time::Duration;

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::fdt::{SLACK_BYTES, Start, Tree};
use arch_ppc64::layout::{MAX_CPUS, MAX_MEMORY_BYTES};
use arch_ppc64::platform::{Platform, outline};
use arch_ppc64::topology::{
    CpuTopology, CpuTopologyError, MemoryMap, MemoryMapError, MemoryRange, NumaDistanceError,
    NumaDistances, NumaNode,
};
use arch_ppc64::{Machine, cpu};
use vm_memory::GuestAddress;
use vof_device::DeviceTree;

use crate::measure::Laps;
use crate::report::{Bound, Figure};
use crate::unit::{MILLISECOND, Unit};

/// How long each is measured, at least.
const TIME: Duration = Duration::from_millis(1500);
const RUNS: u32 = 5;

/// NUMA nodes: as many as Linux kernels for servers can have.
const NODES: u64 = 256;

/// How long the tree may take, in milliseconds of the machine of docs/performance.md: flattened, and
/// from there to the live one.
const FLATTENED: f64 = 20.0;
const LIVE: f64 = 10.0;

/// The largest machine: 2,048 CPUs, so many threads a core, and 16 TiB of memory, of 256 NUMA nodes
/// that have 8 CPUs and 64 GiB each; of the memory of each node, an eighth is there at boot or all of
/// it.
#[derive(Debug, Clone, Copy)]
pub struct Largest {
    /// Threads of a core.
    pub threads: u32,
    /// Whether most of the memory can be plugged and is not there at boot.
    pub hotplug: bool,
}

impl Largest {
    /// The machine.
    ///
    /// # Panics
    /// Never: it can be.
    pub fn machine(self) -> Machine {
        Machine::new(&self).expect("the largest machine is one")
    }
}

impl MachineConfig for Largest {
    fn memory(&self) -> Memory {
        Memory::of_size(MAX_MEMORY_BYTES)
    }

    fn memory_map(&self) -> Result<MemoryMap, MemoryMapError> {
        let each = MAX_MEMORY_BYTES / NODES;
        let range = |number: u64| {
            let (node, start) = (NumaNode(number as u8), number * each);
            let ram = if self.hotplug { each / 8 } else { each };
            let rest = MemoryRange::hotplug(GuestAddress(start + ram), each - ram).on_node(node);
            let ram = MemoryRange::ram(GuestAddress(start), ram).on_node(node);
            [ram].into_iter().chain(self.hotplug.then_some(rest))
        };
        MemoryMap::new((0..NODES).flat_map(range))
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(MAX_CPUS, cpu::CpuModel::Power9)
    }

    fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
        let cpus = CpuTopology::new(MAX_CPUS).with_threads(self.threads, self.threads)?;
        let cores_a_node = u64::from(cpus.cores()) / NODES;
        let nodes =
            (0..NODES).flat_map(|node| (0..cores_a_node).map(move |_| NumaNode(node as u8)));
        Ok(cpus.with_nodes(nodes))
    }

    fn numa_distances(&self) -> Result<NumaDistances, NumaDistanceError> {
        // Sockets of 16 nodes, boards of 64.
        let distance = |one: u8, other: u8| match one ^ other {
            0..16 => 20,
            16..64 => 40,
            _ => 80,
        };
        let pair = move |one: u8| (0..one).map(move |other| (one, other));
        let pairs = (0..=u8::MAX).flat_map(pair);
        NumaDistances::new(
            pairs.map(|(one, other)| (NumaNode(one), NumaNode(other), distance(one, other))),
        )
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("console=hvc0")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

/// The machine's devices, of which there are none but those that each machine has.
///
/// # Panics
/// Never: any machine can have them.
pub fn platform(machine: &Machine) -> Platform {
    outline(machine).expect("the machine has devices")
}

/// The machine's tree.
///
/// # Panics
/// Never: any machine has one.
pub fn tree(platform: &Platform) -> Tree {
    platform.tree(&Start::new(GuestAddress(0x40_0000), [7; 32])).expect("the machine has a tree")
}

/// The same, flattened.
///
/// # Panics
/// Never: any tree can be.
pub fn blob(tree: &Tree) -> Vec<u8> {
    tree.flatten(SLACK_BYTES).expect("the tree can be written")
}

/// Measures the trees of the largest machines.
pub fn figures() -> Vec<Figure> {
    let mut unit = Unit::accesses();
    let mut figures = Vec::new();
    for (what, largest) in [
        ("2,048 cores, 16 TiB", Largest { threads: 1, hotplug: false }),
        ("256 cores × 8, 14 TiB to plug", Largest { threads: 8, hotplug: true }),
    ] {
        let platform = platform(&largest.machine());
        let mut figure = |what: String, limit, run: &mut dyn FnMut(&mut Laps)| {
            let time = Laps::time(TIME, RUNS, &mut unit, |laps| run(laps));
            let most = limit * MILLISECOND * unit.take_ns() / 1e6;
            let value = Some(time.as_secs_f64() * 1e3);
            figures.push(Figure { what, value, unit: "ms", bound: Bound::AtMost(most) });
        };
        figure(format!("{what}: tree, flattened"), FLATTENED, &mut |laps| {
            let tree = tree(&platform);
            laps.end_lap();
            black_box(blob(&tree));
        });
        let blob = blob(&tree(&platform));
        figure(format!("{what}: flattened to live"), LIVE, &mut |_| {
            black_box(DeviceTree::from_blob(&blob).expect("the tree is a valid one"));
        });
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_machines_have_trees() {
        for threads in [1, 8] {
            for hotplug in [false, true] {
                let machine = Largest { threads, hotplug }.machine();
                assert_eq!(machine.nodes().len() as u64, NODES);
                let tree = DeviceTree::from_blob(&blob(&tree(&platform(&machine)))).unwrap();
                let cpus = tree.find("/cpus").unwrap();
                assert_eq!(tree.children(cpus).count() as u32, MAX_CPUS / threads);
            }
        }
    }
}
