//! The state of a whole machine: that of its devices, and which interrupts they have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Platform;
use crate::platform::error::PlatformError;
use crate::platform::numbers::InterruptNumbers;
use crate::platform::state::StateValue;

/// The saved state of a machine's devices, and which interrupts they have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformState {
    interrupts: InterruptNumbers,
    devices: BTreeMap<String, DeviceState>,
}

impl PlatformState {
    /// The interrupt numbers, for the
    /// [builder](crate::platform::PlatformBuilder::with_interrupts) of the machine that takes the
    /// state up.
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

impl Platform {
    /// What there is to be saved of the machine, but its CPUs and its RAM. Only while no CPU runs and
    /// all devices are [paused](Self::pause).
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
        Ok(PlatformState { interrupts: self.interrupts.numbers().clone(), devices })
    }

    /// Takes up the state of a machine that was saved. Only before its first CPU runs, and after
    /// the states of the back end's virtual machine and of its CPUs were taken up: a controller
    /// tells these of their interrupts. Devices are paused then: [`resume`](Self::resume) has them go
    /// on.
    ///
    /// # Errors
    /// [`PlatformError`] names what does not fit; the machine cannot run then.
    pub fn restore(&self, state: &PlatformState) -> Result<(), PlatformError> {
        if state.interrupts != *self.interrupts.numbers() {
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
