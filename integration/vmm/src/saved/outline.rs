//! What is known of a machine before its state is had: a machine that is to take it up can be made.

use arch_ppc64::Machine;
use arch_ppc64::hotplug::MemoryBlock;
use serde::{Deserialize, Serialize};

use super::RestoreError;
use super::shape::Shape;
use super::state::Plugged;
use crate::boot::MachineRam;
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
    /// Checks that `machine`, on this back end, is one that can take it up. It is the machine with what is
    /// plugged.
    ///
    /// # Errors
    /// [`RestoreError`] says what differs.
    pub(crate) fn machine(
        &self,
        machine: &Machine,
        backend: &dyn Backend,
    ) -> Result<Machine, RestoreError> {
        if self.backend != backend.name() {
            let (saved, here) = (self.backend.clone(), backend.name().to_owned());
            return Err(RestoreError::Backend { saved, here });
        }
        self.machine.check(machine)?;
        Ok(machine.clone().with_present(self.plugged.resources())?)
    }

    /// The name of the back end that runs it.
    pub(crate) fn backend(&self) -> &str {
        &self.backend
    }

    /// Plugs the blocks of memory that are plugged into RAM as it is at the start of a machine.
    pub(crate) fn plug_memory(&self, ram: &MachineRam) -> Result<(), RestoreError> {
        for block in self.plugged.memory() {
            ram.plug(block, MemoryBlock::BYTES)?;
        }
        Ok(())
    }
}
