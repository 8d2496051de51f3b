//! What is saved of a virtual machine besides its CPUs and its devices.

use arch_ppc64::platform::{SaveState, StateError, StateValue};

use super::clock::ClockState;
use super::modes::ModesState;
use super::turns::TurnState;
use super::vm::Vm;

/// A [`Vm`], saved.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct VmState {
    modes: ModesState,
    clock: ClockState,
    /// Whose turn it is, where CPUs execute in turns. Version 1 has none.
    #[serde(default)]
    turn: Option<TurnState>,
}

/// What is set for all CPUs at once, and time: the modes that the guest chose, and the clock, by
/// which its timebase goes on where it was. Restored before the states of the CPUs; the platform
/// with its devices comes after these.
impl SaveState for Vm {
    fn save(&self) -> Result<StateValue, StateError> {
        let turn = self.turns.as_ref().and_then(|turns| turns.state());
        StateValue::of(&VmState { modes: self.modes().state(), clock: self.clock().state(), turn })
    }

    fn version(&self) -> u32 {
        3
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        let newest = self.version();
        if version == 0 || version > newest {
            return Err(StateError::Version { found: version, newest });
        }
        let VmState { modes, clock, turn } = state.get()?;
        modes.check()?;
        if !self.options.mmu.includes(&modes.mmu()) {
            let what = format!("a guest of {} translation in a machine without", modes.mmu());
            return Err(StateError::Value(what));
        }
        self.clock().check_state(clock)?;
        let is_ours = |turn| self.turns.as_ref().is_some_and(|turns| turns.has(turn));
        if turn.is_some_and(|turn| !is_ours(turn)) {
            return Err(StateError::Value("the turn of a CPU that there is not".to_owned()));
        }
        self.modes().set_state(modes);
        self.clock().set_state(clock);
        if let Some(turns) = &self.turns {
            turns.set_state(turn);
        }
        Ok(())
    }
}
