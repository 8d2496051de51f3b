//! From the parts of a machine to its client interface.

use std::fmt;
use std::sync::Arc;

use arch_ppc64::{Console, VcpuHost};
use vm_memory::GuestAddress;

use crate::claims::Claims;
use crate::clock::Clock;
use crate::complaints::Complaints;
use crate::instances::Instances;
use crate::policy::{CasPolicy, KnownProperties, PropertyPolicy};
use crate::saved::{RestoreError, VofState};
use crate::state::{AVAILABLE, ConsoleNode, MemoryNode, State};
use crate::tree::{DeviceTree, SetError};
use crate::vof::{Start, Vof};

/// What makes a [`Vof`]; see [`Vof::builder`].
pub struct VofBuilder {
    tree: DeviceTree,
    ram_bytes: u64,
    console: Option<(String, Arc<dyn Console>)>,
    cpus: Option<Arc<dyn VcpuHost>>,
    cas: Option<Box<dyn CasPolicy>>,
    properties: Box<dyn PropertyPolicy>,
    reserved: Vec<Reserved>,
    boot_arguments: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Reserved {
    start: GuestAddress,
    bytes: u64,
    is_firmware: bool,
}

/// Why there can be no client interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The path of the console names no node.
    #[error("there is no node {path:?} to be the console")]
    NoConsole {
        /// The path.
        path: String,
    },
    /// There is a console and no `/chosen` to tell of it.
    #[error("there is a console, but no node /chosen to hold stdin and stdout")]
    NoChosen,
    /// The root's `#address-cells` or `#size-cells` is not 1 or 2, or too few for the RAM.
    #[error(
        "{address_cells} address and {size_cells} size cells of the root cannot describe RAM of \
         {ram_bytes} bytes; both must be 1 or 2, and 2 from 4 GiB on"
    )]
    Cells {
        /// The root's `#address-cells`, 2 if it has none.
        address_cells: u32,
        /// The root's `#size-cells`, 1 if it has none.
        size_cells: u32,
        /// What they are to describe.
        ram_bytes: u64,
    },
    /// Memory is reserved that is not RAM.
    #[error("{bytes} bytes at {:#x} are reserved but not all RAM", .start.0)]
    NotRam {
        /// Where they start.
        start: GuestAddress,
        /// How many they are.
        bytes: u64,
    },
    /// A property that the interface itself provides cannot be made.
    #[error("{path} cannot have the property {name}")]
    Property {
        /// The node.
        path: String,
        /// The property.
        name: &'static str,
        /// The reason.
        #[source]
        source: SetError,
    },
}

impl VofBuilder {
    pub(crate) fn new(tree: DeviceTree, ram_bytes: u64) -> Self {
        Self {
            tree,
            ram_bytes,
            console: None,
            cpus: None,
            cas: None,
            properties: Box::new(KnownProperties),
            reserved: Vec::new(),
            boot_arguments: None,
        }
    }

    /// The console, and the device specifier of the node that is it. It is open from the start,
    /// twice: `/chosen` has the ihandles as `stdin` and `stdout`. Without one, there is nothing to
    /// read from or write to.
    #[must_use]
    pub fn console(mut self, path: impl Into<String>, console: Arc<dyn Console>) -> Self {
        self.console = Some((path.into(), console));
        self
    }

    /// What starts processors for the service `start-cpu`. Without it, the service fails.
    #[must_use]
    pub fn cpus(mut self, cpus: Arc<dyn VcpuHost>) -> Self {
        self.cpus = Some(cpus);
        self
    }

    /// `bootargs` of `/chosen` until the first reset, instead of what the tree has: the
    /// [arguments](Vof::boot_arguments) that a client gave this start with the service `boot`.
    #[must_use]
    pub fn boot_arguments(mut self, arguments: Option<String>) -> Self {
        self.boot_arguments = arguments.map(String::into_boxed_str);
        self
    }

    /// Who negotiates for the machine. Without it, the root has no method
    /// `ibm,client-architecture-support`.
    #[must_use]
    pub fn cas(mut self, policy: Box<dyn CasPolicy>) -> Self {
        self.cas = Some(policy);
        self
    }

    /// Who decides which properties a client may set; [`KnownProperties`] unless told.
    #[must_use]
    pub fn properties(mut self, policy: Box<dyn PropertyPolicy>) -> Self {
        self.properties = policy;
        self
    }

    /// RAM that is in use from the start for the client's sake: the client itself, an initial RAM
    /// disk. The client can release it, as memory that the loader claimed for it.
    #[must_use]
    pub fn reserve(mut self, start: GuestAddress, bytes: u64) -> Self {
        self.reserved.push(Reserved { start, bytes, is_firmware: false });
        self
    }

    /// RAM that the firmware uses: its image, the stack it gives the client. It cannot be
    /// released.
    #[must_use]
    pub fn firmware(mut self, start: GuestAddress, bytes: u64) -> Self {
        self.reserved.push(Reserved { start, bytes, is_firmware: true });
        self
    }

    /// The client interface, in the state that a reset goes back to.
    ///
    /// The tree gets the properties `available` of `/memory@0`, and `stdin`, `stdout`, `memory`
    /// and `mmu` of `/chosen`, as far as there is what they tell of.
    ///
    /// # Errors
    /// [`BuildError`] names what does not go together.
    pub fn build(self) -> Result<Vof, BuildError> {
        let mut tree = self.tree;
        let memory = memory_node(&tree, self.ram_bytes)?;
        if let Some(memory) = memory {
            // Its place in the list of properties; the value is made when somebody reads it.
            set(&mut tree, memory.node, AVAILABLE)?;
        }
        let mut console = None;
        if let Some((path, device)) = self.console {
            let Some(found) = tree.resolve(&path) else {
                return Err(BuildError::NoConsole { path });
            };
            let (node, arguments) = (found.node, found.arguments.into());
            tree.find("/chosen").ok_or(BuildError::NoChosen)?;
            console = Some(ConsoleNode { node, arguments, device });
        }
        let claims = claims(self.ram_bytes, &self.reserved)?;
        let start = Start { tree: tree.clone(), claims: claims.clone() };
        let mut state = State {
            tree,
            virtual_claims: claims.clone(),
            claims,
            instances: Instances::default(),
            empty_reads: 0,
            callback: 0,
            boot_arguments: self.boot_arguments,
            added_bytes: 0,
            clock: Clock::start(),
            complaints: Complaints::default(),
            calls: [0; crate::services::COUNT],
            memory,
            console,
            cpus: self.cpus,
            cas: self.cas,
            properties: self.properties,
        };
        let of_chosen =
            |name, source| BuildError::Property { path: "/chosen".to_owned(), name, source };
        state.open_chosen().map_err(|(name, source)| of_chosen(name, source))?;
        state.pass_boot_arguments().map_err(|source| of_chosen("bootargs", source))?;
        Ok(Vof::new(state, start, self.ram_bytes))
    }

    /// As [`build`](Self::build), and then what was [saved](Vof::state) of another interface of
    /// the same machine is taken up: the next calls get the answers that they would have got
    /// there. A later reset goes back to the state as it was built here.
    ///
    /// Guest memory, which clients have pointers to, is for the VMM to carry over, and so is what
    /// its own policies have learnt: they are not told anew.
    ///
    /// # Errors
    /// [`RestoreError`] names the field of `saved` that cannot be, and there is no interface.
    pub fn restore(self, saved: &VofState) -> Result<Vof, RestoreError> {
        self.build()?.restore(saved)
    }
}

impl fmt::Debug for VofBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VofBuilder")
            .field("ram_bytes", &self.ram_bytes)
            .field("console", &self.console.as_ref().map(|(path, _)| path))
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}

/// The memory node that lists free memory: the one whose memory starts at 0.
fn memory_node(tree: &DeviceTree, ram_bytes: u64) -> Result<Option<MemoryNode>, BuildError> {
    let root = tree.root();
    let is_memory = |&node: &crate::NodeId| {
        let unit = tree.full_name(node).split_once('@').map_or("0", |(_, unit)| unit);
        tree.property(node, "device_type") == Some(b"memory\0")
            && !unit.is_empty()
            && unit.bytes().all(|digit| digit == b'0')
    };
    let Some(node) = tree.children(root).find(is_memory) else { return Ok(None) };
    // The values of a bus without them (IEEE 1275 §3.6.5, "#address-cells" and "#size-cells").
    let address_cells = cell(tree, "#address-cells").unwrap_or(2);
    let size_cells = cell(tree, "#size-cells").unwrap_or(1);
    let enough = |cells| match cells {
        1 => ram_bytes < 1 << 32,
        cells => cells == 2,
    };
    if !enough(address_cells) || !enough(size_cells) {
        return Err(BuildError::Cells { address_cells, size_cells, ram_bytes });
    }
    let (address_cells, size_cells) = (address_cells as usize, size_cells as usize);
    Ok(Some(MemoryNode { node, address_cells, size_cells }))
}

fn cell(tree: &DeviceTree, name: &str) -> Option<u32> {
    tree.property(tree.root(), name)?.try_into().ok().map(u32::from_be_bytes)
}

fn set(tree: &mut DeviceTree, node: crate::NodeId, name: &'static str) -> Result<(), BuildError> {
    let path = tree.path(node);
    let set = tree.set_property(node, name, &[]);
    set.map_err(|source| BuildError::Property { path, name, source })
}

fn claims(ram_bytes: u64, reserved: &[Reserved]) -> Result<Claims, BuildError> {
    let mut claims = Claims::new(ram_bytes);
    for &Reserved { start, bytes, is_firmware } in reserved {
        let done = start.0.checked_add(bytes).is_some_and(|end| match is_firmware {
            true => claims.reserve_firmware(start.0..end),
            false => claims.reserve(start.0..end),
        });
        if !done {
            return Err(BuildError::NotRam { start, bytes });
        }
    }
    Ok(claims)
}
