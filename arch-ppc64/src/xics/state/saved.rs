//! The controller as it is saved.

use serde::{Deserialize, Serialize};

use super::{Server, Source, State, VectorEntry};
use crate::platform::{SaveState, StateError, StateValue};
use crate::topology::CpuTopology;
use crate::vcpu::ServerNumber;
use crate::xics::Xics;

/// What is saved of the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct XicsState {
    servers: Vec<ServerState>,
    /// In the order of their numbers.
    sources: Vec<SourceState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerState {
    cppr: u8,
    mfrr: u8,
    ipi_since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceState {
    number: u32,
    /// As guests number them.
    server: u32,
    priority: u8,
    on: bool,
    latched: bool,
    level: bool,
    in_service: bool,
    arrival: u64,
    since: u64,
}

impl SaveState for Xics {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&self.lock().save())
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let state: XicsState = state.get()?;
        self.lock().restore(&state, &self.topology).map_err(StateError::Value)
    }
}

impl State {
    fn save(&self) -> XicsState {
        let server = |server: &Server| ServerState {
            cppr: server.cppr,
            mfrr: server.mfrr,
            ipi_since: server.ipi_since,
        };
        let arrivals = ranks(self.sources.values().map(|source| source.arrival));
        let source = |((&number, source), arrival): ((&u32, &Source), u64)| SourceState {
            number,
            server: source.xive.server.0,
            priority: source.xive.priority,
            on: source.on,
            latched: source.latched,
            level: source.level,
            in_service: source.in_service,
            arrival,
            since: source.since,
        };
        XicsState {
            servers: self.servers.iter().map(server).collect(),
            sources: self.sources.iter().zip(arrivals).map(source).collect(),
        }
    }

    /// Takes up a state, if it is one of these servers and sources; else says what cannot be.
    fn restore(&mut self, state: &XicsState, topology: &CpuTopology) -> Result<(), String> {
        if state.servers.len() != self.servers.len() {
            let (found, own) = (state.servers.len(), self.servers.len());
            return Err(format!("{found} interrupt servers, not {own}"));
        }
        if !state.sources.iter().map(|source| source.number).eq(self.sources.keys().copied()) {
            return Err("other interrupt sources than the machine has".to_owned());
        }
        let mut targets = Vec::with_capacity(state.sources.len());
        for source in &state.sources {
            let Some(target) = topology.index(ServerNumber(source.server)) else {
                let (number, server) = (source.number, source.server);
                return Err(format!(
                    "interrupt source {number:#x} is for server {server}, which there is not"
                ));
            };
            targets.push(target);
        }
        self.waiting.clear();
        let arrivals = ranks(state.sources.iter().map(|source| source.arrival));
        self.arrivals = arrivals.len() as u64;
        let sources = state.sources.iter().zip(targets).zip(arrivals).zip(&mut self.sources);
        for (((saved, target), arrival), (&number, source)) in sources {
            let server = ServerNumber(saved.server);
            *source = Source {
                xive: VectorEntry { server, priority: saved.priority },
                target,
                on: saved.on,
                latched: saved.latched,
                level: saved.level,
                in_service: saved.in_service,
                arrival,
                since: saved.since,
            };
            self.waiting.extend(source.place(number));
        }
        for (saved, server) in state.servers.iter().zip(&mut self.servers) {
            let line = server.line;
            let &ServerState { cppr, mfrr, ipi_since } = saved;
            *server = Server { cppr, mfrr, ipi_since, line };
        }
        for number in 0..self.servers.len() as u32 {
            self.update_line(number);
        }
        Ok(())
    }
}

/// The place of each number among all of them: only their order means something, and a saved one may
/// be any.
fn ranks(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let numbers: Vec<u64> = numbers.collect();
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by_key(|&at| numbers[at]);
    let mut ranks = vec![0; numbers.len()];
    for (rank, at) in (0..).zip(order) {
        ranks[at] = rank;
    }
    ranks
}
