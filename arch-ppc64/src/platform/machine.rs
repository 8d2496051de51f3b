//! A machine: its devices, and the views of them.

#[cfg(feature = "serde")]
mod saved;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::device::{Describe, Device};
use super::error::PlatformError;
use super::late::LateInterrupts;
use super::mmio_bus::MmioBus;
use super::observer::PropertyObserver;
use crate::fdt::{self, FdtError, SLACK_BYTES, Start, Tree};
use crate::hotplug;
use crate::hypercall::{DuplicateToken, Hypercall, HypercallBus, HypercallHandler, Next};
use crate::interrupt_node;
use crate::machine::Machine;
use crate::ram::GuestRam;
use crate::rtas::Rtas;
use crate::vcpu::CpuIndex;

#[cfg(feature = "serde")]
pub use saved::PlatformState;

/// Longer than anybody waits, and no longer than clocks go: of any limit.
const LONGEST_PAUSE: Duration = Duration::from_secs(1 << 32);

/// A machine from one start to the next. [`PlatformBuilder`](super::PlatformBuilder) makes it.
///
/// Whatever it has, it has from its devices. A restart is a new platform around the same RAM, with
/// the devices that the VMM keeps, such as its console and its clock.
pub struct Platform {
    machine: Machine,
    #[cfg_attr(
        not(any(feature = "serde", test)),
        expect(dead_code, reason = "only saved states tell them")
    )]
    interrupts: LateInterrupts,
    devices: Vec<Arc<dyn Device>>,
    rtas: Arc<Rtas>,
    hypercalls: Arc<HypercallBus>,
    mmio: Arc<MmioBus>,
}

impl Platform {
    pub(super) fn new(
        machine: Machine,
        interrupts: LateInterrupts,
        mut devices: Vec<Arc<dyn Device>>,
    ) -> Result<Self, PlatformError> {
        let rtas = Arc::new(Rtas::new(&devices)?);
        devices.push(rtas.clone());
        // What nobody plugs is not promised in the tree.
        let can_plug = devices.iter().any(|device| device.id() == hotplug::ID);
        let machine = machine.with_connectors(can_plug);
        let (hypercalls, mmio) = views(&machine, &devices)?;
        for device in &devices {
            device.reset();
        }
        Ok(Self { machine, interrupts, devices, rtas, hypercalls, mmio })
    }

    /// Plugs in a device that is made from the tree, such as the client interface. It has
    /// hypercalls, registers and state like others, and describes nothing any more.
    ///
    /// # Errors
    /// [`PlatformError`] when it cannot be in one machine with the others, or has RTAS calls.
    pub fn plug_in(&mut self, device: Arc<dyn Device>) -> Result<(), PlatformError> {
        if device.rtas().is_some() {
            return Err(PlatformError::Late { id: device.id().to_owned() });
        }
        let mut devices = self.devices.clone();
        devices.push(device.clone());
        (self.hypercalls, self.mmio) = views(&self.machine, &devices)?;
        self.devices = devices;
        device.reset();
        Ok(())
    }

    /// The interrupt numbers of all devices that there have been.
    #[cfg(test)]
    pub(crate) fn save_numbers(&self) -> super::numbers::InterruptNumbers {
        self.interrupts.numbers().clone()
    }

    /// The machine. Without [`Hotplug`](crate::hotplug::Hotplug) among its devices, it leaves no room
    /// for memory that could be plugged.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The hypercalls of all devices that there are by now.
    pub fn hypercalls(&self) -> &Arc<HypercallBus> {
        &self.hypercalls
    }

    /// The registers of all devices that there are by now.
    pub fn mmio(&self) -> &Arc<MmioBus> {
        &self.mmio
    }

    /// Every RTAS call by its name and its token.
    pub fn rtas_calls(&self) -> Vec<(&'static str, u32)> {
        self.rtas.calls()
    }

    /// Those of the devices that learn of properties which a client sets: for the client interface.
    pub fn property_observers(&self) -> Vec<Arc<dyn PropertyObserver>> {
        let observing = self.devices.iter().filter(|device| device.properties().is_some());
        observing.map(|device| Arc::new(Observer(device.clone())) as Arc<_>).collect()
    }

    /// Has all devices [come to rest](Device::pause), in this time. Once no CPU is in the guest: what
    /// CPUs ask for is still answered.
    ///
    /// # Errors
    /// [`PlatformError::Pause`] names the one that does not; all go on as before then.
    pub fn pause(&self, limit: Duration) -> Result<(), PlatformError> {
        let until = Instant::now() + limit.min(LONGEST_PAUSE);
        for (number, device) in self.devices.iter().enumerate() {
            let Err(source) = device.pause(until) else { continue };
            for paused in &self.devices[..number] {
                // Who cannot go on has told the guest, and the other reason is the first.
                let _ = paused.resume();
            }
            return Err(PlatformError::Pause { id: device.id().to_owned(), source });
        }
        Ok(())
    }

    /// Has all devices [go on](Device::resume): after a [pause](Self::pause), and before the CPUs of a
    /// machine that has [taken up](Self::restore) a state.
    ///
    /// # Errors
    /// [`PlatformError::Pause`] names the first that cannot; the others go on.
    pub fn resume(&self) -> Result<(), PlatformError> {
        let resume = |device: &Arc<dyn Device>| {
            let failed = |source| PlatformError::Pause { id: device.id().to_owned(), source };
            device.resume().map_err(failed)
        };
        self.devices.iter().map(resume).fold(Ok(()), Result::and)
    }

    /// The tree for this start: what every machine says of itself, and what its devices add.
    ///
    /// # Errors
    /// [`FdtError`] when a device says what cannot be, or for a start that is beyond what a client
    /// can work with.
    pub fn tree(&self, start: &Start) -> Result<Tree, FdtError> {
        let machine = &self.machine;
        let sets: BTreeSet<&str> =
            self.devices.iter().flat_map(|device| device.function_sets()).copied().collect();
        let sets: Vec<&str> = sets.into_iter().collect();
        let mut tree = Tree::new();
        fdt::describe(&mut tree, machine, start, &sets, &self.rtas.calls())?;
        let controller = interrupt_node::path(machine.interrupts().first());
        let interrupt_parent = tree.node(controller)?.phandle();
        let cx = Describe { machine, start, interrupt_parent };
        for device in &self.devices {
            device.describe(&mut tree, &cx)?;
        }
        fdt::support_packages(&mut tree)?;
        fdt::negotiated(&mut tree, machine, start)?;
        Ok(tree)
    }

    /// The [tree](Self::tree) flattened, with [slack](SLACK_BYTES).
    ///
    /// # Errors
    /// As [`tree`](Self::tree).
    pub fn blob(&self, start: &Start) -> Result<Vec<u8>, FdtError> {
        self.tree(start)?.flatten(SLACK_BYTES)
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.devices.iter().map(|device| device.id()).collect();
        f.debug_struct("Platform").field("devices", &ids).finish_non_exhaustive()
    }
}

/// Hypercalls and registers of devices, if these can be one machine.
fn views(
    machine: &Machine,
    devices: &[Arc<dyn Device>],
) -> Result<(Arc<HypercallBus>, Arc<MmioBus>), PlatformError> {
    let mut ids = BTreeSet::new();
    if let Some(twice) = devices.iter().find(|device| !ids.insert(device.id())) {
        return Err(PlatformError::DuplicateDevice { id: twice.id().to_owned() });
    }
    let answering: Vec<_> =
        devices.iter().filter(|device| device.hypercalls().is_some()).cloned().collect();
    let handlers = answering.iter().map(|device| Arc::new(Calls(device.clone())) as Arc<_>);
    let bus = HypercallBus::new(handlers.collect()).map_err(
        |DuplicateToken { token, first, second }| {
            let id = |index: usize| answering[index].id().to_owned();
            PlatformError::DuplicateHypercall { token, first: id(first), second: id(second) }
        },
    )?;
    Ok((Arc::new(bus), Arc::new(MmioBus::new(devices, machine.memory_map())?)))
}

/// The hypercalls of a device, as a handler that owns it.
struct Calls(Arc<dyn Device>);

impl HypercallHandler for Calls {
    fn tokens(&self) -> &[u64] {
        self.0.hypercalls().map_or(&[], |handler| handler.tokens())
    }

    fn unit(&self) -> Option<u64> {
        self.0.hypercalls().and_then(|handler| handler.unit())
    }

    fn handle(&self, caller: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        match self.0.hypercalls() {
            Some(handler) => handler.handle(caller, ram, call),
            None => call.finish(crate::hypercall::Status::FUNCTION),
        }
    }
}

/// What learns of properties, as an observer that owns its device.
struct Observer(Arc<dyn Device>);

impl PropertyObserver for Observer {
    fn may_set(&self, path: &str, name: &str, value: &[u8]) -> bool {
        self.0.properties().is_none_or(|observer| observer.may_set(path, name, value))
    }

    fn was_set(&self, path: &str, name: &str, value: &[u8]) {
        if let Some(observer) = self.0.properties() {
            observer.was_set(path, name, value);
        }
    }
}
