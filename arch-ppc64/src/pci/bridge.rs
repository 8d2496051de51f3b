//! The host bridge as a device of the machine.

#[cfg(feature = "serde")]
mod saved;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::change_msi::{Messages, function_named};
use super::config_access;
use super::dma_window::DmaWindow;
use super::error::HostBridgeError;
use super::function::Function;
use super::node;
use super::{PciAddress, PciBus, PciPins, PciWindows};
use crate::fdt::{FdtError, Tree};
use crate::hypercall::HypercallHandler;
use crate::log_limit::LogLimit;
use crate::platform::{
    Describe, Device, LateInterrupts, MmioHandler, MmioRange, PlatformBuilder, StateError,
};
use crate::rtas::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome, RtasStatus, RtasUnit};

/// The number that the first bridge goes by in RTAS calls and in its node's address (its "BUID"):
/// a name, and no address of anything.
const FIRST_UNIT: u64 = 0x0800_0000_2000_0000;

/// How many messages about its guest a bridge logs between two starts.
const COMPLAINTS_MAX: u32 = 16;

const READ: usize = 0;
const WRITE: usize = 1;
const CHANGE_MSI: usize = 2;
const QUERY_SOURCE: usize = 3;
const READ_PLAIN: usize = 4;
const WRITE_PLAIN: usize = 5;
const CALLS: &[RtasCall] = &[
    RtasCall::new("ibm,read-pci-config", &[4], 2),
    RtasCall::new("ibm,write-pci-config", &[5], 1),
    RtasCall::new("ibm,change-msi", &[6], 3).with_more_outputs(1),
    RtasCall::new("ibm,query-interrupt-source-number", &[4], 3),
    RtasCall::new("read-pci-config", &[2], 2),
    RtasCall::new("write-pci-config", &[3], 1),
];
/// Which input of the calls that name a bridge has the high half of its number.
const UNIT_INPUT: usize = 1;

/// The number of a bridge in RTAS calls (its "BUID"). Guests call the bridge by its low 16 bits, the
/// domain of its bus.
pub const fn unit_of(bridge: u8) -> u64 {
    FIRST_UNIT + bridge as u64
}

/// The [id](Device::id) of a bridge, and the name of its node.
pub fn id_of(bridge: u8) -> String {
    format!("pci@{:x}", unit_of(bridge))
}

/// What a host bridge is made of, besides its bus.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostBridgeOptions {
    /// Which of the machine's bridges it is: 0 for the first.
    pub number: u8,
    /// Where its bus is among real addresses.
    pub windows: PciWindows,
    /// The lines that the pins of its functions are wired to.
    pub pins: PciPins,
    /// Where its functions find RAM that the guest has mapped for them.
    pub dma_window: DmaWindow,
}

impl HostBridgeOptions {
    /// A bridge of this number, with its [windows](PciWindows::of_bridge), and the lines that were
    /// claimed for it.
    pub fn new(number: u8, pins: PciPins) -> Self {
        let windows = PciWindows::of_bridge(number);
        Self { number, windows, pins, dma_window: DmaWindow::of_bridge(number) }
    }

    /// With the window that functions of the bus have: [`DmaWindow::of_bridge`] of this bridge.
    #[must_use]
    pub fn with_dma_window(mut self, dma_window: DmaWindow) -> Self {
        self.dma_window = dma_window;
        self
    }

    /// With other windows.
    #[must_use]
    pub fn with_windows(mut self, windows: PciWindows) -> Self {
        self.windows = windows;
        self
    }
}

/// A PCI host bridge: its node with one for each function, the RTAS calls for configuration space
/// and messages, and the windows in which the guest finds the functions' registers (LoPAPR
/// §B.6.5.1, §7.3.4, §7.3.10.5).
///
/// It knows no more of its bus than [`PciBus`] says: all of what guests are told is read from
/// configuration space. Functions get no addresses here, as guests give them; those that the VMM
/// gave are told.
///
/// Pins and doorbell are there before the bus, which is made with them:
///
/// ```
/// use std::sync::Arc;
/// use arch_ppc64::pci::{
///     self, Doorbell, HostBridge, HostBridgeOptions, PciAddress, PciBus, PciPins, PciWindows,
/// };
/// # use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
/// # use arch_ppc64::platform::{NoInterrupts, PlatformBuilder};
/// # struct Config;
/// # impl MachineConfig for Config {
/// #     fn memory(&self) -> Memory { Memory::of_size(512 << 20) }
/// #     fn cpus(&self) -> Cpus { Cpus::new(1, Default::default()) }
/// #     fn boot(&self) -> Boot<'_> { Boot::new("") }
/// #     fn x_vof(&self) -> bool { true }
/// # }
/// # let machine = arch_ppc64::Machine::new(&Config)?;
///
/// /// A bus with nothing on it.
/// struct Empty;
///
/// impl PciBus for Empty {
///     fn functions(&self) -> Vec<PciAddress> {
///         Vec::new()
///     }
///     fn read_config(&self, _: PciAddress, _: u16, data: &mut [u8]) {
///         data.fill(0xff);
///     }
///     fn write_config(&self, _: PciAddress, _: u16, _: &[u8]) {}
///     fn read_memory(&self, _: u64, data: &mut [u8]) {
///         data.fill(0xff);
///     }
///     fn write_memory(&self, _: u64, _: &[u8]) {}
/// }
///
/// let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
/// let pins = PciPins::claim(&mut builder, &pci::id_of(0))?;
/// let doorbell = Doorbell::new(builder.controller().clone(), &PciWindows::of_bridge(0));
/// # let _ = doorbell;
/// let bus = Arc::new(Empty); // of functions with these pins and this doorbell
/// let bridge = HostBridge::new(&mut builder, HostBridgeOptions::new(0, pins), bus)?;
/// builder.add(Arc::new(bridge));
/// # let platform = builder.build()?;
/// # let start = arch_ppc64::fdt::Start::new(vm_memory::GuestAddress(0x40_0000), [0; 32]);
/// # assert!(platform.tree(&start)?.has("/pci@800000020000000"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct HostBridge {
    id: String,
    number: u8,
    windows: PciWindows,
    pins: PciPins,
    dma_window: DmaWindow,
    bus: Arc<dyn PciBus>,
    /// In the order of their addresses.
    functions: RwLock<Vec<Arc<Function>>>,
    interrupts: LateInterrupts,
    ranges: [MmioRange; 2],
    complaints: LogLimit,
}

impl HostBridge {
    /// A bridge in front of `bus`, whose functions are those that the bus has by now. Each of them
    /// gets as many interrupt sources as it can have messages. In a machine that [has
    /// slots](crate::Machine::has_slots), devices may [come](Self::add) and [go](Self::remove).
    ///
    /// # Errors
    /// [`HostBridgeError`] names the function that cannot be behind it.
    pub fn new(
        builder: &mut PlatformBuilder<'_>,
        options: HostBridgeOptions,
        bus: Arc<dyn PciBus>,
    ) -> Result<Self, HostBridgeError> {
        let HostBridgeOptions { number, windows, pins, dma_window } = options;
        let id = id_of(number);
        let mut addresses = bus.functions();
        addresses.sort_unstable();
        if let Some(twice) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(HostBridgeError::Twice { function: twice[0] });
        }
        let functions = addresses
            .into_iter()
            .map(|address| {
                let messages = &mut |id: &str, count| builder.messages(id, count);
                Function::new(messages, &id, address, &*bus, &windows).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let ranges = [windows.memory_32, windows.memory_64]
            .map(|window| MmioRange::new(window.start, window.bytes));
        let complaints =
            LogLimit::new(COMPLAINTS_MAX, Duration::MAX).with_target("arch_ppc64::pci");
        Ok(Self {
            id,
            number,
            windows,
            pins,
            dma_window,
            bus,
            functions: RwLock::new(functions),
            interrupts: builder.late_interrupts(),
            ranges,
            complaints,
        })
    }

    /// Which of the machine's bridges it is: 0 for the first.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Has the functions of a device that has come to the bus, which gets interrupt sources for their
    /// messages. The guest learns of it when it is [plugged](crate::hotplug::Hotplug::plug).
    ///
    /// # Errors
    /// [`HostBridgeError`] names the function that cannot be behind it; none of the device is then.
    pub fn add(&self, device: u8) -> Result<(), HostBridgeError> {
        let mut addresses = self.bus.functions();
        addresses.retain(|address| address.device() == device);
        addresses.sort_unstable();
        let Some(&first) = addresses.first() else {
            let function = PciAddress::device_0(device).unwrap_or(PciAddress::from_cell(0));
            return Err(HostBridgeError::Absent { function });
        };
        if self.devices().contains(&device) {
            return Err(HostBridgeError::Present { function: first });
        }
        let messages = &mut |id: &str, count| self.interrupts.messages(id, count);
        let mut added = Vec::new();
        for address in addresses {
            let function = Function::new(messages, &self.id, address, &*self.bus, &self.windows)?;
            added.push(Arc::new(function));
        }
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.extend(added);
        functions.sort_by_key(|function| function.address);
        Ok(())
    }

    /// Forgets the functions of a device, which the guest has given back, before it leaves the bus.
    pub fn remove(&self, device: u8) {
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.retain(|function| function.address.device() != device);
    }

    /// The numbers of the devices behind it.
    pub fn devices(&self) -> BTreeSet<u8> {
        self.functions().iter().map(|function| function.address.device()).collect()
    }

    /// Adds the nodes of the functions of a device; their paths.
    pub(crate) fn describe_device(
        &self,
        tree: &mut Tree,
        device: u8,
    ) -> Result<Vec<String>, FdtError> {
        tree.node(&self.path())?;
        let mut functions = self.functions().clone();
        functions.retain(|function| function.address.device() == device);
        functions.iter().map(|function| self.describe_function(tree, function, true)).collect()
    }

    fn describe_function(
        &self,
        tree: &mut Tree,
        function: &Function,
        is_in_slot: bool,
    ) -> Result<String, FdtError> {
        let path = node::function(tree, &self.path(), function, &*self.bus, &self.windows)?;
        if is_in_slot {
            node::in_slot(tree, &path, self.number, function.address.device())?;
        }
        Ok(path)
    }

    /// The path of the node of a function behind it: what the function's package is attached to.
    /// `None` where there is no such function.
    pub fn path_of(&self, function: PciAddress) -> Option<String> {
        let is_there = self.functions().iter().any(|known| known.address == function);
        is_there.then(|| node::function_path(&self.path(), function, &*self.bus))
    }

    fn path(&self) -> String {
        format!("/{}", self.id)
    }

    /// Does a call about the messages of a function, which its first input names.
    fn with_messages(
        &self,
        call: &mut RtasInvocation<'_>,
        make: impl FnOnce(Messages<'_>, &mut RtasInvocation<'_>) -> RtasStatus,
    ) -> RtasStatus {
        let address = call.inputs.first().and_then(|&input| function_named(input));
        let function = address.and_then(|address| {
            self.functions().iter().find(|function| function.address == address).cloned()
        });
        let messages = Messages {
            function: function.as_deref(),
            bus: &*self.bus,
            windows: &self.windows,
            pins: &self.pins,
            complaints: &self.complaints,
        };
        make(messages, call)
    }

    fn functions(&self) -> RwLockReadGuard<'_, Vec<Arc<Function>>> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HostBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions: Vec<_> = self.functions().iter().map(|function| function.address).collect();
        let mut f = f.debug_struct("HostBridge");
        f.field("id", &self.id).field("functions", &functions).finish_non_exhaustive()
    }
}

impl Device for HostBridge {
    fn id(&self) -> &str {
        &self.id
    }

    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        let path = self.path();
        node::machine(tree)?;
        node::bridge(tree, &path, unit_of(self.number), &self.windows)?;
        node::dma(tree, &path, self.dma_window.number())?;
        let functions = self.functions().clone();
        let (parent, pins, has_slots) = (cx.interrupt_parent, &self.pins, cx.machine.has_slots());
        node::interrupts(tree, &path, parent, &functions, pins, has_slots)?;
        if has_slots {
            node::slots(tree, &path, self.number)?;
        }
        for function in &functions {
            self.describe_function(tree, function, has_slots)?;
        }
        Ok(())
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(&self.dma_window)
    }

    /// The second has H_PUT_RTCE_INDIRECT, too, which is for tables of those who virtualise devices
    /// for other partitions (Redirected RDMA option); there are none.
    fn function_sets(&self) -> &[&'static str] {
        &["hcall-tce", "hcall-multi-tce"]
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }

    fn mmio(&self) -> Option<&dyn MmioHandler> {
        Some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }

    fn pause(&self, until: Instant) -> Result<(), StateError> {
        self.bus.pause(until)
    }

    fn resume(&self) -> Result<(), StateError> {
        self.bus.resume()
    }

    fn reset(&self) {
        self.bus.reset();
        self.functions().iter().for_each(|function| function.set_grant(None));
        self.dma_window.clear();
        self.complaints.reset();
    }
}

impl RtasHandler for HostBridge {
    /// The calls without a bridge's number are those of the first bridge.
    fn calls(&self) -> &[RtasCall] {
        if self.number == 0 { CALLS } else { &CALLS[..READ_PLAIN] }
    }

    fn unit(&self, call: usize) -> Option<RtasUnit> {
        (call < READ_PLAIN).then(|| RtasUnit::new(UNIT_INPUT, unit_of(self.number)))
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        let status = match number {
            READ => config_access::read(&*self.bus, invocation),
            WRITE => config_access::write(&*self.bus, invocation),
            CHANGE_MSI => self.with_messages(invocation, |messages, call| messages.change(call)),
            QUERY_SOURCE => self.with_messages(invocation, |messages, call| messages.query(call)),
            READ_PLAIN => config_access::read_plain(&*self.bus, invocation),
            WRITE_PLAIN => config_access::write_plain(&*self.bus, invocation),
            _ => RtasStatus::PARAMETER_ERROR,
        };
        status.into()
    }
}

/// The windows: what is at a real address of them is at one of the bus.
impl MmioHandler for HostBridge {
    fn ranges(&self) -> &[MmioRange] {
        &self.ranges
    }

    fn read(&self, range: usize, offset: u64, data: &mut [u8]) {
        self.bus.read_memory(self.bus_start(range) + offset, data);
    }

    fn write(&self, range: usize, offset: u64, data: &[u8]) {
        self.bus.write_memory(self.bus_start(range) + offset, data);
    }
}

impl HostBridge {
    /// Where the range of this number begins on the bus.
    fn bus_start(&self, range: usize) -> u64 {
        if range == 0 { self.windows.memory_32.bus } else { self.windows.memory_64.bus }
    }
}
