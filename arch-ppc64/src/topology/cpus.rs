//! How guests number CPUs, and which are near to each other.

use super::affinity::NumaNode;
use super::distances::NumaDistances;
use super::form1::{self, Above};
use crate::layout::MAX_THREADS_PER_CORE;
use crate::vcpu::{CpuIndex, ServerNumber};

/// The CPUs of a machine: the cores that they are threads of, the numbers that guests know them by,
/// and their NUMA nodes.
///
/// CPUs are counted by [`CpuIndex`], core by core. A guest names one by its [`ServerNumber`]:
/// whoever gets such a number from a guest asks [`index`](Self::index) for the CPU, once, and
/// before anything is looked up by it.
///
/// ```
/// use arch_ppc64::topology::CpuTopology;
/// use arch_ppc64::{CpuIndex, ServerNumber};
///
/// // Four CPUs in two cores; a core has room for eight threads in the numbers of servers.
/// let cpus = CpuTopology::new(4).with_threads(2, 8)?;
/// assert_eq!(cpus.server(CpuIndex(3)), ServerNumber(9));
/// assert_eq!(cpus.index(ServerNumber(9)), Some(CpuIndex(3)));
/// assert_eq!(cpus.index(ServerNumber(3)), None);
/// # Ok::<(), arch_ppc64::topology::CpuTopologyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuTopology {
    cpus: u32,
    threads_per_core: u32,
    servers_per_core: u32,
    /// Of each core; node 0 where there is none.
    nodes: Vec<NumaNode>,
    /// The associativity domains above each node, by its number; 0 where there is none.
    above: Vec<Above>,
}

/// CPUs that cannot be arranged so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuTopologyError {
    /// Linux works with no other numbers of threads.
    #[error("a core has 1, 2, 4 or 8 threads, not {threads}")]
    Threads {
        /// What was asked for.
        threads: u32,
    },
    /// The numbers of a core's threads follow each other, and cores are as many numbers apart.
    #[error(
        "cores with {threads} threads cannot be {servers} interrupt server numbers apart: it has \
         to be a power of two, from {threads} to {MAX_THREADS_PER_CORE}"
    )]
    Servers {
        /// Threads of a core.
        threads: u32,
        /// What was asked for.
        servers: u32,
    },
    /// All cores have the same number of threads.
    #[error("{cpus} CPUs are no whole number of cores with {threads} threads")]
    PartOfCore {
        /// How many CPUs there are.
        cpus: u32,
        /// Threads of a core.
        threads: u32,
    },
}

impl CpuTopology {
    /// Up to `cpus` CPUs, each a core of one thread, of node 0, whose server number is its index.
    pub const fn new(cpus: u32) -> Self {
        Self {
            cpus,
            threads_per_core: 1,
            servers_per_core: 1,
            nodes: Vec::new(),
            above: Vec::new(),
        }
    }

    /// The same CPUs as threads of cores, so many of each. The server numbers of a core begin at a
    /// multiple of `servers_per_core`.
    ///
    /// # Errors
    /// [`CpuTopologyError`] says which of the numbers cannot be.
    pub fn with_threads(
        self,
        threads_per_core: u32,
        servers_per_core: u32,
    ) -> Result<Self, CpuTopologyError> {
        let (threads, servers) = (threads_per_core, servers_per_core);
        let is_possible = |count: u32| count.is_power_of_two() && count <= MAX_THREADS_PER_CORE;
        if !is_possible(threads) {
            return Err(CpuTopologyError::Threads { threads });
        }
        if !is_possible(servers) || servers < threads {
            return Err(CpuTopologyError::Servers { threads, servers });
        }
        if self.cpus % threads != 0 {
            return Err(CpuTopologyError::PartOfCore { cpus: self.cpus, threads });
        }
        Ok(Self { threads_per_core, servers_per_core, ..self })
    }

    /// With cores in NUMA nodes, in the order of the cores; the others are in node 0.
    #[must_use]
    pub fn with_nodes(self, nodes: impl IntoIterator<Item = NumaNode>) -> Self {
        let cores = self.cores() as usize;
        Self { nodes: nodes.into_iter().take(cores).collect(), ..self }
    }

    /// With the nodes of a machine that are so far from each other.
    #[must_use]
    pub(crate) fn with_distances(self, distances: &NumaDistances, nodes: &[NumaNode]) -> Self {
        let said = !distances.named().is_empty();
        let above = if said { form1::above(nodes, distances) } else { Vec::new() };
        Self { above, ..self }
    }

    /// How many CPUs there may be.
    pub const fn cpus(&self) -> u32 {
        self.cpus
    }

    /// How many cores there may be.
    pub const fn cores(&self) -> u32 {
        self.cpus / self.threads_per_core
    }

    /// How many threads each core has: a power of two.
    pub const fn threads_per_core(&self) -> u32 {
        self.threads_per_core
    }

    /// How many server numbers the first threads of two cores are apart: a power of two.
    pub const fn servers_per_core(&self) -> u32 {
        self.servers_per_core
    }

    /// The number that guests know a CPU by.
    pub const fn server(&self, cpu: CpuIndex) -> ServerNumber {
        let (core, thread) = (cpu.0 / self.threads_per_core, cpu.0 % self.threads_per_core);
        ServerNumber(core.wrapping_mul(self.servers_per_core) + thread)
    }

    /// One more than the highest number that guests know a CPU by.
    pub const fn server_end(&self) -> u32 {
        match self.cpus {
            0 => 0,
            cpus => self.server(CpuIndex(cpus - 1)).0 + 1,
        }
    }

    /// The CPU that a guest means, if there may be one of that number.
    pub const fn index(&self, server: ServerNumber) -> Option<CpuIndex> {
        let (core, thread) = (server.0 / self.servers_per_core, server.0 % self.servers_per_core);
        if core < self.cores() && thread < self.threads_per_core {
            Some(CpuIndex(core * self.threads_per_core + thread))
        } else {
            None
        }
    }

    /// The first thread of the core of a CPU: the one whose server number the core's node has.
    pub const fn first_of_core(&self, cpu: CpuIndex) -> CpuIndex {
        CpuIndex(cpu.0 - cpu.0 % self.threads_per_core)
    }

    /// All threads of the core of a CPU.
    pub fn core(&self, cpu: CpuIndex) -> impl ExactSizeIterator<Item = CpuIndex> + use<> {
        let CpuIndex(first) = self.first_of_core(cpu);
        (first..first + self.threads_per_core).map(CpuIndex)
    }

    /// The NUMA node of a CPU.
    pub fn node(&self, cpu: CpuIndex) -> NumaNode {
        let core = (cpu.0 / self.threads_per_core) as usize;
        self.nodes.get(core).copied().unwrap_or_default()
    }

    /// The NUMA node of each core.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NumaNode> + '_ {
        let cores = 0..self.cores() as usize;
        cores.map(|core| self.nodes.get(core).copied().unwrap_or_default())
    }

    /// How many NUMA nodes CPUs are in: one more than the highest number of one.
    pub fn node_count(&self) -> u32 {
        self.nodes.iter().map(|node| u32::from(node.0) + 1).max().unwrap_or(1)
    }

    /// The associativity domains of a NUMA node and of memory in it, highest level first: what
    /// `ibm,associativity` says after the count. The last is the node; those above say, in form 1, which
    /// nodes are near to each other, as far as that form can.
    pub fn node_domains(&self, node: NumaNode) -> [u32; 4] {
        let [a, b, c] = self.above.get(usize::from(node.0)).copied().unwrap_or_default();
        [a, b, c, node.0.into()]
    }

    /// The associativity domains of a CPU, highest level first: what the `ibm,associativity` of its
    /// core says after the count, and H_HOME_NODE_ASSOCIATIVITY. They are those of
    /// [its node](Self::node_domains), and last the core.
    pub fn domains(&self, cpu: CpuIndex) -> [u32; 5] {
        let [a, b, c, node] = self.node_domains(self.node(cpu));
        [a, b, c, node, self.server(self.first_of_core(cpu)).0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_a_core_is_counted_alike() {
        let cpus = CpuTopology::new(5);
        assert_eq!((cpus.cpus(), cpus.cores(), cpus.threads_per_core()), (5, 5, 1));
        for number in 0..5 {
            assert_eq!(cpus.server(CpuIndex(number)), ServerNumber(number));
            assert_eq!(cpus.index(ServerNumber(number)), Some(CpuIndex(number)));
        }
        assert_eq!(cpus.index(ServerNumber(5)), None);
        assert_eq!(cpus.index(ServerNumber(u32::MAX)), None);
        assert_eq!(cpus.server_end(), 5);
        assert_eq!(CpuTopology::new(0).index(ServerNumber(0)), None);
        assert_eq!(CpuTopology::new(0).server_end(), 0);
    }

    /// Every number of a server is that of one CPU or of none, and every CPU has one.
    #[test]
    fn numbers_and_cpus_are_one_to_one() {
        for (threads, servers) in [(1, 8), (2, 2), (2, 8), (4, 4), (4, 8), (8, 8)] {
            let cpus = CpuTopology::new(16).with_threads(threads, servers).unwrap();
            assert_eq!(cpus.cores(), 16 / threads);
            let known: Vec<_> = (0..200).map(ServerNumber).collect();
            let known: Vec<_> = known
                .into_iter()
                .filter_map(|server| Some((server, cpus.index(server)?)))
                .collect();
            assert_eq!(known.len(), 16, "{threads} of {servers}");
            assert_eq!(known.last().map(|(last, _)| last.0 + 1), Some(cpus.server_end()));
            for (count, &(server, cpu)) in known.iter().enumerate() {
                assert_eq!(cpu, CpuIndex(count as u32));
                assert_eq!(cpus.server(cpu), server);
                assert_eq!(server.0 / servers, cpu.0 / threads, "the core");
                let core: Vec<_> = cpus.core(cpu).collect();
                assert_eq!(core.len(), threads as usize);
                assert_eq!(core[0], cpus.first_of_core(cpu));
                assert!(core.contains(&cpu));
            }
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let with = |threads, servers| CpuTopology::new(8).with_threads(threads, servers);
        for threads in [0, 3, 16, u32::MAX] {
            assert_eq!(with(threads, 8), Err(CpuTopologyError::Threads { threads }));
        }
        for servers in [0, 1, 3, 16, u32::MAX] {
            assert_eq!(with(2, servers), Err(CpuTopologyError::Servers { threads: 2, servers }));
        }
        assert_eq!(
            CpuTopology::new(7).with_threads(2, 2),
            Err(CpuTopologyError::PartOfCore { cpus: 7, threads: 2 })
        );
    }

    #[test]
    fn threads_of_a_core_are_in_one_node() {
        let nodes = [0, 1, 2, 3].map(NumaNode);
        let cpus = CpuTopology::new(6).with_threads(2, 4).unwrap().with_nodes(nodes);
        let found: Vec<_> = (0..6).map(|cpu| cpus.node(CpuIndex(cpu)).0).collect();
        assert_eq!(found, [0, 0, 1, 1, 2, 2]);
        // The fourth has no core.
        assert_eq!(cpus.node_count(), 3);
        assert_eq!(cpus.domains(CpuIndex(3)), [0, 0, 0, 1, 4]);
        assert_eq!(cpus.domains(CpuIndex(4)), [0, 0, 0, 2, 8]);
        let some = CpuTopology::new(2).with_nodes([NumaNode(7)]);
        assert_eq!([0, 1].map(|cpu| some.node(CpuIndex(cpu)).0), [7, 0]);
    }
}
