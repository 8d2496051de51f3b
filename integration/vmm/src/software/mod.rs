//! The back end of hosts that have no KVM for these guests: a POWER9 in software.
//!
//! The package `interp` executes instructions. Here is what KVM and a POWER host do besides: the
//! clock, the interrupt controller, CPUs that sleep, and the modes that a guest sets for all of
//! its CPUs.

mod board;
mod clock;
mod modes;
mod vcpu;

use std::sync::Arc;

use arch_ppc64::Machine;
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::papr::{DispatchCalls, ModeCalls, PaprCalls};
use arch_ppc64::platform::Device;
use arch_ppc64::xics::Xics;
use interp::{Cpu, System};

use crate::ram::{HostRam, SharedRam, SoftwareRam};
use crate::vcpu::{ArchitectureLevel, Backend, BackendError, Vcpu, VirtualMachine};
use board::Lines;
use modes::Modes;
use vcpu::SoftVcpu;

pub use clock::{Clock, GuestTime};

/// A processor in software.
#[derive(Debug)]
pub struct Software {
    clock: Arc<Clock>,
    stops: bool,
}

impl Software {
    /// A processor whose timebase is that of `clock`.
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, stops: false }
    }

    /// Whether an instruction that it does not have ends the run, for those who debug.
    #[must_use]
    pub fn stop_at_unimplemented(self, stops: bool) -> Self {
        Self { stops, ..self }
    }
}

impl Backend for Software {
    fn name(&self) -> &'static str {
        "interp"
    }

    fn host_pvr(&self) -> Result<Option<u32>, BackendError> {
        Ok(None)
    }

    fn check(&self, machine: &Machine) -> Result<(), BackendError> {
        let model = machine.cpu().model();
        if model != CpuModel::Power9 {
            return Err(BackendError::Unsuitable(format!(
                "the processor in software is a {}, not a {model}",
                CpuModel::Power9
            )));
        }
        let cpus = machine.vcpus().len();
        if self.clock.counts_instructions() && cpus != 1 {
            return Err(BackendError::Unsuitable(format!(
                "time that is counted in instructions is that of one CPU; this machine has {cpus}"
            )));
        }
        Ok(())
    }

    fn create(
        &self,
        machine: &Machine,
        ram: &Arc<dyn HostRam>,
    ) -> Result<VirtualMachine, BackendError> {
        self.check(machine)?;
        self.clock.restart();
        let cpus = machine.vcpus().len();
        let system = Arc::new(System::new(cpus));
        let lines = Arc::new(Lines::new(cpus));
        let xics = Arc::new(Xics::new(machine.max_cpus(), lines.clone()));
        let modes = Arc::new(Modes::new(lines.clone()));
        let software_ram = Arc::new(SoftwareRam::new(ram.clone()));
        let mut vcpus: Vec<Box<dyn Vcpu>> = Vec::with_capacity(cpus);
        for (number, line) in lines.all().enumerate() {
            let mut cpu = Cpu::new(number, machine.cpu().pvr(), system.clone());
            cpu.stop_at_unimplemented(self.stops);
            vcpus.push(Box::new(SoftVcpu::new(
                cpu,
                software_ram.clone(),
                line.clone(),
                modes.clone(),
                self.clock.clone(),
            )));
        }
        let devices: Vec<Arc<dyn Device>> = vec![
            Arc::new(PaprCalls::new(machine.max_cpus(), None)),
            Arc::new(ModeCalls::new(modes)),
            Arc::new(DispatchCalls::new(machine.max_cpus(), lines)),
            xics.clone(),
        ];
        Ok(VirtualMachine {
            vcpus,
            devices,
            level: Arc::new(Power9),
            interrupts: xics.clone(),
            sources: Some(xics),
            ram: Arc::new(SharedRam(ram.clone())),
        })
    }
}

/// The processor is a POWER9: held to that level, it is what it is, as it has nothing that a
/// register (Power ISA 3.0B, Book III §2.5, PCR) could switch off.
struct Power9;

impl ArchitectureLevel for Power9 {
    fn set(&self, level: Option<u32>) -> bool {
        level.is_none_or(|level| level == CpuModel::Power9.logical_pvr())
    }
}
