//! What is known of a machine before its state is had: a machine that is to take it up can be made.

use arch_ppc64::hotplug::{MemoryBlock, Resource};
use arch_ppc64::{CpuIndex, Machine};
use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

use super::RestoreError;
use super::shape::Shape;
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

/// What there is of what can be plugged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plugged {
    /// The first threads of cores.
    cores: Vec<u32>,
    /// Where blocks of memory begin.
    memory: Vec<u64>,
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

impl Plugged {
    pub(super) fn of(resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut plugged = Self::default();
        for resource in resources {
            match resource {
                Resource::Core(first) => plugged.cores.push(first.0),
                Resource::Memory(block) => plugged.memory.push(block.start.0),
                // What is in slots has its places.
                _ => {}
            }
        }
        plugged
    }

    pub(super) fn memory(&self) -> impl Iterator<Item = GuestAddress> + '_ {
        self.memory.iter().copied().map(GuestAddress)
    }

    pub(super) fn resources(&self) -> impl Iterator<Item = Resource> + '_ {
        let cores = self.cores.iter().map(|&first| Resource::core(CpuIndex(first)));
        let memory = self.memory.iter().map(|&start| Resource::memory(GuestAddress(start)));
        cores.chain(memory)
    }
}
