//! What the client interface knows between two calls.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arch_ppc64::{Console, VcpuHost};

use crate::claims::Claims;
use crate::clock::Clock;
use crate::complaints::Complaints;
use crate::instances::{Instance, Instances, Kind};
use crate::policy::{CasPolicy, PropertyPolicy};
use crate::services;
use crate::tree::{DeviceTree, NodeId, SetError};

/// The property of a memory node that lists free memory (IEEE 1275 §3.7.6).
pub(crate) const AVAILABLE: &str = "available";

/// Everything that services work on.
pub(crate) struct State {
    pub(crate) tree: DeviceTree,
    /// What is claimed of RAM.
    pub(crate) claims: Claims,
    /// What is claimed of virtual addresses, by those who claim them apart from RAM.
    pub(crate) virtual_claims: Claims,
    pub(crate) instances: Instances,
    /// How many reads in a row have found nothing.
    pub(crate) empty_reads: u32,
    /// The function that the client wants to be called back at; 0 for none.
    pub(crate) callback: u32,
    /// What the client wants the machine's next start to have as arguments.
    pub(crate) boot_arguments: Option<Box<str>>,
    /// What clients have used of [`crate::limits::MAX_ADDED_BYTES`] besides the tree's
    /// [`set_bytes`](DeviceTree::set_bytes).
    pub(crate) added_bytes: usize,
    pub(crate) clock: Clock,
    pub(crate) complaints: Complaints,
    /// How often each service was called.
    pub(crate) calls: [u64; services::COUNT],
    pub(crate) memory: Option<MemoryNode>,
    pub(crate) console: Option<ConsoleNode>,
    pub(crate) cpus: Option<Arc<dyn VcpuHost>>,
    pub(crate) cas: Option<Box<dyn CasPolicy>>,
    pub(crate) properties: Box<dyn PropertyPolicy>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("nodes", &self.tree.nodes().len())
            .field("free_ranges", &self.claims.free_count())
            .field("instances", &self.instances)
            .field("added_bytes", &self.added_bytes)
            .finish_non_exhaustive()
    }
}

/// The console and its place in the tree.
pub(crate) struct ConsoleNode {
    pub(crate) node: NodeId,
    pub(crate) arguments: Box<str>,
    pub(crate) device: Arc<dyn Console>,
}

/// The node that says which memory is free, and in what form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryNode {
    pub(crate) node: NodeId,
    /// Cells of an address, 1 or 2.
    pub(crate) address_cells: usize,
    /// Cells of a size, 1 or 2.
    pub(crate) size_cells: usize,
}

impl MemoryNode {
    /// Bytes of one entry of a list of ranges.
    pub(crate) fn entry_bytes(&self) -> usize {
        (self.address_cells + self.size_cells) * 4
    }

    /// The entry of one range: of these bytes, the last [`entry_bytes`](Self::entry_bytes).
    #[inline]
    pub(crate) fn entry(&self, range: &Range<u64>) -> [u8; 16] {
        let size = u128::from(range.end - range.start);
        let cells = u128::from(range.start) << (self.size_cells * 32) | size;
        cells.to_be_bytes()
    }
}

impl State {
    /// Opens a package; `None` when too many are open.
    pub(crate) fn open(&mut self, node: NodeId, arguments: &str) -> Option<u32> {
        let kind = self.kind(node);
        self.instances.open(Instance { node, kind, arguments: arguments.into() })
    }

    /// Opens what `/chosen` tells clients of (IEEE 1275 §3.5): the console for input and for
    /// output, the memory, and what translates addresses.
    ///
    /// The console has two instances: a client that closes its `stdin`, as Linux does, goes on to
    /// use `stdout`.
    ///
    /// # Errors
    /// The property that cannot be set, and why.
    pub(crate) fn open_chosen(&mut self) -> Result<(), (&'static str, SetError)> {
        let Some(chosen) = self.tree.find("/chosen") else { return Ok(()) };
        let console = self.console.as_ref().map(|console| console.node);
        let arguments =
            self.console.as_ref().map_or_else(Box::default, |console| console.arguments.clone());
        let memory = self.memory.map(|memory| memory.node);
        let packages = [
            ("stdin", console, &*arguments),
            ("stdout", console, &*arguments),
            ("memory", memory, ""),
            ("mmu", self.first_cpu(), ""),
        ];
        for (name, node, arguments) in packages {
            if let Some(ihandle) = node.and_then(|node| self.open(node, arguments)) {
                let set = self.tree.set_property(chosen, name, &ihandle.to_be_bytes());
                set.map_err(|error| (name, error))?;
            }
        }
        Ok(())
    }

    /// Makes the arguments of a client's `boot` those of this start.
    pub(crate) fn pass_boot_arguments(&mut self) -> Result<(), SetError> {
        let Some(arguments) = self.boot_arguments.take() else { return Ok(()) };
        let Some(chosen) = self.tree.find("/chosen") else { return Ok(()) };
        let value = [arguments.as_bytes(), &[0]].concat();
        self.tree.set_property(chosen, "bootargs", &value)
    }

    /// The processor whose translation `/chosen` tells of: the first.
    fn first_cpu(&self) -> Option<NodeId> {
        self.tree.children(self.tree.find("/cpus")?).find(|&node| self.is_cpu(node))
    }

    fn is_cpu(&self, node: NodeId) -> bool {
        self.tree.property(node, "device_type") == Some(b"cpu\0")
    }

    /// The number by which the platform knows the processor of `node` (LoPAPR, its `reg`).
    pub(crate) fn cpu_number(&self, node: NodeId) -> Option<u32> {
        let reg = self.tree.property(node, "reg").filter(|_| self.is_cpu(node))?;
        reg.try_into().ok().map(u32::from_be_bytes)
    }

    /// What an instance of `node` can do.
    pub(crate) fn kind(&self, node: NodeId) -> Kind {
        if self.console.as_ref().is_some_and(|console| console.node == node) {
            Kind::Console
        } else if node == self.tree.root() {
            Kind::Root
        } else if self.tree.parent(node) == Some(self.tree.root())
            && self.tree.full_name(node) == "rtas"
        {
            Kind::Rtas
        } else if self.memory.is_some_and(|memory| memory.node == node) {
            Kind::Memory
        } else if self.is_cpu(node) {
            Kind::Mmu
        } else {
            Kind::Plain
        }
    }

    /// The memory node, if `node` is it and `name` asks for free memory.
    #[inline]
    pub(crate) fn is_available(&self, node: NodeId, name: &[u8]) -> Option<MemoryNode> {
        self.memory.filter(|memory| memory.node == node && name == AVAILABLE.as_bytes())
    }
}
