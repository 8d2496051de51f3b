//! What is saved of a device: plain data with a version, which nobody believes when it comes back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::state_error::StateError;

/// The state of a device as plain data, in any of serde's formats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateValue(serde_json::Value);

impl StateValue {
    /// What `state` is as plain data.
    ///
    /// # Errors
    /// [`StateError::Format`] for what has no plain form, such as a map whose keys are no strings.
    pub fn of(state: &impl Serialize) -> Result<Self, StateError> {
        Ok(Self(serde_json::to_value(state).map_err(format)?))
    }

    /// The state, if this is the plain form of one.
    ///
    /// # Errors
    /// [`StateError::Format`] names what does not fit.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, StateError> {
        T::deserialize(&self.0).map_err(format)
    }
}

/// Something whose state can be saved, and taken up by another one like it: in another process,
/// by another release. Only while no CPU of the machine runs.
pub trait SaveState: Send + Sync {
    /// The version of what [`save`](Self::save) gives. It grows with each change of the form.
    fn version(&self) -> u32 {
        1
    }

    /// What there is to be saved.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be had.
    fn save(&self) -> Result<StateValue, StateError>;

    /// Takes up what was saved in `version`. Nobody vouches for it: a value that cannot be is an
    /// error, and the machine does not run then.
    ///
    /// # Errors
    /// [`StateError`] says what cannot be.
    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError>;
}

fn format(error: serde_json::Error) -> StateError {
    StateError::Format(error.to_string())
}
