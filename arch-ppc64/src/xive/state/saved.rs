//! The controller as it is saved.

use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

use super::{Source, State};
use crate::layout::XIVE_QUEUE_SHIFT;
use crate::platform::{SaveState, StateError, StateValue};
use crate::topology::CpuTopology;
use crate::vcpu::ServerNumber;
use crate::xive::Xive;
use crate::xive::controller::{Assignment, EventQueue};
use crate::xive::esb::Pq;
use crate::xive::queue::Queue;
use crate::xive::server::{NO_PRIORITY, PRIORITIES, QUEUES, Server};

/// What is saved of the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct XiveState {
    servers: Vec<ServerState>,
    /// In the order of their numbers.
    sources: Vec<SourceState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerState {
    cppr: u8,
    pending: u8,
    /// Those that there are, in the order of their priorities.
    queues: Vec<QueueState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueState {
    priority: u8,
    address: u64,
    /// As a power of two.
    shift: u32,
    index: u32,
    generation: bool,
    always_notifies: bool,
    notification: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceState {
    number: u32,
    pq: u8,
    level: bool,
    /// As guests number them.
    server: u32,
    priority: u8,
    masked: bool,
    data: u32,
}

/// Restored when the guest's RAM is, as a level that nobody has seen yet becomes an event then.
impl SaveState for Xive {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&self.lock().save(&self.topology))
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let state: XiveState = state.get()?;
        self.lock().restore(&state, &self.topology).map_err(StateError::Value)
    }
}

impl State {
    fn save(&self, topology: &CpuTopology) -> XiveState {
        let source = |(&number, source): (&u32, &Source)| SourceState {
            number,
            pq: source.pq.bits(),
            level: source.level,
            server: topology.server(source.assignment.target).0,
            priority: source.assignment.priority,
            masked: source.assignment.is_masked,
            data: source.assignment.data,
        };
        XiveState {
            servers: self.servers.iter().map(ServerState::of).collect(),
            sources: self.sources.iter().map(source).collect(),
        }
    }

    /// Takes up a state, if it is one of these servers and sources; else says what cannot be, and
    /// nothing has changed.
    fn restore(&mut self, state: &XiveState, topology: &CpuTopology) -> Result<(), String> {
        if state.servers.len() != self.servers.len() {
            let (found, own) = (state.servers.len(), self.servers.len());
            return Err(format!("{found} interrupt servers, not {own}"));
        }
        if !state.sources.iter().map(|source| source.number).eq(self.sources.keys().copied()) {
            return Err("other interrupt sources than the machine has".to_owned());
        }
        let of_source = |source: &SourceState| source.assignment(topology);
        let assignments: Vec<_> = state.sources.iter().map(of_source).collect::<Result<_, _>>()?;
        let of_server = |(saved, own): (&ServerState, &Server)| saved.server(own.line);
        let servers = state.servers.iter().zip(&self.servers).map(of_server);
        self.servers = servers.collect::<Result<_, _>>()?;
        for ((saved, assignment), source) in
            state.sources.iter().zip(assignments).zip(self.sources.values_mut())
        {
            let (pq, level) = (Pq::of(saved.pq.into()), saved.level);
            *source = Source { pq, level, assignment, ..*source };
        }
        for number in 0..self.servers.len() {
            self.update_line(number);
        }
        // Of those that were saved, none has a level that waits to be seen.
        for source in &state.sources {
            let _ = self.change(source.number, |_| false);
        }
        Ok(())
    }
}

impl SourceState {
    fn assignment(&self, topology: &CpuTopology) -> Result<Assignment, String> {
        let &Self { number, pq, server, priority, masked, data, .. } = self;
        let target = topology.index(ServerNumber(server)).ok_or_else(|| {
            format!("interrupt source {number:#x} is for server {server}, which there is not")
        })?;
        let assignment = Assignment { target, priority, is_masked: masked, data };
        if !assignment.is_possible() || pq > 3 {
            return Err(format!(
                "interrupt source {number:#x} of priority {priority}, data {data:#x}, state {pq}"
            ));
        }
        Ok(assignment)
    }
}

impl ServerState {
    fn of(server: &Server) -> Self {
        let queues = (0..).zip(&server.queues);
        let queues = queues.filter_map(|(priority, queue)| Some((priority, queue.as_ref()?)));
        let queues = queues.map(|(priority, queue)| QueueState {
            priority,
            address: queue.entries.at.0,
            shift: XIVE_QUEUE_SHIFT,
            index: queue.entries.index,
            generation: queue.entries.generation,
            always_notifies: queue.entries.always_notifies,
            notification: queue.notification.bits(),
        });
        Self { cppr: server.cppr, pending: server.pending, queues: queues.collect() }
    }

    fn server(&self, line: bool) -> Result<Server, String> {
        let &Self { cppr, pending, .. } = self;
        if usize::from(cppr) >= PRIORITIES && cppr != NO_PRIORITY {
            return Err(format!("an interrupt server with CPPR {cppr:#x}"));
        }
        let mut queues = [None; QUEUES];
        for saved in &self.queues {
            let entries = EventQueue {
                at: GuestAddress(saved.address),
                index: saved.index,
                generation: saved.generation,
                always_notifies: saved.always_notifies,
            };
            let fits =
                saved.shift == XIVE_QUEUE_SHIFT && entries.is_possible() && saved.notification <= 3;
            let place = queues.get_mut(usize::from(saved.priority)).filter(|place| place.is_none());
            let Some(place) = place.filter(|_| fits) else {
                return Err(format!("an event queue {saved:x?}"));
            };
            *place = Some(Queue { entries, notification: Pq::of(saved.notification.into()) });
        }
        Ok(Server { cppr, pending, queues, line })
    }
}
