//! The controller as it is saved: what it is, and the state of that.

use arch_ppc64::cas::InterruptMode;
use arch_ppc64::platform::{SaveState, StateError, StateValue};
use arch_ppc64::xive::{SavedEither, SavedXive};
use serde::{Deserialize, Serialize};

use super::xics::SourceState;
use super::{Controller, XicsOrXive};

/// Of an XICS.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct XicsState {
    sources: Vec<SourceState>,
}

/// Saved and restored while no CPU is in guest code, restored after the states of all CPUs are and
/// the guest's RAM, and saved before that: what is on its way comes into its queues then. Version 1
/// is that of an XICS; what is saved of a XIVE is the same as of one in software.
impl SaveState for XicsOrXive {
    fn version(&self) -> u32 {
        SavedEither::VERSION
    }

    fn save(&self) -> Result<StateValue, StateError> {
        let (mode, state) = match &*self.now() {
            Controller::Xics(xics) => {
                let sources = xics.snapshot(&self.sources)?;
                (InterruptMode::Xics, StateValue::of(&XicsState { sources })?)
            }
            Controller::Xive(xive) => {
                let saved = xive.snapshot(&self.cpus())?;
                (InterruptMode::Xive, saved.to_state(&self.topology)?)
            }
            Controller::Gone => return Err(gone()),
        };
        SavedEither { mode, state }.to_state()
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        let SavedEither { mode, state } = SavedEither::of_state(version, state, self.modes)?;
        self.switch(mode)?;
        match &*self.now() {
            Controller::Xics(xics) => {
                let saved: XicsState = state.get()?;
                Ok(xics.restore(&saved.sources, &self.sources, &self.topology)?)
            }
            Controller::Xive(xive) => {
                let saved = SavedXive::of_state(&state, &self.topology, xive.numbers())?;
                Ok(xive.restore(&saved, &self.cpus())?)
            }
            Controller::Gone => Err(gone()),
        }
    }
}

fn gone() -> StateError {
    StateError::Host(std::io::Error::other("the VM has no interrupt controller any more"))
}
