//! Whether CPUs, memory and NUMA nodes fit together.

use std::collections::{BTreeMap, BTreeSet};

use arch_ppc64::layout::{LMB_BYTES, PAGE_BYTES};
use arch_ppc64::topology::{NumaDistanceError, NumaDistances, NumaNode};
use vm_memory::GuestAddress;

use super::memory::Zone;
use super::{Backing, DistanceConfig, NumaConfig, Size, VmConfig};

/// CPUs, memory and NUMA nodes that cannot be in one machine, each named as on the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A topology is of another number of CPUs than there may be.
    #[error(
        "--cpus topology={topology}: the product of its four numbers is {product}, and has to be how \
         many CPUs there may be: max={max}"
    )]
    Topology {
        /// The topology.
        topology: String,
        /// How many CPUs it is of.
        product: u64,
        /// How many there may be.
        max: u32,
    },
    /// Memory is a size or zones.
    #[error(
        "--memory size={}: the size of zones is their own; with --memory-zone it has to be --memory \
         size=0", Size(*.size)
    )]
    SizeAndZones {
        /// The size.
        size: u64,
    },
    /// As [`SizeAndZones`](Self::SizeAndZones).
    #[error("--memory hotplug_size={}: with --memory-zone each zone has its own", Size(*.size))]
    HotplugAndZones {
        /// The size.
        size: u64,
    },
    /// Two have what only one can have.
    #[error("{second}: the {what} is that of {first} already")]
    Shared {
        /// What they share, and which.
        what: String,
        /// The one before.
        first: String,
        /// The other.
        second: String,
    },
    /// There is no memory in a zone.
    #[error("{zone}: size=0 is for a zone that memory can be plugged into: give it a hotplug_size")]
    EmptyZone {
        /// The zone.
        zone: String,
    },
    /// A zone is not where it can be.
    #[error("{zone}: {value} has to be a multiple of {}{why}", Size(*.unit))]
    Unaligned {
        /// The zone.
        zone: String,
        /// What of it, and which.
        value: String,
        /// Of what it has to be a multiple, in bytes.
        unit: u64,
        /// Why, if that is not the same for all machines.
        why: &'static str,
    },
    /// Huge pages have no such size.
    #[error("{zone}: hugepage_size={}: the size of a page is a power of two", Size(*.size))]
    PageSize {
        /// The zone.
        zone: String,
        /// The size in bytes.
        size: u64,
    },
    /// A size of huge pages, and none are wanted.
    #[error("{zone}: hugepage_size is for hugepages=on")]
    NoHugePages {
        /// The zone.
        zone: String,
    },
    /// A node has memory that is not there.
    #[error("{node}: there is no memory zone {zone}; there are {}", .zones.join(", "))]
    UnknownZone {
        /// The node.
        node: String,
        /// What it names.
        zone: String,
        /// What there is.
        zones: Vec<String>,
    },
    /// A zone is in no node.
    #[error("{zone} is in no NUMA node, and others are: name it in memory_zones of a --numa")]
    ZoneNowhere {
        /// The zone.
        zone: String,
    },
    /// A node has CPUs that there cannot be.
    #[error("{node}: there is no CPU {cpu}; the last is {last}")]
    UnknownCpu {
        /// The node.
        node: String,
        /// What it names.
        cpu: u32,
        /// What there is.
        last: u32,
    },
    /// A CPU is in no node.
    #[error("CPU {cpu} is in no NUMA node, and others are: name it in cpus of a --numa")]
    CpuNowhere {
        /// The CPU.
        cpu: u32,
    },
    /// The threads of a core are in two nodes.
    #[error(
        "{node}: CPU {cpu} is a thread of the same core as CPU {other}, which is in {other_node}; \
         cores have {threads} threads"
    )]
    SplitCore {
        /// The node.
        node: String,
        /// The CPU.
        cpu: u32,
        /// Another one of its core.
        other: u32,
        /// Where that is.
        other_node: String,
        /// How many threads a core has.
        threads: u32,
    },
    /// A node has nothing.
    #[error("{node} has neither cpus nor memory_zones, and would be no node to a guest")]
    EmptyNode {
        /// The node.
        node: String,
    },
    /// A distance leads nowhere.
    #[error("{node}: distances={destination}@{distance}: there is no node {destination}")]
    UnknownDestination {
        /// The node.
        node: String,
        /// The other.
        destination: u8,
        /// How far that is to be.
        distance: u8,
    },
    /// Nodes cannot be so far from each other.
    #[error("--numa distances: {0}")]
    Distance(NumaDistanceError),
}

impl VmConfig {
    /// Checks that CPUs, memory and NUMA nodes fit together, as far as this is not about one of them
    /// only, which `arch_ppc64::Machine` checks.
    ///
    /// # Errors
    /// [`LayoutError`] names what does not.
    pub fn check_layout(&self) -> Result<(), LayoutError> {
        if let Some(topology) = self.cpus.topology {
            let (product, max) = (topology.cpus(), self.cpus.max());
            if product != u64::from(max) {
                let topology = topology.to_string();
                return Err(LayoutError::Topology { topology, product, max });
            }
        }
        let zones = self.zones();
        self.check_zones(&zones)?;
        if self.numa.is_empty() {
            return Ok(());
        }
        self.check_nodes(&zones)?;
        self.check_cpus()?;
        self.check_distances()
    }

    /// The parts of memory. Those of which nothing is said are shared where the programs of devices need
    /// them.
    pub(super) fn zones(&self) -> Vec<Zone> {
        self.memory.zones(!self.fs.is_empty())
    }

    /// How each part of memory is had, and where that begins.
    pub(crate) fn backings(&self) -> impl Iterator<Item = (GuestAddress, Backing)> + use<> {
        self.zones().into_iter().flat_map(|zone| {
            let ranges = zone.ranges(NumaNode::default());
            ranges.map(move |range| (range.start, zone.backing)).collect::<Vec<_>>()
        })
    }

    /// The node of a zone, and whether a zone is in one at all.
    pub(super) fn node_of_zone(&self, zone: &Zone) -> Option<NumaNode> {
        let has =
            |node: &&NumaConfig| node.memory_zones.iter().any(|id| id.as_str() == zone.name());
        self.numa.iter().find(has).map(|node| NumaNode(node.guest_numa_id))
    }

    /// The nodes of all CPUs, core by core; a core that is in none is in node 0.
    pub(super) fn nodes_of_cores(&self) -> Vec<NumaNode> {
        let threads = self.cpus.threads_per_core().max(1);
        let cores = self.cpus.max() / threads;
        let mut nodes = vec![NumaNode::default(); cores as usize];
        for node in &self.numa {
            for cpu in &node.cpus {
                if let Some(place) = nodes.get_mut((cpu / threads) as usize) {
                    *place = NumaNode(node.guest_numa_id);
                }
            }
        }
        nodes
    }

    /// How far nodes are from each other.
    pub(super) fn distances(&self) -> Result<NumaDistances, NumaDistanceError> {
        NumaDistances::new(self.numa.iter().flat_map(|node| {
            let from = NumaNode(node.guest_numa_id);
            node.distances.iter().map(move |to| (from, NumaNode(to.destination), to.distance))
        }))
    }

    fn check_zones(&self, zones: &[Zone]) -> Result<(), LayoutError> {
        let memory = &self.memory;
        if !memory.zones.is_empty() {
            match (memory.size.0, memory.hotplug_size.0) {
                (0, 0) => {}
                (0, size) => return Err(LayoutError::HotplugAndZones { size }),
                (size, _) => return Err(LayoutError::SizeAndZones { size }),
            }
        }
        let mut names = Owners::default();
        for zone in zones {
            names.take(zone.name(), || format!("id {}", zone.name()), zone)?;
        }
        let can_be_plugged = zones.iter().any(|zone| zone.hotplug_bytes != 0);
        let nodes: Vec<_> = zones.iter().map(|zone| self.node_of_zone(zone)).collect();
        let (unit, why) = match nodes.iter().any(|node| *node != nodes[0]) {
            _ if can_be_plugged => (LMB_BYTES, ", as memory can be plugged into this machine"),
            true => (LMB_BYTES, ", as memory is in several NUMA nodes"),
            false => (PAGE_BYTES, ""),
        };
        for (number, zone) in zones.iter().enumerate() {
            let said = memory.zones.get(number);
            if zone.id.is_some() && zone.bytes == 0 && zone.hotplug_bytes == 0 {
                return Err(LayoutError::EmptyZone { zone: zone.to_string() });
            }
            let start = ("start", zone.start.0);
            for (key, value) in [start, ("size", zone.bytes), ("hotplug_size", zone.hotplug_bytes)]
            {
                check_multiple(zone, key, value, unit, why)?;
            }
            let (is_huge, page_size) = memory.huge_pages(said);
            let Some(Size(page_bytes)) = page_size else { continue };
            if !is_huge {
                return Err(LayoutError::NoHugePages { zone: zone.to_string() });
            }
            if !page_bytes.is_power_of_two() {
                return Err(LayoutError::PageSize { zone: zone.to_string(), size: page_bytes });
            }
            let why = ", the size of its huge pages";
            check_multiple(zone, "size", zone.bytes, page_bytes, why)?;
            check_multiple(zone, "hotplug_size", zone.hotplug_bytes, page_bytes, why)?;
        }
        check_overlaps(zones)
    }

    fn check_nodes(&self, zones: &[Zone]) -> Result<(), LayoutError> {
        let mut numbers = Owners::default();
        let mut owners = Owners::default();
        for node in &self.numa {
            numbers.take(node.guest_numa_id, || "number".to_owned(), node)?;
            if node.cpus.is_empty() && node.memory_zones.is_empty() {
                return Err(LayoutError::EmptyNode { node: node.to_string() });
            }
            for id in &node.memory_zones {
                if !zones.iter().any(|zone| zone.name() == id.as_str()) {
                    let zones = zones.iter().map(|zone| zone.name().to_owned()).collect();
                    let (node, zone) = (node.to_string(), id.to_string());
                    return Err(LayoutError::UnknownZone { node, zone, zones });
                }
                owners.take(id, || format!("memory zone {id}"), node)?;
            }
        }
        match zones.iter().find(|zone| self.node_of_zone(zone).is_none()) {
            Some(zone) => Err(LayoutError::ZoneNowhere { zone: zone.to_string() }),
            None => Ok(()),
        }
    }

    fn check_cpus(&self) -> Result<(), LayoutError> {
        let (max, threads) = (self.cpus.max(), self.cpus.threads_per_core().max(1));
        let mut owners = Owners::default();
        // The first CPU of each core that is in a node, and that node.
        let mut cores: BTreeMap<u32, (u32, u8)> = BTreeMap::new();
        for node in &self.numa {
            for &cpu in &node.cpus {
                if cpu >= max {
                    let (node, last) = (node.to_string(), max.saturating_sub(1));
                    return Err(LayoutError::UnknownCpu { node, cpu, last });
                }
                owners.take(cpu, || format!("CPU {cpu}"), node)?;
                let &mut (other, other_node) =
                    cores.entry(cpu / threads).or_insert((cpu, node.guest_numa_id));
                if other_node != node.guest_numa_id {
                    let (node, other_node) = (node.to_string(), format!("node {other_node}"));
                    return Err(LayoutError::SplitCore { node, cpu, other, other_node, threads });
                }
            }
        }
        match (0..max).find(|cpu| !owners.0.contains_key(cpu)) {
            Some(cpu) => Err(LayoutError::CpuNowhere { cpu }),
            None => Ok(()),
        }
    }

    fn check_distances(&self) -> Result<(), LayoutError> {
        let known: BTreeSet<u8> = self.numa.iter().map(|node| node.guest_numa_id).collect();
        for node in &self.numa {
            for &DistanceConfig { destination, distance } in &node.distances {
                if !known.contains(&destination) {
                    let node = node.to_string();
                    return Err(LayoutError::UnknownDestination { node, destination, distance });
                }
            }
        }
        self.distances().map(drop).map_err(LayoutError::Distance)
    }
}

fn check_multiple(
    zone: &Zone,
    key: &str,
    value: u64,
    unit: u64,
    why: &'static str,
) -> Result<(), LayoutError> {
    if value % unit == 0 {
        return Ok(());
    }
    let value = format!("{key}={}", Size(value));
    Err(LayoutError::Unaligned { zone: zone.to_string(), value, unit, why })
}

/// What can be plugged is behind all RAM: it overlaps nothing.
fn check_overlaps(zones: &[Zone]) -> Result<(), LayoutError> {
    let mut sorted: Vec<&Zone> = zones.iter().filter(|zone| zone.bytes != 0).collect();
    sorted.sort_by_key(|zone| zone.start);
    for pair in sorted.windows(2) {
        let [first, second] = pair else { continue };
        if second.start.0 < first.start.0.saturating_add(first.bytes) {
            return Err(LayoutError::Shared {
                what: format!("memory at {:#x}", second.start.0),
                first: first.to_string(),
                second: second.to_string(),
            });
        }
    }
    Ok(())
}

/// Who has what.
struct Owners<K>(BTreeMap<K, String>);

impl<K> Default for Owners<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Owners<K> {
    fn take(
        &mut self,
        key: K,
        what: impl FnOnce() -> String,
        owner: &impl ToString,
    ) -> Result<(), LayoutError> {
        let second = owner.to_string();
        match self.0.get(&key) {
            Some(first) => Err(LayoutError::Shared { what: what(), first: first.clone(), second }),
            None => {
                self.0.insert(key, second);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
