//! A bus as it is saved.

use std::collections::BTreeMap;

use arch_ppc64::platform::{SaveState, StateError, StateValue};
use serde::{Deserialize, Serialize};

use super::{Bus, Slot};

/// The functions by their ids.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BusState {
    functions: BTreeMap<String, FunctionState>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionState {
    /// Which device of the bus it is.
    device: u8,
    version: u32,
    state: StateValue,
}

impl SaveState for Bus {
    fn save(&self) -> Result<StateValue, StateError> {
        let mut functions = BTreeMap::new();
        for (address, slot) in self.slots() {
            let (id, view) = (slot.function.id(), view(&slot)?);
            let state = view.save().map_err(|error| error.of(id))?;
            let version = view.version();
            let state = FunctionState { device: address.device(), version, state };
            functions.insert(id.to_owned(), state);
        }
        StateValue::of(&BusState { functions })
    }

    /// All functions or none: those that have taken theirs up already get back what they had.
    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let BusState { mut functions } = state.get()?;
        let mut pairs = Vec::new();
        let slots = self.slots();
        for (address, slot) in &slots {
            let (id, device) = (slot.function.id(), address.device());
            let refused = |message: String| Err(StateError::Value(message).of(id));
            match functions.remove(id) {
                None => return refused("there is no state of it".to_owned()),
                Some(saved) if saved.device != device => {
                    let there = saved.device;
                    return refused(format!("it was device {there} of the bus, and is {device}"));
                }
                Some(saved) => pairs.push((id, view(slot)?, saved)),
            }
        }
        if let Some(id) = functions.into_keys().next() {
            let message = "there is no such function on the bus".to_owned();
            return Err(StateError::Value(message).of(id));
        }
        let mut before = Vec::new();
        for (id, view, saved) in pairs {
            let named = |error: StateError| error.of(id);
            before.push((view, view.save().map_err(named)?));
            let Err(error) = view.restore(saved.version, &saved.state) else { continue };
            for (view, state) in before {
                // It is its own.
                view.restore(view.version(), &state).map_err(named)?;
            }
            self.decode();
            return Err(named(error));
        }
        self.decode();
        Ok(())
    }
}

fn view(slot: &Slot) -> Result<&dyn SaveState, StateError> {
    let id = slot.function.id();
    slot.function.state().ok_or_else(|| StateError::Unsupported(id.to_owned()))
}
