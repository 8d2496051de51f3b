//! What the client interface knows between two calls, but for open packages.

use std::fmt;
use std::sync::Arc;

use arch_ppc64::cas::Decision;
use arch_ppc64::log_limit::LogLimit;
use arch_ppc64::platform::PropertyObserver;
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::{ServerNumber, VcpuHost};

use crate::args::Guest;
use crate::claims::{ClaimError, Claims};
use crate::clock::Clock;
use crate::memory_node::{AVAILABLE, MemoryNode};
use crate::policy::{CasPolicy, PropertyPolicy, is_structural};
use crate::tree::{DeviceTree, NodeId, SetError};

/// What services and the interface's own packages work on.
pub(crate) struct State {
    pub(crate) tree: DeviceTree,
    /// What is claimed of RAM.
    pub(crate) claims: Claims,
    /// What is claimed of virtual addresses, by those who claim them apart from RAM.
    pub(crate) virtual_claims: Claims,
    /// The function that the client wants to be called back at; 0 for none.
    pub(crate) callback: u32,
    /// What the client wants the machine's next start to have as arguments.
    pub(crate) boot_arguments: Option<Box<str>>,
    /// And where it is to start from: a device specifier.
    pub(crate) boot_device: Option<Box<str>>,
    /// The arguments that the client before gave this start.
    pub(crate) passed_arguments: Option<Box<str>>,
    /// What the machine's next start is to be made with: it is to come at once.
    pub(crate) restart: Option<Decision>,
    /// What clients have used of [`crate::limits::MAX_ADDED_BYTES`] besides the tree's
    /// [`set_bytes`](DeviceTree::set_bytes).
    pub(crate) added_bytes: usize,
    pub(crate) clock: Clock,
    /// What a guest does wrong goes to the log, as much of it as a person can read.
    pub(crate) complaints: LogLimit,
    /// How often each service was called, by its number.
    pub(crate) calls: Box<[u64]>,
    pub(crate) memory: Option<MemoryNode>,
    /// What starts processors, and how the tree numbers them.
    pub(crate) cpus: Option<(Arc<dyn VcpuHost>, CpuTopology)>,
    pub(crate) cas: Option<Box<dyn CasPolicy>>,
    pub(crate) properties: Box<dyn PropertyPolicy>,
    pub(crate) observers: Vec<Arc<dyn PropertyObserver>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("nodes", &self.tree.nodes().len())
            .field("free_ranges", &self.claims.free_count())
            .field("added_bytes", &self.added_bytes)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Claims RAM: what is free of it, and is there. Where the VMM's RAM has a hole that it did not
    /// tell of, a claim that meets it fails.
    pub(crate) fn claim(
        &mut self,
        guest: Guest<'_>,
        start: u32,
        size: u32,
        align: u32,
    ) -> Result<u32, ClaimError> {
        let base = self.claims.claim(start, size, align)?;
        if guest.check(base, size as usize).is_err() {
            // It was claimed just now, so nothing speaks against it.
            let _ = self.claims.release(base, size);
            return Err(ClaimError::NotFree);
        }
        Ok(base)
    }

    /// Makes these the arguments of this start.
    pub(crate) fn pass_boot_arguments(&mut self, arguments: &str) -> Result<(), SetError> {
        self.passed_arguments = Some(arguments.into());
        let Some(chosen) = self.tree.find("/chosen") else { return Ok(()) };
        let value = [arguments.as_bytes(), &[0]].concat();
        self.tree.set_property(chosen, "bootargs", &value)
    }

    /// Whether a client may give a property this value.
    pub(crate) fn may_set(&self, path: &str, name: &str, value: &[u8]) -> bool {
        !is_structural(path, name)
            && self.properties.may_set(path, name, value)
            && self.observers.iter().all(|observer| observer.may_set(path, name, value))
    }

    /// Tells of a property that a client has given this value.
    pub(crate) fn was_set(&mut self, path: &str, name: &str, value: &[u8]) {
        self.properties.was_set(path, name, value);
        for observer in &self.observers {
            observer.was_set(path, name, value);
        }
    }

    /// Counts a call of the service of that number.
    #[inline]
    pub(crate) fn count(&mut self, service: usize) {
        if let Some(count) = self.calls.get_mut(service) {
            *count = count.saturating_add(1);
        }
    }

    /// The processor whose translation `/chosen` tells of: the first.
    pub(crate) fn first_cpu(&self) -> Option<NodeId> {
        self.tree.children(self.tree.find("/cpus")?).find(|&node| is_cpu(&self.tree, node))
    }

    /// The number by which the platform knows the processor of `node` (LoPAPR, its `reg`).
    pub(crate) fn cpu_number(&self, node: NodeId) -> Option<ServerNumber> {
        let reg = self.tree.property(node, "reg").filter(|_| is_cpu(&self.tree, node))?;
        reg.try_into().ok().map(|reg| ServerNumber(u32::from_be_bytes(reg)))
    }

    /// The memory node, if `node` is it and `name` asks for free memory.
    #[inline]
    pub(crate) fn is_available(&self, node: NodeId, name: &[u8]) -> Option<MemoryNode> {
        self.memory.filter(|memory| memory.node == node && name == AVAILABLE.as_bytes())
    }
}

/// Whether a node is a processor.
pub(crate) fn is_cpu(tree: &DeviceTree, node: NodeId) -> bool {
    tree.property(node, "device_type") == Some(b"cpu\0")
}
