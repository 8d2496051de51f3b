//! What is saved of a virtual machine besides its CPUs and its devices.

use arch_ppc64::platform::{SaveState, StateError, StateValue};

use super::clock::ClockState;
use super::modes::ModesState;
use super::vm::Vm;

/// A [`Vm`], saved.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct VmState {
    modes: ModesState,
    clock: ClockState,
}

/// What is set for all CPUs at once, and time: the modes that the guest chose, and the clock, by
/// which its timebase goes on where it was. Restored before the states of the CPUs; the platform
/// with its devices comes after these.
impl SaveState for Vm {
    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&VmState { modes: self.modes().state(), clock: self.clock().state() })
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        let newest = self.version();
        if version != newest {
            return Err(StateError::Version { found: version, newest });
        }
        let VmState { modes, clock } = state.get()?;
        modes.check()?;
        self.clock().check_state(clock)?;
        self.modes().set_state(modes);
        self.clock().set_state(clock);
        Ok(())
    }
}
