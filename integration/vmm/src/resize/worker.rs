//! Who plugs and takes out: a thread beside those of the CPUs, for each start of a machine.
//!
//! Requests come here from whoever controls the machine, and what the guest does from the threads of
//! its CPUs, which wait for nothing. So all of it is done one after the other.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use arch_ppc64::Machine;
use arch_ppc64::hotplug::{Hotplug, MemoryBlock, PciSlot, PlugState, Resource};

use super::notes::{Heard, Message, Notes, Shared};
use super::plan::{Step, plan};
use super::{Amount, Control, Info, ResizeError, check};
use crate::boot::MachineRam;
use crate::confine::{self, Role};
use crate::cpus::Cpus;
use crate::devices::{DeviceChangeError, DeviceInfo, Devices, Plugged, Running};
use crate::error::{VmmError, create};
use crate::vcpu::{BackendError, Vm};

/// What a worker works with.
pub(crate) struct Parts {
    pub(crate) control: Control,
    pub(crate) machine: Machine,
    /// None where there is no room for more.
    pub(crate) hotplug: Option<Hotplug>,
    pub(crate) cpus: Arc<Cpus>,
    pub(crate) ram: Arc<MachineRam>,
    pub(crate) vm: Option<Arc<dyn Vm>>,
    pub(crate) devices: Arc<Devices>,
    /// Those of this start, if the machine has a bus.
    pub(crate) plugged: Option<Arc<Plugged>>,
}

/// A worker's thread.
pub(crate) struct Resizer {
    control: Control,
    worker: Option<(Arc<Shared>, Sender<Message>, JoinHandle<()>)>,
}

impl Resizer {
    /// Starts a worker for a machine that starts.
    pub(crate) fn start(parts: Parts, notes: Notes) -> io::Result<Self> {
        let control = parts.control.clone();
        let Some(hotplug) = parts.hotplug.clone() else {
            control.begin(None, fixed(&parts.machine), parts.devices, Vec::new());
            return Ok(Self { control, worker: None });
        };
        let worker = Worker::new(parts, hotplug);
        let (info, devices) = (worker.info(), worker.parts.devices.clone());
        let infos = worker.infos();
        let Notes { shared, to, from } = notes;
        let name = std::thread::Builder::new().name("resize".to_owned());
        let heard = shared.clone();
        let thread = name.spawn(move || {
            confine::begin(Role::Resize);
            worker.main(&from, &heard);
        })?;
        control.begin(Some(to.clone()), info, devices, infos);
        Ok(Self { control, worker: Some((shared, to, thread)) })
    }

    /// Ends it. CPUs that are to end are told before: it may wait for one.
    pub(crate) fn end(self) {
        self.control.restarting();
        if let Some((shared, worker, thread)) = self.worker {
            // What it has been told before does not hold it up; the message only wakes it.
            shared.end();
            let _ = worker.send(Message::Stop);
            // A panic was reported.
            let _ = thread.join();
        }
    }
}

struct Worker {
    parts: Parts,
    hotplug: Hotplug,
    /// Devices, where the machine has slots for them.
    running: Option<Running>,
    /// All that can be plugged, or is there for good and could be: cores, and memory blocks.
    cores: Kind,
    blocks: Kind,
    /// What has been made, and not taken away: what the guest has released may be among it.
    made: BTreeSet<Resource>,
}

/// The cores or the memory blocks.
struct Kind {
    all: Vec<Resource>,
    /// How many there are to be.
    wanted: Option<usize>,
    /// How many of the first ones stay.
    fixed: usize,
    /// Those that the guest was asked for since more or fewer were wanted.
    tried: BTreeSet<Resource>,
    /// Those that it will not give up, since it was last asked.
    refused: BTreeSet<Resource>,
}

impl Kind {
    fn new(all: Vec<Resource>, fixed: usize) -> Self {
        let (tried, refused) = (BTreeSet::new(), BTreeSet::new());
        Self { all, wanted: None, fixed, tried, refused }
    }

    fn states(&self, hotplug: &Hotplug) -> Vec<(Resource, PlugState)> {
        let state =
            |&resource: &Resource| (resource, hotplug.state(resource).unwrap_or(PlugState::Absent));
        self.all.iter().map(state).collect()
    }

    fn amount(
        &self,
        hotplug: &Hotplug,
        made: &BTreeSet<Resource>,
        each: u64,
        always: u64,
    ) -> Amount {
        let mut amount = Amount {
            present: always,
            max: always + each * self.all.len() as u64,
            refused: each * self.refused.len() as u64,
            ..Amount::default()
        };
        for (resource, state) in self.states(hotplug) {
            match state {
                PlugState::InUse => amount.present += each,
                PlugState::Offered => amount.coming += each,
                // What it has given back a moment ago is still there.
                PlugState::Absent if !made.contains(&resource) => {}
                PlugState::AskedBack | PlugState::Absent => {
                    amount.present += each;
                    amount.going += each;
                }
                _ => {}
            }
        }
        amount
    }
}

const fn is_core(resource: &Resource) -> bool {
    matches!(resource, Resource::Core(_))
}

const fn slot_of(resource: &Resource) -> Option<PciSlot> {
    match resource {
        Resource::Slot(slot) => Some(*slot),
        _ => None,
    }
}

/// Of a machine that has no room for more.
fn fixed(machine: &Machine) -> Info {
    let always = |amount| Amount { present: amount, max: amount, ..Amount::default() };
    let cpus = always(machine.vcpus().len() as u64);
    Info { cpus, memory: always(machine.memory_map().ram_bytes()) }
}

impl Worker {
    fn new(parts: Parts, hotplug: Hotplug) -> Self {
        let resources = hotplug.resources();
        let resources = resources.into_iter().filter(|resource| slot_of(resource).is_none());
        let (cores, blocks): (Vec<_>, Vec<_>) = resources.partition(is_core);
        let (cores, blocks) = (Kind::new(cores, 1), Kind::new(blocks, 0));
        let mut made = hotplug.plugged();
        made.retain(|resource| slot_of(resource).is_none());
        let running = parts.plugged.clone().filter(|_| parts.machine.has_slots()).map(|plugged| {
            Running { devices: parts.devices.clone(), plugged, hotplug: hotplug.clone() }
        });
        Self { parts, hotplug, running, cores, blocks, made }
    }

    fn main(mut self, messages: &Receiver<Message>, shared: &Shared) {
        while let Ok(message) = messages.recv() {
            if shared.is_over() {
                break;
            }
            match message {
                Message::Resize { cpus, memory_bytes, reply } => {
                    let result = self.resize(cpus, memory_bytes);
                    let info = self.info();
                    self.publish();
                    let _ = reply.send(result.map(|()| info));
                }
                Message::Add { device, reply } => {
                    let added = self.running().and_then(|running| running.add(*device));
                    self.publish();
                    let _ = reply.send(added);
                }
                Message::Remove { id, reply } => {
                    let removed = self.running().and_then(|running| running.remove(&id));
                    // It may have been released by now, and the guest's note is yet to be read.
                    self.hear(&shared.take());
                    self.publish();
                    let _ = reply.send(removed);
                }
                // A guest that takes much says so of each piece: that is one pass, or a few.
                Message::Heard => {
                    self.hear(&shared.take());
                    self.publish();
                }
                Message::Stop => break,
            }
        }
        // What the guest did at the last moment counts for what is plugged at the next start.
        self.hear(&shared.take());
        self.stop();
    }

    /// Does what is to be done about what the guest did, once for each resource.
    fn hear(&mut self, heard: &Heard) {
        for &resource in &heard.released {
            match (slot_of(&resource), &self.running) {
                (Some(slot), Some(running)) => running.released(slot),
                _ => self.released(resource),
            }
        }
        for slot in heard.kept.iter().filter_map(slot_of) {
            let name = self.running.as_ref().and_then(|running| running.name_of(slot));
            log::info!("the guest does not give up {}", name.unwrap_or_default());
        }
        for is_of_cores in [true, false] {
            let is_of_kind = |one: &Resource| is_core(one) == is_of_cores && slot_of(one).is_none();
            let of_kind = |all: &BTreeSet<Resource>| -> BTreeSet<Resource> {
                all.iter().copied().filter(is_of_kind).collect()
            };
            let (kept, returned) = (of_kind(&heard.kept), of_kind(&heard.returned));
            if !kept.is_empty() {
                self.kept(kept, is_of_cores);
            }
            if !returned.is_empty() {
                self.returned(&returned, is_of_cores);
            }
        }
    }

    /// What the guest released at the last moment is not the machine's next start's.
    fn stop(mut self) {
        let plugged = self.hotplug.plugged();
        for resource in self.made.difference(&plugged).copied().collect::<Vec<_>>() {
            self.take_away(resource);
        }
        if let Some(running) = &self.running {
            running.end();
        }
    }

    fn running(&self) -> Result<&Running, DeviceChangeError> {
        self.running.as_ref().ok_or(DeviceChangeError::NoSlots)
    }

    fn infos(&self) -> Vec<DeviceInfo> {
        self.running.as_ref().map_or_else(Vec::new, Running::infos)
    }

    fn publish(&self) {
        self.parts.control.publish(self.info(), self.infos());
    }

    fn info(&self) -> Info {
        let (machine, hotplug) = (&self.parts.machine, &self.hotplug);
        if !machine.has_spare() {
            return fixed(machine);
        }
        let threads = machine.topology().threads_per_core().into();
        let boot = machine.memory_map().ram_bytes();
        Info {
            cpus: self.cores.amount(hotplug, &self.made, threads, 0),
            memory: self.blocks.amount(hotplug, &self.made, MemoryBlock::BYTES, boot),
        }
    }

    fn resize(&mut self, cpus: Option<u32>, memory: Option<u64>) -> Result<(), ResizeError> {
        let machine = &self.parts.machine;
        if !machine.has_spare() && (cpus.is_some() || memory.is_some()) {
            return Err(ResizeError::NoRoom);
        }
        let cores = cpus.map(|cpus| check::cores(machine, cpus)).transpose()?;
        let blocks = memory.map(|bytes| check::blocks(machine, bytes)).transpose()?;
        for (wanted, is_of_cores) in [(cores, true), (blocks, false)] {
            let Some(wanted) = wanted else { continue };
            let kind = if is_of_cores { &mut self.cores } else { &mut self.blocks };
            if kind.wanted != Some(wanted) {
                kind.tried.clear();
            }
            kind.wanted = Some(wanted);
            kind.refused.clear();
            let states = kind.states(&self.hotplug);
            let steps = plan(&states, wanted, kind.fixed, &kind.tried);
            // All of them were asked for: from the first on again.
            if steps
                .iter()
                .all(|step| !matches!(step, Step::Unplug(one) if !kind.tried.contains(one)))
            {
                kind.tried.clear();
            }
            for step in steps {
                self.take(step)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), ResizeError> {
        match step {
            Step::Make(resource) => self.make(resource),
            // The guest may have been faster.
            Step::Plug(resource) => {
                let _ = self.hotplug.plug(resource);
                Ok(())
            }
            Step::Unplug(resource) => {
                self.kind(is_core(&resource)).tried.insert(resource);
                let _ = self.hotplug.unplug(resource);
                self.released(resource);
                Ok(())
            }
        }
    }

    fn kind(&mut self, is_of_cores: bool) -> &mut Kind {
        if is_of_cores { &mut self.cores } else { &mut self.blocks }
    }

    /// Makes something, and plugs it.
    fn make(&mut self, resource: Resource) -> Result<(), ResizeError> {
        // Released a moment ago.
        self.take_away(resource);
        let made = match resource {
            Resource::Core(first) => self.make_cpus(first),
            Resource::Memory(block) => self.make_memory(block),
            _ => Ok(()),
        };
        let failed = |source| ResizeError::Host { what: resource.to_string(), source };
        made.map_err(failed)?;
        self.made.insert(resource);
        let plugged = self.hotplug.plug(resource);
        if plugged.is_err() {
            self.take_away(resource);
        }
        Ok(plugged?)
    }

    fn make_cpus(&self, first: arch_ppc64::CpuIndex) -> Result<(), VmmError> {
        let mut made = Vec::new();
        for index in self.parts.machine.topology().core(first) {
            match self.parts.cpus.plug(index) {
                Ok(()) => made.push(index),
                Err(error) => {
                    made.into_iter().for_each(|index| self.parts.cpus.unplug(index));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn make_memory(&self, block: MemoryBlock) -> Result<(), VmmError> {
        let Parts { ram, vm, devices, .. } = &self.parts;
        let Some(vm) = vm else {
            let why = "the back end takes memory only at the start".to_owned();
            return Err(BackendError::Unsuitable(why).into());
        };
        let failed = |error| create("memory of the guest")(io::Error::other(error));
        ram.plug(block.start, MemoryBlock::BYTES).map_err(failed)?;
        if let Err(error) = vm.add_memory(block.start) {
            let _ = ram.unplug(block.start, MemoryBlock::BYTES);
            return Err(error.into());
        }
        devices.memory_changed(ram.memory());
        Ok(())
    }

    /// Takes away what was made, if it was.
    fn take_away(&mut self, resource: Resource) {
        if !self.made.remove(&resource) {
            return;
        }
        match resource {
            Resource::Core(first) => {
                for index in self.parts.machine.topology().core(first) {
                    self.parts.cpus.unplug(index);
                }
            }
            Resource::Memory(block) => self.take_memory_away(block),
            _ => {}
        }
    }

    fn take_memory_away(&self, block: MemoryBlock) {
        let Parts { ram, vm, devices, .. } = &self.parts;
        let (start, bytes) = (block.start, MemoryBlock::BYTES);
        // First those who would ask others for it, last who has it.
        let hidden = ram.unplug(start, bytes);
        devices.memory_changed(ram.memory());
        let removed = vm.as_ref().map_or(Ok(()), |vm| vm.remove_memory(start));
        let given_back = ram.give_back(start, bytes);
        let hidden = hidden.and(given_back).map_err(|error| error.to_string());
        if let Err(why) = hidden.and(removed.map_err(|error| error.to_string())) {
            log::warn!("the memory at {:#x} was not wholly taken away: {why}", start.0);
        }
    }

    /// The guest has given something back. It may have been plugged again meanwhile.
    fn released(&mut self, resource: Resource) {
        if self.hotplug.state(resource) == Some(PlugState::Absent) {
            self.take_away(resource);
        }
    }

    /// The guest will not give these back, which are all of one kind: it is asked for others, each at
    /// most once.
    fn kept(&mut self, kept: BTreeSet<Resource>, is_of_cores: bool) {
        for resource in &kept {
            log::info!("the guest does not give up {resource}");
        }
        let hotplug = self.hotplug.clone();
        let kind = self.kind(is_of_cores);
        kind.refused.extend(kept);
        let Some(wanted) = kind.wanted else { return };
        let tried: BTreeSet<_> = kind.tried.union(&kind.refused).copied().collect();
        let steps = plan(&kind.states(&hotplug), wanted, kind.fixed, &tried);
        for step in steps {
            match step {
                Step::Unplug(other) if !tried.contains(&other) => {
                    let _ = self.take(step);
                }
                _ => {}
            }
        }
    }

    /// The guest has given these back, which are all of one kind and no longer asked for. As many as
    /// make what is wanted are welcome, the highest first; the others stay, for the guest to take
    /// them again.
    fn returned(&mut self, returned: &BTreeSet<Resource>, is_of_cores: bool) {
        let hotplug = self.hotplug.clone();
        let kind = self.kind(is_of_cores);
        let Some(wanted) = kind.wanted else { return };
        let is_staying = |(_, state): &(Resource, PlugState)| {
            matches!(state, PlugState::Offered | PlugState::InUse)
        };
        let states = kind.states(&hotplug).into_iter().filter(is_staying);
        let staying: Vec<_> = states.map(|(resource, _)| resource).collect();
        let more = staying.len().saturating_sub(wanted);
        for &resource in staying.iter().rev().filter(|one| returned.contains(one)).take(more) {
            let _ = hotplug.unplug(resource);
        }
    }
}
