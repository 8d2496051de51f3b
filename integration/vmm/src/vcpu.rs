//! What the VMM needs of a virtualisation back end: a virtual machine and its CPUs.
//!
//! Nothing above these traits knows which back end runs.

use std::sync::Arc;

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated, Support};
use arch_ppc64::config::{AddressTranslation, Interrupts};
use arch_ppc64::platform::{Device, InterruptController, SaveState, StateError, StateValue};
use arch_ppc64::{CpuIndex, EntryRegisters, GuestRam, Kick, Machine, VcpuExit};
use pseries_devices::virtio::NotifyEvents;
use vm_memory::GuestAddress;

use crate::dirty_log::DirtyRange;
use crate::ram::HostRam;

/// A virtual CPU, used by one thread.
pub trait Vcpu: Send {
    /// Sets the registers for a start, or for a start after a stop. A hypercall that is still
    /// open is completed first and its results are lost.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails.
    fn start(&mut self, registers: &EntryRegisters) -> Result<(), BackendError>;

    /// Runs guest code until something needs the VMM.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails; the machine cannot go on then.
    fn run(&mut self) -> Result<VcpuExit<'_>, BackendError>;

    /// Sleeps until an interrupt is to be taken, another CPU prods this one, or somebody kicks it
    /// (H_CEDE). May come back early. A back end whose CPUs sleep in the kernel has nothing to do.
    fn cede(&mut self) {}

    /// The CPU has stopped itself: it does not run before the next start.
    fn stop(&mut self) {}

    /// Makes it as new, stopped: it was taken out of the machine, and is plugged in again. What a
    /// [start](Self::start) sets is left to that. By default, there is nothing else.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails.
    fn reset(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Gives the CPU the results of its last exit, without running guest code: before its state is
    /// [saved](Self::save). `Some` is one more access of the same instruction, to be answered before
    /// this is called again. By default there is never anything open.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails.
    fn complete(&mut self) -> Result<Option<VcpuExit<'_>>, BackendError> {
        Ok(None)
    }

    /// Its state, when it is [complete](Self::complete). By default it has none that can be saved.
    ///
    /// # Errors
    /// [`BackendError::State`] when it cannot be saved, and [`BackendError`] when the host fails.
    fn save(&self) -> Result<StateValue, BackendError> {
        Err(StateError::Unsupported("a virtual CPU".to_owned()).into())
    }

    /// Takes up a state that was saved, after the [machine's](Vm::state) and before the CPU first
    /// runs. Nobody vouches for it.
    ///
    /// # Errors
    /// [`BackendError`] says what cannot be. The CPU does not run then.
    fn restore(&mut self, _state: &StateValue) -> Result<(), BackendError> {
        Err(StateError::Unsupported("a virtual CPU".to_owned()).into())
    }

    /// A handle with which other threads get this CPU out of guest code.
    fn kicker(&self) -> Arc<dyn Kick>;

    /// How many instructions the CPU has executed, where that is known.
    fn instructions(&self) -> Option<u64> {
        None
    }
}

/// The parts of a virtual machine that a back end made.
pub struct VirtualMachine {
    /// The machine, fitted to what was made for it.
    pub machine: Machine,
    /// The CPUs, in the order of [`Machine::vcpus`].
    pub vcpus: Vec<Box<dyn Vcpu>>,
    /// The back end's own devices: what only it can answer.
    pub devices: Vec<Arc<dyn Device>>,
    /// What its CPUs make of an agreement between a guest and its platform: see
    /// [`VcpuHost::negotiated`](arch_ppc64::VcpuHost::negotiated).
    pub negotiated: Box<NegotiatedFn>,
    /// Its interrupt controller.
    pub interrupts: Arc<dyn InterruptController>,
    /// RAM for the handlers of hypercalls: a back end may have to know what they write.
    pub ram: Arc<dyn GuestRam>,
    /// What it does for notifications of devices, where it can have them written to files.
    pub notify_events: Option<Arc<dyn NotifyEvents>>,
    /// The machine while it runs, where CPUs and memory can be plugged into it then.
    pub vm: Option<Arc<dyn Vm>>,
}

/// A virtual machine that runs, as CPUs and memory are plugged into it and taken out again.
///
/// It is used by one thread at a time, which is none of a CPU.
pub trait Vm: Send + Sync {
    /// Makes a CPU, stopped: the one of this index in the machine, which there was none of before.
    /// A CPU that is taken out is kept, and used again when it is plugged in again.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails or has no room for it.
    fn create_vcpu(&self, index: CpuIndex) -> Result<Box<dyn Vcpu>, BackendError>;

    /// Makes a range of the machine's RAM the guest's, which its [`HostRam`] has from now on: the one
    /// that [begins](HostRam::region) at `start`.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails or has no room for it.
    fn add_memory(&self, start: GuestAddress) -> Result<(), BackendError>;

    /// Takes the range from the guest that begins at `start`. When this returns, no CPU uses it, nor
    /// keeps anything of what was there.
    ///
    /// # Errors
    /// [`BackendError`] when there is none, or the host fails.
    fn remove_memory(&self, start: GuestAddress) -> Result<(), BackendError>;

    /// What is set for all of its CPUs at once, and time; restored when the CPUs are made, before they
    /// are. `None` where machines cannot be saved: the default.
    fn state(&self) -> Option<&dyn SaveState> {
        None
    }

    /// Has the guest's time stand still, once no CPU is in guest code: its time base, and what CPUs
    /// count from it. Again is no change. By default, it goes on with the host's.
    fn pause_clock(&self) {}

    /// Has it go on where it stood, before any CPU runs. One that goes on is not changed.
    fn resume_clock(&self) {}

    /// Has the pages of RAM noted that are written to from now on, by the guest or by this process, or
    /// ends that. What was written before is in no log: whoever copies RAM begins with all of it. When
    /// this fails, nothing is noted.
    ///
    /// No memory is added or removed meanwhile.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails, or the back end has no such log, as by default.
    fn set_dirty_log(&self, on: bool) -> Result<(), BackendError> {
        match on {
            true => Err(BackendError::Unsuitable("nobody notes what the guest writes".to_owned())),
            false => Ok(()),
        }
    }

    /// The pages that were written to since the log was switched on, or since this was last asked;
    /// RAM in the order of addresses. While CPUs run, a write may be missing, and is told of the next
    /// time.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails, or the log is off.
    fn take_dirty(&self) -> Result<Vec<DirtyRange>, BackendError> {
        Err(BackendError::Unsuitable("nobody notes what the guest writes".to_owned()))
    }
}

impl std::fmt::Debug for VirtualMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualMachine").field("vcpus", &self.vcpus.len()).finish_non_exhaustive()
    }
}

/// What CPUs make of an agreement between a guest and its platform.
pub type NegotiatedFn = dyn Fn(&Decision) -> Negotiated + Send + Sync;

/// A way to run guest code.
pub trait Backend: std::fmt::Debug {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// The PVR of the processor that runs the guest.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails.
    fn host_pvr(&self) -> Result<u32, BackendError>;

    /// Whether its CPUs keep what they have decoded of RAM, so that everybody who writes to RAM has to
    /// take note of it there (`vm_memory::bitmap::Bitmap`). The processor of a host does not.
    fn keeps_code(&self) -> bool {
        false
    }

    /// Checks that the back end can be what `machine` is; by default, that is any machine whose
    /// cores have one thread.
    ///
    /// # Errors
    /// [`BackendError::Unsuitable`] says what it cannot be.
    fn check(&self, machine: &Machine) -> Result<(), BackendError> {
        one_thread_a_core(machine)
    }

    /// What a guest is offered of XICS and XIVE where it is to take interrupts as `wanted`; by default
    /// XICS.
    ///
    /// # Errors
    /// [`BackendError::Unsuitable`] says what the back end does not have.
    fn interrupts(&self, wanted: Interrupts) -> Result<Support<InterruptMode>, BackendError> {
        match wanted {
            Interrupts::Auto | Interrupts::Xics => Ok(Support::Only(InterruptMode::Xics)),
            _ => Err(BackendError::Unsuitable(format!(
                "there is no XIVE on {}: interrupts=auto and interrupts=xics are possible",
                self.name()
            ))),
        }
    }

    /// What a guest is offered of radix trees and hashed page tables where it is to translate addresses
    /// as `wanted`; by default radix trees.
    ///
    /// # Errors
    /// [`BackendError::Unsuitable`] says what the back end does not have.
    fn mmu(&self, wanted: AddressTranslation) -> Result<Support<Mmu>, BackendError> {
        match wanted {
            AddressTranslation::Auto | AddressTranslation::Radix => Ok(Support::Only(Mmu::Radix)),
            _ => Err(BackendError::Unsuitable(format!(
                "there are no hashed page tables on {} yet: mmu=auto and mmu=radix are possible",
                self.name()
            ))),
        }
    }

    /// Makes a virtual machine around `ram`, all of its CPUs stopped. A restart of the guest is a
    /// new virtual machine.
    ///
    /// # Errors
    /// [`BackendError`] when the host fails or cannot do what the machine needs.
    fn create(
        &self,
        machine: &Machine,
        ram: &Arc<dyn HostRam>,
    ) -> Result<VirtualMachine, BackendError>;
}

/// Checks that the CPUs of a machine are no threads of one core.
pub(crate) fn one_thread_a_core(machine: &Machine) -> Result<(), BackendError> {
    match machine.topology().threads_per_core() {
        1 => Ok(()),
        threads => Err(BackendError::Unsuitable(format!(
            "a core of this machine has {threads} threads; here it can have one"
        ))),
    }
}

/// The host failed a back end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The host is not one that the back end works on.
    #[error("{0}")]
    Unsuitable(String),
    /// KVM failed.
    #[error(transparent)]
    Kvm(kvm_ppc64::KvmError),
    /// A source of interrupts cannot be had.
    #[error(transparent)]
    Interrupt(#[from] arch_ppc64::platform::InterruptError),
    /// A state cannot be had, or not be taken up.
    #[error(transparent)]
    State(#[from] StateError),
    /// The signal that stops virtual CPUs has no handler.
    #[error("cannot register the signal that stops virtual CPUs")]
    Signal(#[source] std::io::Error),
}

impl From<kvm_ppc64::KvmError> for BackendError {
    fn from(error: kvm_ppc64::KvmError) -> Self {
        match error {
            kvm_ppc64::KvmError::Unsuitable(why) => Self::Unsuitable(why),
            other => Self::Kvm(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
    use arch_ppc64::topology::{CpuTopology, CpuTopologyError};

    struct Threads(u32);

    impl MachineConfig for Threads {
        fn memory(&self) -> Memory {
            Memory::of_size(64 << 20)
        }

        fn cpus(&self) -> Cpus {
            Cpus::new(8, Default::default())
        }

        fn cpu_topology(&self) -> Result<CpuTopology, CpuTopologyError> {
            CpuTopology::new(8).with_threads(self.0, 8)
        }

        fn boot(&self) -> Boot<'_> {
            Boot::new("")
        }

        fn x_vof(&self) -> bool {
            true
        }
    }

    /// A back end that has what all have.
    #[derive(Debug)]
    struct Plain;

    impl Backend for Plain {
        fn name(&self) -> &'static str {
            "plain"
        }

        fn host_pvr(&self) -> Result<u32, BackendError> {
            Ok(0x004e_1203)
        }

        fn create(
            &self,
            _: &Machine,
            _: &Arc<dyn HostRam>,
        ) -> Result<VirtualMachine, BackendError> {
            Err(BackendError::Unsuitable("this one runs nothing".to_owned()))
        }
    }

    #[test]
    fn what_a_back_end_does_not_have_is_refused_by_name() {
        for wanted in [AddressTranslation::Auto, AddressTranslation::Radix] {
            assert_eq!(Plain.mmu(wanted).unwrap(), Support::Only(Mmu::Radix));
        }
        let error = Plain.mmu(AddressTranslation::Hash).unwrap_err().to_string();
        assert!(error.contains("on plain yet") && error.contains("mmu=radix"), "{error}");
        let error = Plain.interrupts(Interrupts::Xive).unwrap_err().to_string();
        assert!(error.contains("on plain:") && error.contains("interrupts=xics"), "{error}");
    }

    #[test]
    fn threads_of_a_core_are_refused() {
        let check = |threads| one_thread_a_core(&Machine::new(&Threads(threads)).unwrap());
        assert!(check(1).is_ok());
        for threads in [2, 4, 8] {
            let error = check(threads).unwrap_err().to_string();
            assert!(error.contains(&format!("{threads} threads")), "{error}");
        }
    }
}
