//! What every function has to be saved of: its configuration space, and the form of its messages.

use arch_ppc64::platform::StateError;
use serde::{Deserialize, Serialize};

use super::config_space::ConfigSpace;

/// A vector of messages as it is saved: its entry of the table, and its pending bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorState {
    pub(super) address: u64,
    pub(super) data: u32,
    pub(super) masked: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) pending: bool,
}

impl ConfigSpace {
    /// All of its bytes, for a state to be saved.
    pub fn state(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    /// The same function with what was saved of one like it.
    ///
    /// # Errors
    /// [`StateError::Value`] names a register that a guest cannot write, and that says something
    /// else here.
    pub fn with_state(&self, saved: &[u8]) -> Result<Self, StateError> {
        let (fresh, writable) = self.shape();
        if saved.len() != fresh.len() {
            let (saved, own) = (saved.len(), fresh.len());
            let message = format!("a configuration space of {saved} bytes, and not of {own}");
            return Err(StateError::Value(message));
        }
        let mut registers = saved.iter().zip(fresh).zip(writable).enumerate();
        let differs = registers.find(|(_, ((saved, own), mask))| (*saved ^ *own) & !*mask != 0);
        if let Some((register, ((saved, own), _))) = differs {
            let message = format!(
                "byte {register:#x} of configuration space is {saved:#x} of a function whose own is \
                 {own:#x}"
            );
            return Err(StateError::Value(message));
        }
        let mut space = self.clone();
        space.set_bytes(saved);
        Ok(space)
    }
}
