//! The areas of processors as they are saved.

use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

use super::{Areas, CACHE_LINE_BYTES, DispatchCalls};
use crate::platform::{SaveState, StateError, StateValue};

/// What is saved of a processor's areas.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AreasState {
    vpa: Option<u64>,
    dispatch_trace_log: bool,
    slb_shadow: bool,
}

impl SaveState for DispatchCalls {
    fn save(&self) -> Result<StateValue, StateError> {
        let state = |areas: &Areas| AreasState {
            vpa: areas.vpa.map(|at| at.0),
            dispatch_trace_log: areas.dispatch_trace_log,
            slb_shadow: areas.slb_shadow,
        };
        StateValue::of(&self.lock().iter().map(state).collect::<Vec<_>>())
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let saved: Vec<AreasState> = state.get()?;
        let mut areas = self.lock();
        if saved.len() != areas.len() {
            let message = format!("areas of {} processors, not {}", saved.len(), areas.len());
            return Err(StateError::Value(message));
        }
        let is_possible = |saved: &AreasState| match saved.vpa {
            Some(at) => at % CACHE_LINE_BYTES == 0,
            None => !saved.dispatch_trace_log && !saved.slb_shadow,
        };
        if let Some(wrong) = saved.iter().position(|saved| !is_possible(saved)) {
            return Err(StateError::Value(format!("the areas of processor {wrong}")));
        }
        *areas = saved
            .into_iter()
            .map(|saved| Areas {
                vpa: saved.vpa.map(GuestAddress),
                dispatch_trace_log: saved.dispatch_trace_log,
                slb_shadow: saved.slb_shadow,
            })
            .collect();
        Ok(())
    }
}
