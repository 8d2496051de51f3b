//! KVM of a POWER host.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated, Support};
use arch_ppc64::config::{AddressTranslation, Interrupts};
use arch_ppc64::platform::{Device, InterruptController, SaveState, StateValue};
use arch_ppc64::{CpuIndex, EntryRegisters, Kick, Machine, Next};
use interp::PageMap;
use kvm_ppc64::{MemoryFlags, VmOptions};
use vm_memory::GuestAddress;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::{ExitHandler, Hypervisor, Vcpu, Vm, answer, lock};
use crate::Result;

pub(crate) struct Kvm(kvm_ppc64::Kvm);

impl Kvm {
    pub(crate) fn open() -> Result<Self> {
        let kvm = kvm_ppc64::Kvm::open()?;
        register_signal_handler(SIGRTMIN(), on_kick)?;
        Ok(Self(kvm))
    }
}

/// The signal that ends a run: its arrival is enough.
extern "C" fn on_kick(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

impl Hypervisor for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn host_pvr(&self) -> Result<u32> {
        Ok(self.0.host_pvr()?)
    }

    fn interrupts(&self, wanted: Interrupts) -> Result<Support<InterruptMode>> {
        Ok(self.0.interrupts(wanted)?)
    }

    fn mmu(&self, wanted: AddressTranslation) -> Result<Support<Mmu>> {
        Ok(self.0.mmu(wanted)?)
    }

    fn create_vm(&self, machine: &Machine) -> Result<Arc<dyn Vm>> {
        let real_mode_bytes = machine.memory_map().rma().bytes;
        let options = VmOptions::new(machine.topology(), SIGRTMIN())
            .with_compat(machine.cpu().compat())
            .with_interrupts(machine.interrupts())
            .with_mmu(machine.mmu(), machine.hpt_order(), real_mode_bytes);
        let vm = self.0.create_vm(options)?;
        Ok(Arc::new(KvmVm(vm)))
    }
}

struct KvmVm(Arc<kvm_ppc64::Vm>);

impl Vm for KvmVm {
    #[allow(unsafe_code)]
    unsafe fn set_memory_region(
        &self,
        slot: u32,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
        _: &PageMap,
    ) -> Result<()> {
        // SAFETY: says the caller.
        unsafe { self.0.set_memory_region(slot, at, host, bytes, MemoryFlags::PLAIN) }?;
        Ok(())
    }

    fn create_vcpu(&self, index: CpuIndex, exits: Arc<dyn ExitHandler>) -> Result<Arc<dyn Vcpu>> {
        let vcpu = self.0.create_vcpu(index)?;
        Ok(Arc::new(KvmVcpu { kicker: vcpu.kicker(), vcpu: Mutex::new(vcpu), exits }))
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
        self.0.fit(machine.clone())
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

struct KvmVcpu {
    vcpu: Mutex<kvm_ppc64::Vcpu>,
    kicker: Arc<dyn Kick>,
    exits: Arc<dyn ExitHandler>,
}

impl Vcpu for KvmVcpu {
    fn start(&self, registers: &EntryRegisters) -> Result<()> {
        Ok(lock(&self.vcpu).start(registers)?)
    }

    fn run(&self) -> Result<Next> {
        let mut vcpu = lock(&self.vcpu);
        let index = vcpu.index();
        // The kernel answers H_CEDE: a CPU that is idle sleeps there.
        answer(&*self.exits, index, vcpu.run()?)
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.kicker.clone()
    }

    fn complete(&self) -> Result<()> {
        let mut vcpu = lock(&self.vcpu);
        let index = vcpu.index();
        while let Some(exit) = vcpu.complete()? {
            // Of an instruction with several accesses, the next: nothing to stop for.
            let _ = answer(&*self.exits, index, exit)?;
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
