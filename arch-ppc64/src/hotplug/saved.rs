//! Connectors as they are saved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Hotplug;
use super::connectors::{Action, Entity, State, is_physical};
use crate::platform::{SaveState, StateError, StateValue};

/// What is plugged, by the indexes of connectors, and what the guest has not heard of. How far the
/// configuring of a connector has got is in the guest's RAM.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HotplugState {
    plugged: BTreeMap<u32, EntityState>,
    events: BTreeMap<u32, Action>,
    /// `cpu-version` of cores, where guest and machine have agreed on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu_version: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct EntityState {
    state: State,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    asked_back: bool,
}

impl SaveState for Hotplug {
    fn save(&self) -> Result<StateValue, StateError> {
        let cpu_version = self.cpu_version();
        let connectors = self.connectors();
        let plugged = connectors.present.iter().map(|(&index, &entity)| {
            let Entity { state, asked_back } = entity;
            (index, EntityState { state, asked_back })
        });
        let (plugged, events) = (plugged.collect(), connectors.events.clone());
        StateValue::of(&HotplugState { plugged, events, cpu_version })
    }

    /// Only what is plugged into this machine can have been plugged into the other.
    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let HotplugState { plugged, events, cpu_version } = state.get()?;
        let refused = |why: String| Err(StateError::Value(format!("connectors: {why}")));
        let mut connectors = self.connectors();
        let one_sided = plugged.keys().find(|index| !connectors.present.contains_key(index));
        let one_sided =
            one_sided.or(connectors.present.keys().find(|index| !plugged.contains_key(index)));
        if let Some(index) = one_sided {
            return refused(format!("{index:#x} is not plugged in both machines"));
        }
        let is_odd = |(index, entity): &(&u32, &EntityState)| match entity.state {
            State::Unusable => entity.asked_back || is_physical(**index),
            State::Isolated => entity.asked_back && is_physical(**index),
            State::Unisolated | State::Configured => false,
        };
        if let Some((index, _)) = plugged.iter().find(is_odd) {
            return refused(format!("{index:#x} is asked back and not the guest's"));
        }
        if let Some(index) = events.keys().find(|&&index| connectors.resource(index).is_none()) {
            return refused(format!("there is an event of {index:#x}, which there is not"));
        }
        if let Some(version) = cpu_version {
            let cpu = self.0.machine.cpu();
            let mut versions = cpu.levels().map(|level| level.logical_pvr()).chain([cpu.pvr()]);
            if !versions.any(|known| known == version) {
                return refused(format!("no core of this machine has the version {version:#x}"));
            }
        }
        let entity = |EntityState { state, asked_back }| Entity { state, asked_back };
        connectors.present =
            plugged.into_iter().map(|(index, saved)| (index, entity(saved))).collect();
        connectors.events = events;
        drop(connectors);
        self.0.set_cpu_version(cpu_version);
        Ok(())
    }
}
