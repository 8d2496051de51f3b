//! The controller as it is saved: what it is, and the state of that.

use std::sync::PoisonError;

use super::XicsOrXive;
use crate::cas::decision::InterruptMode;
use crate::platform::{SaveState, StateError, StateValue};
use crate::xive::saved::SavedEither;

/// The version of what both controllers save.
const VERSION_OF_PARTS: u32 = 1;

/// Version 1 is the state of an [`Xics`](crate::xics::Xics).
impl SaveState for XicsOrXive {
    fn version(&self) -> u32 {
        SavedEither::VERSION
    }

    fn save(&self) -> Result<StateValue, StateError> {
        let now = self.now();
        let state = match *now {
            InterruptMode::Xics => self.xics.save()?,
            InterruptMode::Xive => self.xive.save()?,
        };
        SavedEither { mode: *now, state }.to_state()
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        let SavedEither { mode, state } = SavedEither::of_state(version, state, self.modes)?;
        let mut now = self.mode.write().unwrap_or_else(PoisonError::into_inner);
        match mode {
            InterruptMode::Xics => self.xics.restore(VERSION_OF_PARTS, &state)?,
            InterruptMode::Xive => self.xive.restore(VERSION_OF_PARTS, &state)?,
        }
        *now = mode;
        Ok(())
    }
}
