//! What is known of a machine before its state is had: a machine that is to take it up can be made.

use arch_ppc64::Machine;
use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

use super::shape::Shape;
use super::state::Plugged;
use super::{MachineState, RestoreError};
use crate::vcpu::Backend;

/// What a machine is, on which back end, and what is plugged into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outline {
    pub(super) backend: String,
    pub(super) machine: Shape,
    pub(super) plugged: Plugged,
}

impl Outline {
    /// Checks that `machine`, on this back end, is one that can take it up.
    ///
    /// # Errors
    /// [`RestoreError`] says what differs.
    pub(crate) fn check(
        &self,
        machine: &Machine,
        backend: &dyn Backend,
    ) -> Result<(), RestoreError> {
        if self.backend != backend.name() {
            let (saved, here) = (self.backend.clone(), backend.name().to_owned());
            return Err(RestoreError::Backend { saved, here });
        }
        self.machine.check(machine)?;
        machine.clone().with_present(self.plugged.resources())?;
        Ok(())
    }

    /// The name of the back end that runs it.
    pub(crate) fn backend(&self) -> &str {
        &self.backend
    }

    /// Where blocks of memory are plugged.
    pub(crate) fn plugged_memory(&self) -> impl Iterator<Item = GuestAddress> + '_ {
        self.plugged.memory()
    }

    /// Whether a state is one of the machine, with the same plugged into it.
    pub(crate) fn is_of(&self, state: &MachineState) -> bool {
        self.backend == state.backend
            && self.machine == state.machine
            && self.plugged == state.plugged
    }
}
