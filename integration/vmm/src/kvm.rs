//! KVM on a POWER host, by the crate `kvm-ppc64`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use arch_ppc64::cas::{InterruptMode, Mmu, Support};
use arch_ppc64::config::{AddressTranslation, Interrupts};
use arch_ppc64::platform::{SaveState, StateValue};
use arch_ppc64::{CpuIndex, EntryRegisters, Kick, Machine, VcpuExit};
use kvm_ppc64::{KvmError, MemoryFlags, VmOptions};
use pseries_devices::virtio::NotifyEvents;
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use crate::dirty_log::DirtyRange;
use crate::locks::lock;
use crate::ram::{HostRam, HostRegion, SharedRam};
use crate::slots::Slots;
use crate::vcpu::{Backend, BackendError, Vcpu, VirtualMachine, Vm};

/// KVM counts the pages of a slot in 31 bits: of 4 KiB, they are 8 TiB.
const MOST_OF_A_SLOT: u64 = 4 << 40;

/// KVM of this host.
#[derive(Debug)]
pub struct Kvm(kvm_ppc64::Kvm);

impl Kvm {
    /// As on the command line.
    pub(crate) const NAME: &str = "kvm";

    /// Opens `/dev/kvm` and checks that it can run pseries guests.
    ///
    /// # Errors
    /// [`BackendError`] says what is missing.
    pub fn open() -> Result<Self, BackendError> {
        Ok(Self(kvm_ppc64::Kvm::open()?))
    }
}

impl Backend for Kvm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn host_pvr(&self) -> Result<u32, BackendError> {
        Ok(self.0.host_pvr()?)
    }

    fn check(&self, machine: &Machine) -> Result<(), BackendError> {
        self.0.check_topology(machine.topology())?;
        if machine.topology().threads_per_core() > 1 && is_emulated() {
            log::warn!(
                "this host is emulated by QEMU, which ends when threads of a core ring each other, as \
                 QEMU 7.2 does (\"SDOOR exception not implemented\"): a guest has to leave them off \
                 (smt-enabled=off)"
            );
        }
        Ok(())
    }

    fn interrupts(&self, wanted: Interrupts) -> Result<Support<InterruptMode>, BackendError> {
        Ok(self.0.interrupts(wanted)?)
    }

    fn mmu(&self, wanted: AddressTranslation) -> Result<Support<Mmu>, BackendError> {
        self.0.mmu(wanted).map_err(|error| match (error, wanted) {
            (KvmError::Unsuitable(why), AddressTranslation::Hash) => {
                BackendError::Unsuitable(format!("{why}; mmu=auto and mmu=radix are possible"))
            }
            (KvmError::Unsuitable(why), AddressTranslation::Radix) => {
                BackendError::Unsuitable(format!("{why}; mmu=auto and mmu=hash are possible"))
            }
            (error, _) => error.into(),
        })
    }

    fn create(
        &self,
        machine: &Machine,
        ram: &Arc<dyn HostRam>,
    ) -> Result<VirtualMachine, BackendError> {
        self.check(machine)?;
        // Its arrival is what ends a run.
        register_signal_handler(SIGRTMIN(), on_kick)
            .map_err(|error| BackendError::Signal(io::Error::from_raw_os_error(error.errno())))?;
        let real_mode_bytes = machine.memory_map().rma().bytes;
        let options = VmOptions::new(machine.topology(), SIGRTMIN())
            .with_compat(machine.cpu().compat())
            .with_interrupts(machine.interrupts())
            .with_mmu(machine.mmu(), machine.hpt_order(), real_mode_bytes);
        let vm = self.0.create_vm(options)?;
        let growing = Arc::new(KvmVm { vm: vm.clone(), ram: ram.clone(), slots: Mutex::default() });
        for region in ram.regions() {
            growing.add_memory(region.start)?;
        }
        let vcpus =
            machine.vcpus().map(|index| growing.create_vcpu(index)).collect::<Result<_, _>>()?;
        Ok(VirtualMachine {
            machine: vm.fit(machine.clone()),
            vcpus,
            devices: vm.devices(),
            interrupts: vm.interrupts().clone(),
            ram: Arc::new(SharedRam(ram.clone())),
            notify_events: Some(Arc::new(Doorbells(vm.clone()))),
            vm: Some(growing),
            negotiated: Box::new(move |decision| vm.negotiated(decision)),
        })
    }
}

struct KvmVm {
    vm: Arc<kvm_ppc64::Vm>,
    ram: Arc<dyn HostRam>,
    slots: Mutex<Slots>,
}

impl Vm for KvmVm {
    fn create_vcpu(&self, index: CpuIndex) -> Result<Box<dyn Vcpu>, BackendError> {
        let vcpu = self.vm.create_vcpu(index)?;
        Ok(Box::new(KvmVcpu { vcpu, _ram: self.ram.clone() }))
    }

    fn add_memory(&self, start: GuestAddress) -> Result<(), BackendError> {
        let set = |slot, region: HostRegion| {
            let (at, host, bytes) = (region.start, region.host, region.bytes);
            // SAFETY: `HostRam` vouches for the region while `ram` lives, and every `KvmVcpu`
            // holds `ram`.
            Ok(unsafe { self.vm.set_memory_region(slot, at, host, bytes, MemoryFlags::PLAIN) }?)
        };
        lock(&self.slots).add(&*self.ram, start, MOST_OF_A_SLOT, set)
    }

    fn remove_memory(&self, start: GuestAddress) -> Result<(), BackendError> {
        lock(&self.slots).remove(start, |slot| Ok(self.vm.remove_memory_region(slot)?))
    }

    /// The kernel's log has what guests write. What this process writes is in the bitmaps of RAM.
    fn set_dirty_log(&self, on: bool) -> Result<(), BackendError> {
        lock(&self.slots).set_dirty_log(on, |slot, on| Ok(self.vm.set_dirty_log(slot, on)?))
    }

    fn take_dirty(&self) -> Result<Vec<DirtyRange>, BackendError> {
        lock(&self.slots).take_dirty(|part| Ok(Some(self.vm.dirty_log(part.slot)?)))
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

/// Whether the host's processor is QEMU's. A guest's thread of a core on KVM gets the doorbells of its
/// siblings by the register DPDES, which QEMU 7.2 has, but not the interrupt that comes of it. It is a
/// bare-metal machine in QEMU that has no other processor; those beside have one like their host's.
fn is_emulated() -> bool {
    let compatible = std::fs::read("/proc/device-tree/compatible").unwrap_or_default();
    compatible.split(|byte| *byte == 0).any(|name| name.starts_with(b"qemu,powernv"))
}

struct KvmVcpu {
    vcpu: kvm_ppc64::Vcpu,
    /// Keeps the guest's memory mapped while the CPU can use it: dropped after it.
    _ram: Arc<dyn HostRam>,
}

impl Vcpu for KvmVcpu {
    fn start(&mut self, registers: &EntryRegisters) -> Result<(), BackendError> {
        Ok(self.vcpu.start(registers)?)
    }

    fn run(&mut self) -> Result<VcpuExit<'_>, BackendError> {
        Ok(self.vcpu.run()?)
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        Ok(self.vcpu.reset()?)
    }

    fn complete(&mut self) -> Result<Option<VcpuExit<'_>>, BackendError> {
        Ok(self.vcpu.complete()?)
    }

    fn save(&self) -> Result<StateValue, BackendError> {
        Ok(StateValue::of(&self.vcpu.save()?)?)
    }

    fn restore(&mut self, state: &StateValue) -> Result<(), BackendError> {
        Ok(self.vcpu.restore(&state.get()?)?)
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.vcpu.kicker()
    }
}

/// Stores that the kernel takes for itself (ioeventfd).
struct Doorbells(Arc<kvm_ppc64::Vm>);

/// KVM compares nothing, and does not even decode the instruction.
const ANY_WIDTH: u32 = 0;

impl NotifyEvents for Doorbells {
    fn attach(&self, at: GuestAddress, file: &EventFd) -> io::Result<bool> {
        let registered = self.0.register_ioeventfd(borrowed(file), at, ANY_WIDTH, None);
        registered.map(|()| true).map_err(io::Error::other)
    }

    fn detach(&self, at: GuestAddress, file: &EventFd) -> io::Result<()> {
        let taken_back = self.0.unregister_ioeventfd(borrowed(file), at, ANY_WIDTH, None);
        taken_back.map_err(io::Error::other)
    }
}

fn borrowed(file: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: open for as long as the file is borrowed.
    unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) }
}

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
