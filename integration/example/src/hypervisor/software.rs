//! A POWER9 in software, for hosts that have none.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated, Support};
use arch_ppc64::config::{AddressTranslation, Interrupts};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::platform::{Device, InterruptController, SaveState, StateValue};
use arch_ppc64::{CpuIndex, EntryRegisters, Kick, Machine, Next};
use interp::PageMap;
use interp::board::{self, Clock, MemoryFlags, VmOptions};
use vm_memory::GuestAddress;

use super::{ExitHandler, Hypervisor, Vcpu, Vm, answer, lock};
use crate::Result;

pub(crate) struct Software;

impl Hypervisor for Software {
    fn name(&self) -> &'static str {
        "software"
    }

    fn host_pvr(&self) -> Result<u32> {
        Ok(CpuModel::Power9.pvr())
    }

    fn interrupts(&self, wanted: Interrupts) -> Result<Support<InterruptMode>> {
        Ok(wanted.into())
    }

    fn mmu(&self, wanted: AddressTranslation) -> Result<Support<Mmu>> {
        Ok(wanted.into())
    }

    fn create_vm(&self, machine: &Machine) -> Result<Arc<dyn Vm>> {
        let (cpu, clock) = (machine.cpu(), Arc::new(Clock::of_host()));
        let options = VmOptions::new(machine.topology(), clock)
            .with_pvr(cpu.pvr())
            .with_compat(cpu.compat())
            .with_interrupts(machine.interrupts())
            .with_mmu(machine.mmu(), machine.hpt_order());
        Ok(Arc::new(SoftwareVm(board::create_vm(options))))
    }
}

struct SoftwareVm(Arc<board::Vm>);

impl Vm for SoftwareVm {
    #[allow(unsafe_code)]
    unsafe fn set_memory_region(
        &self,
        slot: u32,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
        pages: &PageMap,
    ) -> Result<()> {
        let (flags, pages) = (MemoryFlags::PLAIN, pages.clone());
        // SAFETY: says the caller.
        unsafe { self.0.set_tracked_memory_region(slot, at, host, bytes, flags, pages) }?;
        Ok(())
    }

    fn create_vcpu(&self, index: CpuIndex, exits: Arc<dyn ExitHandler>) -> Result<Arc<dyn Vcpu>> {
        let vcpu = self.0.create_vcpu(index)?;
        Ok(Arc::new(SoftwareVcpu { index, kicker: vcpu.kicker(), vcpu: Mutex::new(vcpu), exits }))
    }

    fn devices(&self) -> Vec<Arc<dyn Device>> {
        self.0.devices()
    }

    fn interrupts(&self) -> Arc<dyn InterruptController> {
        self.0.interrupts().clone()
    }

    fn negotiated(&self, decision: &Decision) -> Negotiated {
        self.0.negotiated(decision)
    }

    fn fit(&self, machine: &Machine) -> Machine {
        machine.clone()
    }

    fn state(&self) -> &dyn SaveState {
        &*self.0
    }

    fn pause_clock(&self) {
        self.0.pause_clock();
    }

    fn resume_clock(&self) {
        self.0.resume_clock();
    }
}

struct SoftwareVcpu {
    index: CpuIndex,
    vcpu: Mutex<board::Vcpu>,
    kicker: Arc<dyn Kick>,
    exits: Arc<dyn ExitHandler>,
}

impl Vcpu for SoftwareVcpu {
    fn start(&self, registers: &EntryRegisters) -> Result<()> {
        Ok(lock(&self.vcpu).start(registers)?)
    }

    fn run(&self) -> Result<Next> {
        let mut vcpu = lock(&self.vcpu);
        let next = answer(&*self.exits, self.index, vcpu.run()?)?;
        match next {
            Next::Cede => vcpu.cede(),
            Next::Park => vcpu.stop(),
            _ => {}
        }
        Ok(next)
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.kicker.clone()
    }

    fn complete(&self) -> Result<()> {
        let mut vcpu = lock(&self.vcpu);
        while let Some(exit) = vcpu.complete()? {
            // Of an instruction with several accesses, the next: nothing to stop for.
            let _ = answer(&*self.exits, self.index, exit)?;
        }
        Ok(())
    }

    fn save(&self) -> Result<StateValue> {
        Ok(StateValue::of(&lock(&self.vcpu).save()?)?)
    }

    fn restore(&self, state: &StateValue) -> Result<()> {
        Ok(lock(&self.vcpu).restore(&state.get()?)?)
    }
}
