//! Where a state is had from, and where it goes.

use arch_ppc64::platform::{SaveState, StateError, StateValue};

use super::restore::restore;
use super::{RestoreError, STATE_VERSION, Saved, VofState, save};
use crate::builder::VofBuilder;
use crate::vof::Vof;

impl Vof {
    /// What clients can see, as plain data: to be saved, and to be taken up by
    /// [`VofBuilder::restore`](crate::VofBuilder::restore) in another process. To be called while
    /// no CPU runs.
    ///
    /// # Errors
    /// [`StateError`] when an open package of the VMM's cannot be saved.
    pub fn state(&self) -> Result<VofState, StateError> {
        save(&self.interface)
    }
}

impl VofBuilder {
    /// As [`build`](Self::build), and then what was [saved](Vof::state) of another interface is
    /// taken up: the next calls get the answers that they would have got there.
    ///
    /// The tree is that which was saved, with nodes and properties that another release, or other
    /// devices, have made. Only what this machine has attached to nodes has to be in it: console,
    /// packages, memory. What this machine's own tree has besides is not there.
    ///
    /// Guest memory, which clients have pointers to, is for the VMM to carry over, and so is what
    /// its own policies have learnt: they are not told anew.
    ///
    /// # Errors
    /// [`RestoreError`] names the field of `saved` that cannot be, and there is no interface.
    pub fn restore(self, saved: &VofState) -> Result<Vof, RestoreError> {
        let vof = self.build()?;
        restore(&vof.interface, saved)?;
        Ok(vof)
    }
}

impl SaveState for Vof {
    fn version(&self) -> u32 {
        STATE_VERSION
    }

    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&self.state()?.vof)
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version != STATE_VERSION {
            return Err(StateError::Version { found: version, newest: STATE_VERSION });
        }
        let state = VofState { version, vof: state.get::<Saved>()? };
        restore(&self.interface, &state).map_err(|error| StateError::Value(error.to_string()))?;
        // As all of a machine that was saved, it goes on when it is told to.
        self.interface.state().clock.pause();
        Ok(())
    }
}
