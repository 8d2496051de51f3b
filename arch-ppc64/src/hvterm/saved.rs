//! The terminal as it is saved.

use super::{CHARS_MAX, HvTerm};
use crate::platform::{SaveState, StateError, StateValue};

/// What the console did not take yet.
impl SaveState for HvTerm {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&*self.flush())
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let rest: Vec<u8> = state.get()?;
        if rest.len() >= CHARS_MAX {
            let message = format!("{} characters wait; the most is {}", rest.len(), CHARS_MAX - 1);
            return Err(StateError::Value(message));
        }
        *self.flush() = rest;
        Ok(())
    }
}
