//! What the VMM needs of whatever runs guest code: a hypervisor makes a VM, which is given memory
//! and makes CPUs. Nothing above these traits knows which one it is.

mod kvm;
mod software;

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated, Support};
use arch_ppc64::config::{AddressTranslation, Interrupts};
use arch_ppc64::platform::{Device, InterruptController, SaveState, StateValue};
use arch_ppc64::{CpuIndex, EntryRegisters, Hypercall, Kick, Machine, Next, VcpuExit};
use interp::PageMap;
use vm_memory::GuestAddress;

use crate::Result;

/// A way to run guest code.
pub(crate) trait Hypervisor: Send + Sync {
    /// Its name: on the command line, and in saved machines, which go on with the same.
    fn name(&self) -> &'static str;

    /// The version register (PVR) of the processor that guests run on.
    fn host_pvr(&self) -> Result<u32>;

    /// What guests are offered of XICS and XIVE where they are to take interrupts as `wanted`.
    fn interrupts(&self, wanted: Interrupts) -> Result<Support<InterruptMode>>;

    /// What its guests are offered of radix trees and hashed page tables, as wanted.
    fn mmu(&self, wanted: AddressTranslation) -> Result<Support<Mmu>>;

    /// A VM without memory and CPUs. A machine that starts again gets a new one.
    fn create_vm(&self, machine: &Machine) -> Result<Arc<dyn Vm>>;
}

/// A virtual machine.
pub(crate) trait Vm: Send + Sync {
    /// Makes memory of this process the guest's, from `at` on. What the process writes there is
    /// marked in `pages`.
    ///
    /// # Safety
    /// From `host` on, `bytes` bytes must stay mapped, and be accessed by this process as memory
    /// that others change at any time, until no CPU of the VM is left.
    #[allow(unsafe_code)]
    unsafe fn set_memory_region(
        &self,
        slot: u32,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
        pages: &PageMap,
    ) -> Result<()>;

    /// Makes a CPU, stopped, whose exits are answered by `exits`.
    fn create_vcpu(&self, index: CpuIndex, exits: Arc<dyn ExitHandler>) -> Result<Arc<dyn Vcpu>>;

    /// The devices that only it can be, the interrupt controller among them.
    fn devices(&self) -> Vec<Arc<dyn Device>>;

    /// The interrupt controller, for all other devices.
    fn interrupts(&self) -> Arc<dyn InterruptController>;

    /// What its CPUs make of an agreement with the guest.
    fn negotiated(&self, decision: &Decision) -> Negotiated;

    /// The machine, fitted to the VM that was made for it.
    fn fit(&self, machine: &Machine) -> Machine;

    /// What is set for all CPUs at once. Restored when the CPUs are made, before they are restored.
    fn state(&self) -> &dyn SaveState;

    /// The guest's time stands still, as no CPU is in the guest.
    fn pause_clock(&self);

    /// It goes on where it stood.
    fn resume_clock(&self);
}

/// A virtual CPU: one thread runs it, and others look at it while it is paused.
pub(crate) trait Vcpu: Send + Sync {
    /// Sets the registers for a start.
    fn start(&self, registers: &EntryRegisters) -> Result<()>;

    /// Runs guest code until an exit was answered, or somebody kicked the CPU.
    fn run(&self) -> Result<Next>;

    /// Gets the CPU out of guest code, from any thread.
    fn kicker(&self) -> Arc<dyn Kick>;

    /// Gives the CPU the results of its last exit, without running guest code.
    fn complete(&self) -> Result<()>;

    /// Its state, when it is complete.
    fn save(&self) -> Result<StateValue>;

    /// Takes up a state.
    fn restore(&self, state: &StateValue) -> Result<()>;
}

/// What the VMM does about exits.
pub(crate) trait ExitHandler: Send + Sync {
    fn hypercall(&self, caller: CpuIndex, call: &mut Hypercall) -> Next;
    fn mmio_read(&self, caller: CpuIndex, at: GuestAddress, data: &mut [u8]);
    fn mmio_write(&self, caller: CpuIndex, at: GuestAddress, data: &[u8]);
}

/// The hypervisor of this name; without one, KVM where it runs pseries guests, or else software.
pub(crate) fn open(name: Option<&str>) -> Result<Box<dyn Hypervisor>> {
    match name {
        Some("kvm") => Ok(Box::new(kvm::Kvm::open()?)),
        Some("software") => Ok(Box::new(software::Software)),
        Some(other) => Err(format!("no hypervisor is called {other:?}").into()),
        None => match kvm::Kvm::open() {
            Ok(kvm) => Ok(Box::new(kvm)),
            Err(_) => Ok(Box::new(software::Software)),
        },
    }
}

/// Has an exit answered; what the CPU is to do then.
fn answer(exits: &dyn ExitHandler, caller: CpuIndex, exit: VcpuExit<'_>) -> Result<Next> {
    match exit {
        VcpuExit::Hypercall(call) => return Ok(exits.hypercall(caller, call)),
        VcpuExit::MmioRead(at, data) => exits.mmio_read(caller, at, data),
        VcpuExit::MmioWrite(at, data) => exits.mmio_write(caller, at, data),
        VcpuExit::Interrupted => {}
        VcpuExit::Crashed(what) => return Err(what.into()),
        other => return Err(format!("unexpected exit: {other:?}").into()),
    }
    Ok(Next::Resume)
}

/// A panic of another thread ends the machine; this one goes on until then.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
