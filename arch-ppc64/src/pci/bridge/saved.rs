//! A host bridge as it is saved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::HostBridge;
use crate::pci::dma_window::ENTRIES;
use crate::pci::function::Grant;
use crate::platform::{SaveState, StateError, StateValue};

/// What is saved of a bridge: the messages of functions by their addresses, the entries of the DMA
/// window that are not 0 with their places, and the state of the bus.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BridgeState {
    messages: BTreeMap<String, Grant>,
    dma_window: Vec<(u32, u64)>,
    bus: Option<BusState>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BusState {
    version: u32,
    state: StateValue,
}

impl SaveState for HostBridge {
    fn save(&self) -> Result<StateValue, StateError> {
        let functions = self.functions().clone();
        let messages = functions.iter().filter_map(|function| {
            let grant = function.grant()?;
            Some((function.address.to_string(), grant))
        });
        let bus = match self.bus.state() {
            Some(bus) => Some(BusState { version: bus.version(), state: bus.save()? }),
            None => None,
        };
        let dma_window = self.dma_window.entries();
        StateValue::of(&BridgeState { messages: messages.collect(), dma_window, bus })
    }

    /// The bus has the registers of its functions again by its own state; who has which messages is
    /// only remembered here.
    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let BridgeState { mut messages, dma_window, bus } = state.get()?;
        let refused = |message: String| Err(StateError::Value(message));
        let mut grants = Vec::new();
        let functions = self.functions().clone();
        for function in &functions {
            let grant = messages.remove(&function.address.to_string());
            if let Some(Grant { kind, count }) = grant.filter(|grant| !function.can_have(grant)) {
                let address = function.address;
                return refused(format!("{count} messages ({kind:?}) of {address}"));
            }
            grants.push(grant);
        }
        if let Some((function, _)) = messages.first_key_value() {
            return refused(format!("messages of {function:?}, which is not there"));
        }
        if let Some((place, _)) = dma_window.iter().find(|entry| entry.0 as usize >= ENTRIES) {
            return refused(format!("an entry {place} of a DMA window of {ENTRIES}"));
        }
        match (self.bus.state(), bus) {
            (Some(view), Some(saved)) => view.restore(saved.version, &saved.state)?,
            (None, None) => {}
            (None, Some(_)) => return refused("a state of the PCI bus, which has none".into()),
            (Some(_), None) => return refused("no state of the PCI bus".into()),
        }
        for (function, grant) in functions.iter().zip(grants) {
            function.set_grant(grant);
        }
        self.dma_window.clear();
        for (place, entry) in dma_window {
            self.dma_window.set(place as usize, std::iter::once(entry));
        }
        Ok(())
    }
}
