//! From the parts of a machine to its client interface.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use arch_ppc64::platform::PropertyObserver;
use arch_ppc64::topology::{CpuTopology, MemoryMap};
use arch_ppc64::{Console, VcpuHost};
use vm_memory::GuestAddress;

use crate::attachments::{AttachError, Attachments, ConsolePath};
use crate::block::support::SupportPackage;
use crate::build_error::BuildError;
use crate::claims::Claims;
use crate::clock::Clock;
use crate::instances::Instances;
use crate::interface::{Interface, Opened, lock};
use crate::limits::{LOG_PERIOD_SECONDS, MAX_LOGGED_COMPLAINTS};
use crate::memory_node::{AVAILABLE, MemoryNode};
use crate::openings::Openings;
use crate::package::Package;
use crate::packages::{self, ConsolePackage};
use crate::policy::{CasPolicy, KnownProperties, PropertyPolicy};
use crate::services;
use crate::state::State;
use crate::tree::{DeviceTree, NodeId};
use crate::vof::Vof;

impl Vof {
    /// Starts to put together the client interface of a machine with this tree and this memory. A
    /// restart of the machine is a new one. For machines of `arch-ppc64`, [`boot()`](crate::boot())
    /// and [`plug_in`](crate::plug_in) do it.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use arch_ppc64::topology::MemoryMap;
    /// use arch_ppc64::{HypercallBus, NoConsole};
    /// use vm_memory::GuestAddress;
    /// use vof_device::{DeviceTree, Vof};
    ///
    /// # fn blob() -> Vec<u8> {
    /// #     let mut fdt = vm_fdt::FdtWriter::new().unwrap();
    /// #     let root = fdt.begin_node("").unwrap();
    /// #     fdt.property_phandle(1).unwrap();
    /// #     for (phandle, name) in [(2, "chosen"), (3, "vty@71000000")] {
    /// #         let node = fdt.begin_node(name).unwrap();
    /// #         fdt.property_phandle(phandle).unwrap();
    /// #         fdt.end_node(node).unwrap();
    /// #     }
    /// #     fdt.end_node(root).unwrap();
    /// #     fdt.finish().unwrap()
    /// # }
    /// let tree = DeviceTree::from_blob(&blob())?;
    /// let vof = Vof::builder(tree, &MemoryMap::of_size(512 << 20)?)
    ///     .console("/vty@71000000", Arc::new(NoConsole))
    ///     .firmware(GuestAddress(0), 64 << 10)
    ///     .reserve(GuestAddress(4 << 20), 32 << 20) // the kernel
    ///     .build()?;
    /// // Any number of vCPU threads call `bus.dispatch` with the registers of each hypercall.
    /// let bus = HypercallBus::new(vec![Arc::new(vof)])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(tree: DeviceTree, memory: &MemoryMap) -> VofBuilder {
        VofBuilder::new(tree, memory.clone())
    }
}

/// What makes a [`Vof`]; see [`Vof::builder`].
pub struct VofBuilder {
    tree: DeviceTree,
    memory: MemoryMap,
    console: Option<(String, Arc<dyn Console>)>,
    packages: Vec<(String, Arc<dyn Package>)>,
    cpus: Option<(Arc<dyn VcpuHost>, CpuTopology)>,
    cas: Option<Box<dyn CasPolicy>>,
    properties: Box<dyn PropertyPolicy>,
    observers: Vec<Arc<dyn PropertyObserver>>,
    reserved: Vec<Reserved>,
    boot_arguments: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Reserved {
    start: GuestAddress,
    bytes: u64,
    is_firmware: bool,
}

impl VofBuilder {
    fn new(tree: DeviceTree, memory: MemoryMap) -> Self {
        Self {
            tree,
            memory,
            console: None,
            packages: Vec::new(),
            cpus: None,
            cas: None,
            properties: Box::new(KnownProperties),
            observers: Vec::new(),
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

    /// What the node of this device specifier can do once it is open. Each node has one package at
    /// most; without one, it can be opened and closed.
    #[must_use]
    pub fn package(mut self, path: impl Into<String>, package: Arc<dyn Package>) -> Self {
        self.packages.push((path.into(), package));
        self
    }

    /// What starts processors for the service `start-cpu`, and how the tree numbers them. Without
    /// it, the service fails.
    #[must_use]
    pub fn cpus(mut self, cpus: Arc<dyn VcpuHost>, topology: &CpuTopology) -> Self {
        self.cpus = Some((cpus, topology.clone()));
        self
    }

    /// `bootargs` of `/chosen`, instead of what the tree has: the
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

    /// Who learns of the properties that a client sets, and may say no: each of them, behind who
    /// decides. [`boot()`](crate::boot()) and [`plug_in`](crate::plug_in) add the
    /// [devices](arch_ppc64::platform::Device::properties) of the machine.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn PropertyObserver>) -> Self {
        self.observers.push(observer);
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

    /// The client interface.
    ///
    /// The tree gets the properties `available` of `/memory@0`, and `stdin`, `stdout`, `memory`
    /// and `mmu` of `/chosen`, as far as there is what they tell of.
    ///
    /// # Errors
    /// [`BuildError`] names what does not go together.
    pub fn build(self) -> Result<Vof, BuildError> {
        let mut tree = self.tree;
        let memory = MemoryNode::find(&tree, &self.memory)?;
        if let Some(memory) = memory {
            // Its place in the list of properties; the value is made when somebody reads it.
            set(&mut tree, memory.node, AVAILABLE, &[])?;
        }
        let mut by_path = Vec::new();
        for (path, package) in self.packages {
            let node = tree.find(&path).ok_or(BuildError::NoPackageNode { path })?;
            by_path.push((tree.path(node), package));
        }
        let mut console = None;
        if let Some((path, device)) = self.console {
            let Some(found) = tree.resolve(&path) else {
                return Err(BuildError::NoConsole { path });
            };
            tree.find("/chosen").ok_or(BuildError::NoChosen)?;
            let (path, arguments) = (tree.path(found.node), found.arguments.into());
            by_path.push((path.clone(), Arc::new(ConsolePackage(device.clone()))));
            console = Some(ConsolePath { path, arguments, device });
        }
        let claims = claims(&self.memory, &self.reserved)?;
        let negotiates = self.cas.is_some();
        let state = Arc::new(Mutex::new(State {
            tree,
            virtual_claims: claims.clone(),
            claims,
            callback: 0,
            boot_arguments: None,
            boot_device: None,
            passed_arguments: None,
            restart: None,
            added_bytes: 0,
            clock: Clock::start(),
            complaints: complaints(),
            calls: [0; services::COUNT].into(),
            memory,
            cpus: self.cpus,
            cas: self.cas,
            properties: self.properties,
            observers: self.observers,
        }));
        let attachments = Attachments {
            by_path,
            root: negotiates.then(|| Arc::new(packages::root(&state)) as Arc<dyn Package>),
            rtas: Arc::new(packages::rtas(&state)),
            support: Arc::new(SupportPackage),
            memory: Arc::new(packages::memory(&state)),
            mmu: Arc::new(packages::mmu(&state)),
            console,
        };
        let interface = interface(state, attachments)?;
        open_chosen(&interface)?;
        if let Some(arguments) = self.boot_arguments {
            let passed = interface.state().pass_boot_arguments(&arguments);
            passed.map_err(|source| BuildError::Property {
                path: "/chosen".to_owned(),
                name: "bootargs",
                source,
            })?;
        }
        Ok(Vof::new(interface, self.memory))
    }
}

impl fmt::Debug for VofBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VofBuilder")
            .field("memory", &self.memory)
            .field("console", &self.console.as_ref().map(|(path, _)| path))
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}

fn interface(state: Arc<Mutex<State>>, attachments: Attachments) -> Result<Interface, BuildError> {
    let packages = {
        let state = lock(&state);
        attachments.in_tree(&state.tree, state.memory, false).map_err(|error| match error {
            AttachError::NoNode(path) => BuildError::NoPackageNode { path },
            AttachError::Two(path) => BuildError::TwoPackages { path },
        })?
    };
    let opened = Mutex::new(Opened { packages, instances: Instances::default() });
    Ok(Interface { state, opened, openings: Openings::default(), attachments })
}

/// Opens what `/chosen` tells clients of (IEEE 1275 §3.5): the console for input and for output,
/// the memory, and what translates addresses.
///
/// The console has two instances: a client that closes its `stdin`, as Linux does, goes on to use
/// `stdout`.
fn open_chosen(interface: &Interface) -> Result<(), BuildError> {
    let (chosen, console, memory, mmu) = {
        let state = interface.state();
        let console = interface.attachments.console.as_ref();
        let console = console.and_then(|console| state.tree.find(&console.path));
        let memory = state.memory.map(|memory| memory.node);
        (state.tree.find("/chosen"), console, memory, state.first_cpu())
    };
    let Some(chosen) = chosen else { return Ok(()) };
    let arguments =
        interface.attachments.console.as_ref().map_or("", |console| &*console.arguments);
    let packages = [
        ("stdin", console, arguments),
        ("stdout", console, arguments),
        ("memory", memory, ""),
        ("mmu", mmu, ""),
    ];
    for (name, node, arguments) in packages {
        let Some(node) = node else { continue };
        let opened = interface.open(node, arguments);
        let mut state = interface.state();
        let ihandle = opened.map_err(|_| BuildError::Open { path: state.tree.path(node) })?;
        set(&mut state.tree, chosen, name, &ihandle.to_be_bytes())?;
    }
    Ok(())
}

fn set(
    tree: &mut DeviceTree,
    node: NodeId,
    name: &'static str,
    value: &[u8],
) -> Result<(), BuildError> {
    let path = tree.path(node);
    let set = tree.set_property(node, name, value);
    set.map_err(|source| BuildError::Property { path, name, source })
}

/// How much of what a guest does wrong goes to the log.
fn complaints() -> LogLimit {
    LogLimit::new(MAX_LOGGED_COMPLAINTS, Duration::from_secs(LOG_PERIOD_SECONDS))
        .with_target("vof_device")
        .with_topic("client interface")
}

fn claims(map: &MemoryMap, reserved: &[Reserved]) -> Result<Claims, BuildError> {
    let mut claims = Claims::new(map);
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
