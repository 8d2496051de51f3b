//! The state of a machine: plain data.

use std::collections::BTreeMap;

use arch_ppc64::platform::{InterruptNumbers, PlatformState, SaveState, StateError, StateValue};
use arch_ppc64::smp::{Mailboxes, RunState};
use arch_ppc64::{CpuIndex, Machine};
use serde::{Deserialize, Serialize};

use super::RestoreError;
use super::outline::Outline;
use crate::devices::Devices;
use crate::vcpu::{Backend, Vcpu, Vm};

/// All that there is of a machine that stands still, but its configuration and its RAM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineState {
    /// What it is, on which back end, and what is plugged into it.
    pub(super) outline: Outline,
    /// In which slot of the bus each device is, by its id.
    pub(super) places: BTreeMap<String, u8>,
    /// The number of the start, 1 for the first.
    pub(crate) boot_count: u32,
    /// What is set for all CPUs.
    pub(super) vm: Versioned,
    /// By their numbers.
    pub(super) cpus: BTreeMap<u32, SavedCpu>,
    pub(super) platform: PlatformState,
}

/// A state that is no device's of the platform.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Versioned {
    version: u32,
    state: StateValue,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedCpu {
    pub(super) run: RunState,
    pub(super) registers: StateValue,
}

impl MachineState {
    /// The name of the back end that ran it.
    pub fn backend(&self) -> &str {
        self.outline.backend()
    }

    /// What is known of it without its state.
    pub(crate) fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Checks that `machine`, on this back end, is the one that was saved. It is the machine with what
    /// was plugged then.
    pub(crate) fn machine(
        &self,
        machine: &Machine,
        backend: &dyn Backend,
    ) -> Result<Machine, RestoreError> {
        let machine = self.outline.machine(machine, backend)?;
        let here: Vec<_> = machine.vcpus().map(|index| index.0).collect();
        let mut one_sided = here.iter().filter(|index| !self.cpus.contains_key(index));
        let mut only_saved = self.cpus.keys().filter(|index| !here.contains(index));
        match one_sided.next().or(only_saved.next()) {
            Some(&index) => Err(RestoreError::OneSided(CpuIndex(index))),
            None => Ok(machine),
        }
    }

    /// Puts the devices where they were on the bus, before the machine starts.
    pub(crate) fn place(&self, devices: &Devices) -> Result<(), RestoreError> {
        let here = devices.places();
        let only = |one: &BTreeMap<String, u8>, other: &BTreeMap<String, u8>| {
            one.keys().find(|&id| !other.contains_key(id)).cloned()
        };
        if let Some(id) = only(&self.places, &here) {
            return Err(RestoreError::NoDevice { id });
        }
        if let Some(id) = only(&here, &self.places) {
            return Err(RestoreError::NewDevice { id });
        }
        Ok(devices.move_to(&self.places)?)
    }

    /// Which interrupts the devices have.
    pub(crate) fn interrupts(&self) -> &InterruptNumbers {
        self.platform.interrupts()
    }

    /// The state of its devices.
    pub(crate) fn platform(&self) -> &PlatformState {
        &self.platform
    }

    /// Has the new virtual machine of [such a machine](Self::machine) take up its state, and its CPUs,
    /// which are in the machine's order, theirs.
    pub(crate) fn restore_cpus(
        &self,
        machine: &Machine,
        vm: Option<&dyn Vm>,
        vcpus: &mut [Box<dyn Vcpu>],
        mailboxes: &Mailboxes,
    ) -> Result<(), RestoreError> {
        let none = || StateError::Unsupported(format!("the back end {}", self.backend()));
        let vm = vm.and_then(Vm::state).ok_or_else(none).map_err(RestoreError::Vm)?;
        self.vm.restore(vm).map_err(RestoreError::Vm)?;
        for (index, vcpu) in machine.vcpus().zip(vcpus) {
            let saved = self.cpus.get(&index.0).ok_or(RestoreError::OneSided(index))?;
            let restored = vcpu.restore(&saved.registers);
            restored.map_err(|source| RestoreError::Cpu { index, source })?;
            let set = mailboxes.set_run_state(index, saved.run);
            set.map_err(|_| RestoreError::OneSided(index))?;
        }
        Ok(())
    }
}

impl Versioned {
    pub(super) fn save(of: &dyn SaveState) -> Result<Self, StateError> {
        Ok(Self { version: of.version(), state: of.save()? })
    }

    fn restore(&self, of: &dyn SaveState) -> Result<(), StateError> {
        of.restore(self.version, &self.state)
    }
}
