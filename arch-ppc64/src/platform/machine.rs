//! A machine: its devices, and the views of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::device::{Describe, Device};
use super::error::PlatformError;
use super::mmio_bus::MmioBus;
use super::numbers::InterruptNumbers;
use super::state::StateValue;
use crate::fdt::{self, FdtError, SLACK_BYTES, Start, Tree};
use crate::hypercall::{DuplicateToken, Hypercall, HypercallBus, HypercallHandler, Next};
use crate::machine::Machine;
use crate::ram::GuestRam;
use crate::rtas::Rtas;
use crate::vcpu::CpuIndex;

/// A machine from one start to the next. [`PlatformBuilder`](super::PlatformBuilder) makes it.
///
/// Whatever it has, it has from its devices. A restart is a new platform around the same RAM, with
/// the devices that the VMM keeps, such as its console and its clock.
pub struct Platform {
    machine: Machine,
    numbers: InterruptNumbers,
    devices: Vec<Arc<dyn Device>>,
    rtas: Arc<Rtas>,
    hypercalls: Arc<HypercallBus>,
    mmio: Arc<MmioBus>,
}

impl Platform {
    pub(super) fn new(
        machine: Machine,
        numbers: InterruptNumbers,
        mut devices: Vec<Arc<dyn Device>>,
    ) -> Result<Self, PlatformError> {
        let rtas = Arc::new(Rtas::new(&devices)?);
        devices.push(rtas.clone());
        let (hypercalls, mmio) = views(&machine, &devices)?;
        for device in &devices {
            device.reset();
        }
        Ok(Self { machine, numbers, devices, rtas, hypercalls, mmio })
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

    /// The machine.
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
        let interrupt_parent = tree.node(fdt::INTERRUPT_CONTROLLER_PATH)?.phandle();
        let cx = Describe { machine, start, interrupt_parent };
        for device in &self.devices {
            device.describe(&mut tree, &cx)?;
        }
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

    /// What there is to be saved of the machine, but its CPUs and its RAM. Only while no CPU runs.
    ///
    /// # Errors
    /// [`PlatformError::State`] names the device whose state cannot be had.
    pub fn save(&self) -> Result<PlatformState, PlatformError> {
        let mut devices = BTreeMap::new();
        for device in &self.devices {
            let Some(view) = device.state() else { continue };
            let id = device.id().to_owned();
            let state =
                view.save().map_err(|source| PlatformError::State { id: id.clone(), source })?;
            devices.insert(id, DeviceState { version: view.version(), state });
        }
        Ok(PlatformState { interrupts: self.numbers.clone(), devices })
    }

    /// Takes up the state of a machine that was saved. Only before its first CPU runs, and after
    /// the states of the back end's virtual machine and of its CPUs were taken up: a controller
    /// tells these of their interrupts.
    ///
    /// # Errors
    /// [`PlatformError`] names what does not fit; the machine cannot run then.
    pub fn restore(&self, state: &PlatformState) -> Result<(), PlatformError> {
        if state.interrupts != self.numbers {
            return Err(PlatformError::OtherInterrupts);
        }
        let mut own = BTreeMap::new();
        for device in &self.devices {
            if let Some(view) = device.state() {
                own.insert(device.id(), view);
            }
        }
        if let Some(id) = state.devices.keys().find(|id| !own.contains_key(id.as_str())) {
            return Err(PlatformError::UnknownState { id: id.clone() });
        }
        for (id, view) in own {
            let id = id.to_owned();
            let Some(saved) = state.devices.get(&id) else {
                return Err(PlatformError::MissingState { id });
            };
            view.restore(saved.version, &saved.state)
                .map_err(|source| PlatformError::State { id, source })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.devices.iter().map(|device| device.id()).collect();
        f.debug_struct("Platform").field("devices", &ids).finish_non_exhaustive()
    }
}

/// The saved state of a machine's devices, and which interrupts they have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformState {
    interrupts: InterruptNumbers,
    devices: BTreeMap<String, DeviceState>,
}

impl PlatformState {
    /// The interrupt numbers, for the
    /// [builder](super::PlatformBuilder::with_interrupts) of the machine that takes the state up.
    pub fn interrupts(&self) -> &InterruptNumbers {
        &self.interrupts
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceState {
    version: u32,
    state: StateValue,
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
