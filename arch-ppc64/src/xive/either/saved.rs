//! The controller as it is saved: what it is, and the state of that.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::XicsOrXive;
use crate::cas::decision::InterruptMode;
use crate::platform::{SaveState, StateError, StateValue};

/// The version of what both controllers save; that of XICS alone, before there was a choice, is the
/// same.
const VERSION_OF_PARTS: u32 = 1;

/// What is saved of the controller, since version 2.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EitherState {
    mode: ModeState,
    /// In [`VERSION_OF_PARTS`].
    state: StateValue,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeState {
    Xics,
    Xive,
}

/// Version 1 is the state of an [`Xics`](crate::xics::Xics).
impl SaveState for XicsOrXive {
    fn version(&self) -> u32 {
        2
    }

    fn save(&self) -> Result<StateValue, StateError> {
        let (mode, state) = match *self.now() {
            InterruptMode::Xics => (ModeState::Xics, self.xics.save()?),
            InterruptMode::Xive => (ModeState::Xive, self.xive.save()?),
        };
        StateValue::of(&EitherState { mode, state })
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        let newest = self.version();
        let EitherState { mode, state } = match version {
            VERSION_OF_PARTS => EitherState { mode: ModeState::Xics, state: state.clone() },
            2 => state.get()?,
            found => return Err(StateError::Version { found, newest }),
        };
        let mode = match mode {
            ModeState::Xics => InterruptMode::Xics,
            ModeState::Xive => InterruptMode::Xive,
        };
        if !self.can_be(mode) {
            return Err(StateError::Value(format!(
                "its guest takes interrupts by {mode}; this machine has {}",
                self.modes
            )));
        }
        let mut now = self.mode.write().unwrap_or_else(PoisonError::into_inner);
        match mode {
            InterruptMode::Xics => self.xics.restore(VERSION_OF_PARTS, &state)?,
            InterruptMode::Xive => self.xive.restore(VERSION_OF_PARTS, &state)?,
        }
        *now = mode;
        Ok(())
    }
}
