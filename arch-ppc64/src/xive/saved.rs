//! A controller as it is saved: what its sources, queues and servers are, in software or in a
//! kernel.

use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

use super::controller::{Assignment, EventQueue, NO_PRIORITY};
use super::esb::Pq;
use super::server::{PRIORITIES, QUEUES};
use crate::cas::decision::{InterruptMode, Support};
use crate::layout::XIVE_QUEUE_SHIFT;
use crate::platform::{StateError, StateValue};
use crate::topology::CpuTopology;
use crate::vcpu::{CpuIndex, ServerNumber};

/// What a XIVE is about, between two of its changes. What is [read](Self::of_state) can be, as far
/// as its numbers go; where RAM is, this does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedXive {
    /// Of each CPU, by its index.
    pub servers: Vec<SavedServer>,
    /// In the order of their numbers.
    pub sources: Vec<SavedSource>,
}

/// What a CPU is presented with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedServer {
    /// Only interrupts that are more favoured than this are presented (CPPR).
    pub cppr: u8,
    /// Which priorities have an interrupt, the most favoured in the high-order bit (IPB).
    pub pending: u8,
    /// Its queues, each with its priority, in the order of these.
    pub queues: Vec<(u8, SavedQueue)>,
}

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedQueue {
    /// As the guest has set it, and how far it is.
    pub entries: EventQueue,
    /// Where notifications are coalesced: their state.
    pub notification: Pq,
}

/// A source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedSource {
    /// Its number.
    pub number: u32,
    /// Whether it has an event on its way.
    pub pq: Pq,
    /// What its device asserts.
    pub level: bool,
    /// Where its events go.
    pub assignment: Assignment,
}

/// [`SavedXive`] as plain data, in its version 1.
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

impl SavedXive {
    /// It as plain data.
    ///
    /// # Errors
    /// None is known.
    pub fn to_state(&self, topology: &CpuTopology) -> Result<StateValue, StateError> {
        StateValue::of(&XiveState {
            servers: self.servers.iter().map(SavedServer::to_state).collect(),
            sources: self.sources.iter().map(|source| source.to_state(topology)).collect(),
        })
    }

    /// The one that plain data says, if it can be one of these CPUs, and of sources of these numbers
    /// in their order.
    ///
    /// # Errors
    /// [`StateError`] says what cannot be.
    pub fn of_state(
        state: &StateValue,
        topology: &CpuTopology,
        sources: impl Iterator<Item = u32>,
    ) -> Result<Self, StateError> {
        let state: XiveState = state.get()?;
        if state.servers.len() != topology.cpus() as usize {
            let (found, own) = (state.servers.len(), topology.cpus());
            return Err(StateError::Value(format!("{found} interrupt servers, not {own}")));
        }
        if !state.sources.iter().map(|source| source.number).eq(sources) {
            let message = "other interrupt sources than the machine has".to_owned();
            return Err(StateError::Value(message));
        }
        let servers = state.servers.iter().map(SavedServer::of_state);
        let sources = state.sources.iter().map(|source| SavedSource::of_state(source, topology));
        let checked = || -> Result<Self, String> {
            Ok(Self {
                servers: servers.collect::<Result<_, _>>()?,
                sources: sources.collect::<Result<_, _>>()?,
            })
        };
        checked().map_err(StateError::Value)
    }
}

impl SavedServer {
    fn to_state(&self) -> ServerState {
        let queues =
            self.queues.iter().map(|(priority, SavedQueue { entries, notification })| QueueState {
                priority: *priority,
                address: entries.at.0,
                shift: XIVE_QUEUE_SHIFT,
                index: entries.index,
                generation: entries.generation,
                always_notifies: entries.always_notifies,
                notification: notification.bits(),
            });
        ServerState { cppr: self.cppr, pending: self.pending, queues: queues.collect() }
    }

    fn of_state(state: &ServerState) -> Result<Self, String> {
        let &ServerState { cppr, pending, .. } = state;
        if usize::from(cppr) >= PRIORITIES && cppr != NO_PRIORITY {
            return Err(format!("an interrupt server with CPPR {cppr:#x}"));
        }
        let mut queues: Vec<(u8, SavedQueue)> = Vec::new();
        for saved in &state.queues {
            let entries = EventQueue {
                at: GuestAddress(saved.address),
                index: saved.index,
                generation: saved.generation,
                always_notifies: saved.always_notifies,
            };
            let is_next = queues.last().is_none_or(|(last, _)| *last < saved.priority);
            if !is_next
                || usize::from(saved.priority) >= QUEUES
                || saved.shift != XIVE_QUEUE_SHIFT
                || !entries.is_possible()
                || saved.notification > 3
            {
                return Err(format!("an event queue {saved:x?}"));
            }
            let notification = Pq::of(saved.notification.into());
            queues.push((saved.priority, SavedQueue { entries, notification }));
        }
        Ok(Self { cppr, pending, queues })
    }
}

impl SavedSource {
    fn to_state(self, topology: &CpuTopology) -> SourceState {
        let Assignment { target, priority, is_masked, data } = self.assignment;
        SourceState {
            number: self.number,
            pq: self.pq.bits(),
            level: self.level,
            server: topology.server(target).0,
            priority,
            masked: is_masked,
            data,
        }
    }

    fn of_state(state: &SourceState, topology: &CpuTopology) -> Result<Self, String> {
        let &SourceState { number, pq, level, server, priority, masked, data } = state;
        let target: CpuIndex = topology.index(ServerNumber(server)).ok_or_else(|| {
            format!("interrupt source {number:#x} is for server {server}, which there is not")
        })?;
        let assignment = Assignment { target, priority, is_masked: masked, data };
        if !assignment.is_possible() || pq > 3 {
            return Err(format!(
                "interrupt source {number:#x} of priority {priority}, data {data:#x}, state {pq}"
            ));
        }
        Ok(Self { number, pq: Pq::of(pq.into()), level, assignment })
    }
}

/// A controller that is XICS or XIVE, as it is saved: which it is, and the state of that. Version 1
/// is the state of an XICS alone, from before there was a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedEither {
    /// Which it is.
    pub mode: InterruptMode,
    /// Its state, in version 1.
    pub state: StateValue,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EitherState {
    mode: ModeState,
    state: StateValue,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeState {
    Xics,
    Xive,
}

impl SavedEither {
    /// The version of [`to_state`](Self::to_state).
    pub const VERSION: u32 = 2;

    /// It as plain data.
    ///
    /// # Errors
    /// None is known.
    pub fn to_state(self) -> Result<StateValue, StateError> {
        let mode = match self.mode {
            InterruptMode::Xics => ModeState::Xics,
            InterruptMode::Xive => ModeState::Xive,
        };
        StateValue::of(&EitherState { mode, state: self.state })
    }

    /// The one that plain data of any version says, if a machine of these modes can be that.
    ///
    /// # Errors
    /// [`StateError`] says what cannot be.
    pub fn of_state(
        version: u32,
        state: &StateValue,
        modes: Support<InterruptMode>,
    ) -> Result<Self, StateError> {
        let EitherState { mode, state } = match version {
            1 => EitherState { mode: ModeState::Xics, state: state.clone() },
            Self::VERSION => state.get()?,
            found => return Err(StateError::Version { found, newest: Self::VERSION }),
        };
        let mode = match mode {
            ModeState::Xics => InterruptMode::Xics,
            ModeState::Xive => InterruptMode::Xive,
        };
        if !modes.includes(&mode) {
            return Err(StateError::Value(format!(
                "its guest takes interrupts by {mode}; this machine has {modes}"
            )));
        }
        Ok(Self { mode, state })
    }
}
