//! The back end of hosts that have no KVM for these guests: the POWER9 in software of the package
//! `interp`, and its board.

use std::sync::{Arc, Mutex};

use arch_ppc64::cas::{InterruptMode, Mmu, Support};
use arch_ppc64::config::{AddressTranslation, Interrupts};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::platform::{SaveState, StateValue};
use arch_ppc64::{CpuIndex, EntryRegisters, Kick, Machine, VcpuExit};
use interp::board::{self, MemoryFlags, VmError, VmOptions, create_vm};
use vm_memory::GuestAddress;

use crate::dirty_log::DirtyRange;
use crate::locks::lock;
use crate::ram::{HostRam, HostRegion, SharedRam};
use crate::slots::Slots;
use crate::vcpu::{Backend, BackendError, Vcpu, VirtualMachine, Vm};

pub use board::{Clock, GuestTime};

/// A processor in software.
#[derive(Debug)]
pub struct Software {
    clock: Arc<Clock>,
    stops: bool,
}

impl Software {
    /// As on the command line.
    pub(crate) const NAME: &str = "interp";

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
        Self::NAME
    }

    fn host_pvr(&self) -> Result<u32, BackendError> {
        Ok(CpuModel::Power9.pvr())
    }

    fn keeps_code(&self) -> bool {
        true
    }

    fn check(&self, machine: &Machine) -> Result<(), BackendError> {
        let model = machine.cpu().model();
        if model > CpuModel::Power9 {
            return Err(BackendError::Unsuitable(format!(
                "the processor in software is a {}, not a {model}",
                CpuModel::Power9
            )));
        }
        Ok(())
    }

    fn interrupts(&self, wanted: Interrupts) -> Result<Support<InterruptMode>, BackendError> {
        Ok(wanted.into())
    }

    fn mmu(&self, wanted: AddressTranslation) -> Result<Support<Mmu>, BackendError> {
        Ok(wanted.into())
    }

    fn create(
        &self,
        machine: &Machine,
        ram: &Arc<dyn HostRam>,
    ) -> Result<VirtualMachine, BackendError> {
        self.check(machine)?;
        let options = VmOptions::new(machine.topology(), self.clock.clone())
            .with_pvr(machine.cpu().pvr())
            .with_compat(machine.cpu().compat())
            .with_interrupts(machine.interrupts())
            .with_mmu(machine.mmu(), machine.hpt_order())
            .stop_at_unimplemented(self.stops);
        let vm = create_vm(options);
        let growing =
            Arc::new(SoftVm { vm: vm.clone(), ram: ram.clone(), slots: Mutex::default() });
        for region in ram.regions() {
            growing.add_memory(region.start)?;
        }
        let vcpus =
            machine.vcpus().map(|index| growing.create_vcpu(index)).collect::<Result<_, _>>()?;
        Ok(VirtualMachine {
            machine: machine.clone(),
            vcpus,
            devices: vm.devices(),
            interrupts: vm.interrupts().clone(),
            ram: Arc::new(SharedRam(ram.clone())),
            notify_events: None,
            vm: Some(growing),
            negotiated: Box::new(move |decision| vm.negotiated(decision)),
        })
    }
}

struct SoftVm {
    vm: Arc<board::Vm>,
    ram: Arc<dyn HostRam>,
    slots: Mutex<Slots>,
}

impl Vm for SoftVm {
    fn create_vcpu(&self, index: CpuIndex) -> Result<Box<dyn Vcpu>, BackendError> {
        let vcpu = self.vm.create_vcpu(index).map_err(unsuitable)?;
        Ok(Box::new(SoftVcpu { vcpu, _ram: self.ram.clone() }))
    }

    fn add_memory(&self, start: GuestAddress) -> Result<(), BackendError> {
        lock(&self.slots).add(&*self.ram, start, u64::MAX, |slot, region| {
            let HostRegion { start, host, bytes, pages } = region;
            let pages = pages.unwrap_or_else(|| interp::PageMap::new(bytes as usize));
            let flags = MemoryFlags::PLAIN;
            // SAFETY: `HostRam` vouches for the region while `ram` lives; every CPU holds `ram`,
            // and nobody else uses the memory of `vm`.
            unsafe { self.vm.set_tracked_memory_region(slot, start, host, bytes, flags, pages) }
                .map_err(unsuitable)
        })
    }

    fn remove_memory(&self, start: GuestAddress) -> Result<(), BackendError> {
        let removed = |slot| self.vm.remove_memory_region(slot).map_err(unsuitable);
        lock(&self.slots).remove(start, removed)
    }

    /// One bitmap has what CPUs write, and what this process writes.
    fn set_dirty_log(&self, on: bool) -> Result<(), BackendError> {
        let set = |slot, on| self.vm.set_dirty_log(slot, on).map_err(unsuitable);
        lock(&self.slots).set_dirty_log(on, set)
    }

    fn take_dirty(&self) -> Result<Vec<DirtyRange>, BackendError> {
        lock(&self.slots).take_dirty(|_| Ok(None))
    }

    fn pause_clock(&self) {
        self.vm.pause_clock();
    }

    fn resume_clock(&self) {
        self.vm.resume_clock();
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(&*self.vm)
    }
}

struct SoftVcpu {
    vcpu: board::Vcpu,
    _ram: Arc<dyn HostRam>,
}

impl Vcpu for SoftVcpu {
    fn start(&mut self, registers: &EntryRegisters) -> Result<(), BackendError> {
        self.vcpu.start(registers).map_err(unsuitable)
    }

    fn run(&mut self) -> Result<VcpuExit<'_>, BackendError> {
        self.vcpu.run().map_err(unsuitable)
    }

    fn cede(&mut self) {
        self.vcpu.cede();
    }

    fn stop(&mut self) {
        self.vcpu.stop();
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        self.vcpu.reset();
        Ok(())
    }

    fn complete(&mut self) -> Result<Option<VcpuExit<'_>>, BackendError> {
        self.vcpu.complete().map_err(unsuitable)
    }

    fn save(&self) -> Result<StateValue, BackendError> {
        Ok(StateValue::of(&self.vcpu.save().map_err(unsuitable)?)?)
    }

    fn restore(&mut self, state: &StateValue) -> Result<(), BackendError> {
        self.vcpu.restore(&state.get()?).map_err(unsuitable)
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.vcpu.kicker()
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.vcpu.instructions())
    }
}

fn unsuitable(error: VmError) -> BackendError {
    BackendError::Unsuitable(error.to_string())
}

#[cfg(test)]
mod tests;
