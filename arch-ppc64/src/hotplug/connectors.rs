//! The connectors of a machine (DRCs), and where each stands (LoPAPR §13.4, §13.5 and §13.7).
//!
//! Nothing here calls anybody: what is to be told comes back to the caller.

use std::collections::{BTreeMap, BTreeSet};

use super::host::{PlugError, PlugState};
use super::resource::{
    PciSlot, Resource, TYPE_CPU, TYPE_MEMORY, TYPE_SHIFT, TYPE_SLOT, core_connector,
    memory_connector, number_of, slot_connector,
};
use crate::layout::LMB_BYTES;
use crate::machine::Machine;
use crate::vcpu::CpuIndex;

/// How many blocks of memory one event is about at most: what is done under one lock is bounded.
const RUN_MAX: u32 = 256;

/// Where the entity of a connector stands, of those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub(super) enum State {
    /// Not allocated to the guest: it may allocate it. The connector of a slot is a physical one,
    /// which has no such state: what is in it is isolated first.
    Unusable,
    /// Allocated, and isolated.
    Isolated,
    /// Unisolated, and not configured.
    Unisolated,
    /// The guest has had its node, or found it in its tree at the start.
    Configured,
}

/// What the platform would like the guest to do (LoPAPR §10.3.2, Hotplug section).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub(crate) enum Action {
    /// To take something.
    Add,
    /// To give something back.
    Remove,
}

/// An event for the guest: an action with one connector, or with several that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) action: Action,
    /// The index of the first connector.
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl Event {
    /// What it is about.
    pub(crate) fn kind(&self) -> EventKind {
        match self.first >> TYPE_SHIFT {
            TYPE_MEMORY => EventKind::Memory,
            TYPE_SLOT => EventKind::Slot,
            _ => EventKind::Core,
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Core,
    Memory,
    Slot,
}

/// What a call brought about that somebody has to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    Released(Resource),
    Kept(Resource),
    Taken(Resource),
    Returned(Resource),
}

/// What is the matter with a call of the guest (statuses of LoPAPR §7.3.5.1 and §13.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such indicator, or it cannot get there from here.
    NoIndicator,
    /// It is in use.
    InUse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entity {
    pub(super) state: State,
    /// It was asked back, and is in the guest's hands yet.
    pub(super) asked_back: bool,
}

/// All connectors.
#[derive(Debug, Clone)]
pub(super) struct Connectors {
    threads_per_core: u32,
    /// How many have one: all or none.
    cores: u32,
    /// The bridges whose slots have one.
    bridges: BTreeSet<u8>,
    /// Numbers of the blocks of memory that have one.
    blocks: Vec<std::ops::Range<u32>>,
    /// Those with something in them, by their index.
    pub(super) present: BTreeMap<u32, Entity>,
    /// What the guest has not fetched yet, one for a connector: the last that was wished for. While
    /// there is one, an interrupt is on its way; what was told of by an interrupt is never taken
    /// back, only replaced, as Linux handles an event at each interrupt, be there one or not.
    pub(super) events: BTreeMap<u32, Action>,
}

impl Connectors {
    /// Those of a machine at its start: what is there has been configured.
    pub(super) fn of_machine(machine: &Machine) -> Self {
        let number = |address: u64| (address / LMB_BYTES) as u32;
        let ranges = machine.memory_map().hotplug();
        let mut connectors = Self {
            threads_per_core: machine.topology().threads_per_core(),
            cores: if machine.has_spare() { machine.topology().cores() } else { 0 },
            bridges: BTreeSet::new(),
            blocks: ranges.map(|range| number(range.start.0)..number(range.end().0)).collect(),
            present: BTreeMap::new(),
            events: BTreeMap::new(),
        };
        for resource in machine.present() {
            connectors.was_there(resource);
        }
        connectors
    }

    /// The slots of a bridge, of which these are taken at the start.
    pub(super) fn add_bridge(&mut self, bridge: u8, devices: impl IntoIterator<Item = u8>) {
        self.bridges.insert(bridge);
        for device in devices {
            self.was_there(Resource::slot(bridge, device));
        }
    }

    /// The guest finds it in its tree.
    fn was_there(&mut self, resource: Resource) {
        let configured = Entity { state: State::Configured, asked_back: false };
        if let Some(index) = self.index(resource) {
            self.present.insert(index, configured);
        }
    }

    /// The index of the connector that a resource is plugged into, if there is one.
    pub(super) fn index(&self, resource: Resource) -> Option<u32> {
        match resource {
            Resource::Core(CpuIndex(cpu)) => {
                let (core, thread) = (cpu / self.threads_per_core, cpu % self.threads_per_core);
                (core < self.cores && thread == 0).then_some(core_connector(core))
            }
            Resource::Memory(block) => {
                let number = u32::try_from(block.start.0 / LMB_BYTES).ok()?;
                let is_there = self.blocks.iter().any(|blocks| blocks.contains(&number));
                let is_whole = block.start.0 % LMB_BYTES == 0;
                (is_there && is_whole).then_some(memory_connector(number))
            }
            Resource::Slot(PciSlot { bridge, device }) => {
                let is_there = self.bridges.contains(&bridge) && device < PciSlot::COUNT;
                is_there.then_some(slot_connector(bridge, device))
            }
        }
    }

    /// What is plugged into the connector of that index, if there is such a connector.
    pub(super) fn resource(&self, index: u32) -> Option<Resource> {
        let number = number_of(index);
        let resource = match index >> TYPE_SHIFT {
            TYPE_CPU => Resource::Core(CpuIndex(number.checked_mul(self.threads_per_core)?)),
            TYPE_MEMORY => Resource::memory(vm_memory::GuestAddress(u64::from(number) * LMB_BYTES)),
            TYPE_SLOT => {
                let count = u32::from(PciSlot::COUNT);
                Resource::slot(u8::try_from(number / count).ok()?, (number % count) as u8)
            }
            _ => return None,
        };
        self.index(resource).map(|_| resource)
    }

    /// The indexes of the connectors of cores.
    pub(super) fn of_cores(&self) -> impl ExactSizeIterator<Item = u32> + use<> {
        (0..self.cores).map(core_connector)
    }

    /// The indexes of the connectors of blocks of memory.
    pub(super) fn of_memory(&self) -> impl Iterator<Item = u32> {
        self.blocks.iter().cloned().flatten().map(memory_connector)
    }

    /// The indexes of the connectors of slots.
    fn of_slots(&self) -> impl Iterator<Item = u32> {
        let slots = |&bridge| (0..PciSlot::COUNT).map(move |device| slot_connector(bridge, device));
        self.bridges.iter().flat_map(slots)
    }

    /// What there is a connector for.
    pub(super) fn resources(&self) -> Vec<Resource> {
        let indexes = self.of_cores().chain(self.of_memory()).chain(self.of_slots());
        indexes.filter_map(|index| self.resource(index)).collect()
    }

    /// What is plugged.
    pub(super) fn plugged(&self) -> BTreeSet<Resource> {
        self.present.keys().filter_map(|&index| self.resource(index)).collect()
    }

    /// How far a resource is plugged.
    pub(super) fn plug_state(&self, resource: Resource) -> Option<PlugState> {
        let index = self.index(resource)?;
        Some(match self.present.get(&index) {
            None => PlugState::Absent,
            Some(Entity { asked_back: true, .. }) => PlugState::AskedBack,
            Some(Entity { state: State::Configured, .. }) => PlugState::InUse,
            Some(_) => PlugState::Offered,
        })
    }

    /// Where the entity of a connector stands; `None` where nothing is plugged.
    pub(super) fn entity(&self, index: u32) -> Option<Entity> {
        self.present.get(&index).copied()
    }

    /// Plugs a resource. True when the guest is to be interrupted.
    pub(super) fn plug(&mut self, resource: Resource) -> Result<bool, PlugError> {
        let index = self.index(resource).ok_or(PlugError::NoConnector { resource })?;
        match self.present.get_mut(&index) {
            None => {
                let entity = Entity { state: offered(index), asked_back: false };
                self.present.insert(index, entity);
            }
            Some(entity) if entity.asked_back => {
                entity.asked_back = false;
                self.replace(index, Action::Add);
                return Ok(false);
            }
            Some(Entity { state: State::Configured, .. }) => {
                return Err(PlugError::InUse { resource });
            }
            Some(entity) if entity.state == offered(index) => {}
            // The guest is about to take it.
            Some(_) => return Ok(false),
        }
        Ok(self.post(index, Action::Add))
    }

    /// Asks for a resource, or takes it back at once if it is not the guest's. True when the guest is
    /// to be interrupted.
    pub(super) fn unplug(
        &mut self,
        resource: Resource,
    ) -> Result<(bool, Option<Notice>), PlugError> {
        let index = self.index(resource).ok_or(PlugError::NoConnector { resource })?;
        let entity = self.present.get_mut(&index).ok_or(PlugError::NotPlugged { resource })?;
        if entity.state == offered(index) {
            self.present.remove(&index);
            self.replace(index, Action::Remove);
            return Ok((false, Some(Notice::Released(resource))));
        }
        entity.asked_back = true;
        Ok((self.post(index, Action::Remove), None))
    }

    /// `set-indicator` with `allocation-state` (§13.5.3.4, table "Defined Indicators").
    pub(super) fn allocate(&mut self, index: u32, usable: bool) -> Result<Option<Notice>, Refusal> {
        let resource = self.resource(index).ok_or(Refusal::NoIndicator)?;
        // "allocation-state" is of logical connectors (§13.5.3.4).
        if is_physical(index) {
            return Err(Refusal::NoIndicator);
        }
        // "If the transition to the usable state is not possible the -3 […] status is returned".
        let entity = self.present.get_mut(&index);
        match (usable, entity) {
            // "A null transition […] always succeeds".
            (false, None | Some(Entity { state: State::Unusable, .. })) => Ok(None),
            (true, None) => Err(Refusal::NoIndicator),
            (true, Some(entity)) => {
                if entity.state == State::Unusable {
                    entity.state = State::Isolated;
                }
                Ok(None)
            }
            (false, Some(entity)) => {
                if entity.state != State::Isolated {
                    return Err(Refusal::NoIndicator);
                }
                if entity.asked_back {
                    self.present.remove(&index);
                    return Ok(Some(Notice::Released(resource)));
                }
                entity.state = State::Unusable;
                Ok(Some(Notice::Returned(resource)))
            }
        }
    }

    /// `set-indicator` with `isolation-state`: isolate. A core whose threads are not all stopped is
    /// [in use](Refusal::InUse): "all the CPU threads must be in the RTAS stopped state" (§13.7.4.1.1).
    ///
    /// What is in a slot is the VMM's again when it is isolated and was asked for: such a connector has
    /// no further state. An empty slot is isolated.
    pub(super) fn isolate(&mut self, index: u32, is_idle: bool) -> Result<Option<Notice>, Refusal> {
        let resource = self.resource(index).ok_or(Refusal::NoIndicator)?;
        if is_physical(index) && !self.present.contains_key(&index) {
            return Ok(None);
        }
        let entity = self.usable(index)?;
        match entity.state {
            State::Isolated => return Ok(None),
            _ if !is_idle => return Err(Refusal::InUse),
            _ => entity.state = State::Isolated,
        }
        if !is_physical(index) {
            return Ok(None);
        }
        if entity.asked_back {
            self.present.remove(&index);
            return Ok(Some(Notice::Released(resource)));
        }
        Ok(Some(Notice::Returned(resource)))
    }

    /// `set-indicator` with `isolation-state`: unisolate.
    ///
    /// Of what is not isolated it is no transition. Linux (from 5.13 on) does it all the same to say
    /// that it could not give back what it was asked for.
    pub(super) fn unisolate(&mut self, index: u32) -> Result<Option<Notice>, Refusal> {
        let resource = self.resource(index).ok_or(Refusal::NoIndicator)?;
        let has_heard = self.events.get(&index) != Some(&Action::Remove);
        let entity = self.usable(index)?;
        if entity.state == State::Isolated {
            entity.state = State::Unisolated;
            return Ok(None);
        }
        let is_refusal = entity.asked_back && has_heard;
        if is_refusal {
            entity.asked_back = false;
        }
        Ok(is_refusal.then_some(Notice::Kept(resource)))
    }

    /// The node of a connector was told to its end (§13.5.3.5).
    pub(super) fn configured(&mut self, index: u32) -> Option<Notice> {
        let resource = self.resource(index)?;
        let entity = self.present.get_mut(&index)?;
        if entity.state != State::Unisolated {
            return None;
        }
        entity.state = State::Configured;
        Some(Notice::Taken(resource))
    }

    /// Whether the guest can have the CPU started: it always can where cores have no connectors.
    pub(super) fn is_configured(&self, core: Resource) -> bool {
        if self.cores == 0 {
            return true;
        }
        let entity = self.index(core).and_then(|index| self.entity(index));
        entity.is_some_and(|entity| entity.state == State::Configured)
    }

    /// The next event for the guest.
    pub(super) fn next_event(&self) -> Option<Event> {
        let (&first, &action) = self.events.first_key_value()?;
        let event = Event { action, first, count: 1 };
        // Each is asked back by itself: a guest gives back all of a run, or nothing.
        if action == Action::Remove || event.kind() != EventKind::Memory {
            return Some(event);
        }
        let run = self.events.range(first..).take(RUN_MAX as usize).zip(first..);
        let run =
            run.take_while(|&((&index, &next), expected)| index == expected && next == action);
        Some(Event { count: run.count() as u32, ..event })
    }

    /// The guest has that event. True when it is to be interrupted for the next.
    pub(super) fn fetched(&mut self, event: Event) -> bool {
        for index in event.first..event.first + event.count {
            self.events.remove(&index);
        }
        !self.events.is_empty()
    }

    fn usable(&mut self, index: u32) -> Result<&mut Entity, Refusal> {
        let entity = self.present.get_mut(&index).filter(|entity| entity.state != State::Unusable);
        entity.ok_or(Refusal::NoIndicator)
    }

    /// Has the guest told. True when it is to be interrupted: for the first of the events, whose
    /// being fetched is the interrupt for the next; and for one that waits already, as that
    /// interrupt may have been lost on a guest that was starting.
    fn post(&mut self, index: u32, action: Action) -> bool {
        let is_first = self.events.is_empty();
        let before = self.events.insert(index, action);
        is_first || before == Some(action)
    }

    /// What waits of a connector is replaced, if something does.
    fn replace(&mut self, index: u32, action: Action) {
        if let Some(waiting) = self.events.get_mut(&index) {
            *waiting = action;
        }
    }
}

/// Whether a connector is a physical one, of a slot (LoPAPR §13.6), and not a logical one.
pub(super) const fn is_physical(index: u32) -> bool {
    index >> TYPE_SHIFT == TYPE_SLOT
}

/// Where what is plugged into a connector stands as long as the guest has not begun to take it.
const fn offered(index: u32) -> State {
    if is_physical(index) { State::Isolated } else { State::Unusable }
}
