//! A machine that is there, for whoever saves it.

use std::sync::Arc;

use arch_ppc64::Machine;
use arch_ppc64::hotplug::Hotplug;
use arch_ppc64::platform::Platform;
use arch_ppc64::smp::Mailboxes;

use super::outline::{Outline, Plugged};
use super::shape::Shape;
use super::state::{SavedCpu, Versioned};
use super::{MachineState, SaveError};
use crate::boot::{ClientReporter, MachineRam};
use crate::cpus::Cpus;
use crate::devices::Devices;
use crate::vcpu::Vm;

/// The parts of a machine between two resets that have a state.
pub(crate) struct Live {
    /// What runs the guest.
    pub(crate) backend: &'static str,
    /// The machine as it started.
    pub(crate) machine: Machine,
    pub(crate) boot_count: u32,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) cpus: Arc<Cpus>,
    pub(crate) vm: Option<Arc<dyn Vm>>,
    pub(crate) platform: Arc<Platform>,
    pub(crate) hotplug: Option<Hotplug>,
    pub(crate) ram: Arc<MachineRam>,
    /// What is behind its devices on the host.
    pub(crate) devices: Arc<Devices>,
    pub(crate) client: Option<ClientReporter>,
}

impl Live {
    /// What it is, while nobody plugs anything.
    pub(crate) fn outline(&self) -> Outline {
        Outline {
            backend: self.backend.to_owned(),
            machine: Shape::of(&self.machine),
            plugged: match &self.hotplug {
                Some(hotplug) => Plugged::of(hotplug.plugged()),
                None => Plugged::of(self.machine.present()),
            },
        }
    }

    /// Its state: while it stands still, and nobody plugs anything.
    pub(crate) fn save(&self) -> Result<MachineState, SaveError> {
        let vm = self.vm.as_deref().and_then(Vm::state);
        let vm = vm.ok_or(SaveError::NoState(self.backend))?;
        // CPUs come first: what they have left open may still change devices.
        let registers = self.cpus.save().ok_or(SaveError::Ended)?.map_err(SaveError::Cpu)?;
        let vm = Versioned::save(vm).map_err(SaveError::Vm)?;
        let platform = self.platform.save()?;
        let outline = self.outline();
        let cpus = registers.into_iter().map(|(index, registers)| {
            let run = self.mailboxes.run_state(index)?;
            Some((index.0, SavedCpu { run, registers }))
        });
        Ok(MachineState {
            outline,
            places: self.devices.places(),
            boot_count: self.boot_count,
            vm,
            cpus: cpus.collect::<Option<_>>().ok_or(SaveError::Ended)?,
            platform,
        })
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("boot_count", &self.boot_count).finish_non_exhaustive()
    }
}
