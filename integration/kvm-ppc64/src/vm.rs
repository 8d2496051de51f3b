//! KVM and its virtual machines.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use arch_ppc64::cas::{InterruptMode, Mmu, Support};
use arch_ppc64::config::{AddressTranslation, Interrupts};
use arch_ppc64::hpt::Order;
use arch_ppc64::memory_slot::{DirtyPages, MemoryFlags};
use arch_ppc64::platform::SourceNumber;
use arch_ppc64::topology::CpuTopology;
use vm_memory::GuestAddress;

use crate::device::Device;
use crate::error::KvmError;
use crate::interrupts::{self, XicsOrXive};
use crate::memory::Slots;
use crate::modes::{self, Modes};
use crate::sys;
use crate::threads;
use crate::time::TimePolicy;
use crate::translation::{Offer, Translation};

/// KVM of this host.
#[derive(Debug)]
pub struct Kvm(Arc<Device>);

impl Kvm {
    /// Opens `/dev/kvm` and checks that it can run pseries guests.
    ///
    /// # Errors
    /// [`KvmError::Unsuitable`] says what is missing; on a host that is not POWER, that.
    pub fn open() -> Result<Self, KvmError> {
        Ok(Self(Arc::new(Device::open()?)))
    }

    /// The PVR of the host's processor, which runs the guests.
    ///
    /// # Errors
    /// [`KvmError::Kernel`] when the host fails.
    pub fn host_pvr(&self) -> Result<u32, KvmError> {
        self.0.host_pvr()
    }

    /// What a guest of this host is offered of radix trees and hashed page tables, where it is to
    /// translate addresses as `wanted`. Whether there are hashed page tables is found out by making a
    /// small one: what KVM says of them (KVM_CAP_PPC_MMU_HASH_V3) is whether radix and hash guests go
    /// together on the threads of a core.
    ///
    /// # Errors
    /// [`KvmError::Unsuitable`] says what there is not; [`KvmError::Kernel`] when the host fails.
    pub fn mmu(&self, wanted: AddressTranslation) -> Result<Support<Mmu>, KvmError> {
        match Support::from(wanted) {
            Support::Either => self.0.mmu(),
            only => self.0.check_mmu(only).map(|()| only),
        }
    }

    /// Checks that VMs of this host can have such CPUs: their number, and that of a core's threads.
    ///
    /// # Errors
    /// [`KvmError::Unsuitable`] says what they can have; [`KvmError::Kernel`] when the host fails.
    pub fn check_topology(&self, topology: &CpuTopology) -> Result<(), KvmError> {
        let most = self.0.capability(sys::CAP_MAX_VCPUS)?;
        let modes = self.0.capability(sys::CAP_PPC_SMT_POSSIBLE)?;
        threads::check(topology, most, modes).map_err(KvmError::Unsuitable)
    }

    /// What guests are offered of XICS and XIVE where they are to take interrupts as `wanted`: either,
    /// if the host has both and nobody says more. XIVE takes a host that is no guest itself, and whose
    /// pages are of 64 KiB.
    ///
    /// # Errors
    /// [`KvmError::Unsuitable`] says why there is no XIVE, where it is to be that;
    /// [`KvmError::Kernel`] when the host fails.
    pub fn interrupts(&self, wanted: Interrupts) -> Result<Support<InterruptMode>, KvmError> {
        let offered = Support::from(wanted);
        match self.check_interrupts(offered) {
            Ok(()) => Ok(offered),
            Err(KvmError::Unsuitable(why)) if offered.includes(&InterruptMode::Xics) => {
                log::debug!("{why}");
                Ok(Support::Only(InterruptMode::Xics))
            }
            Err(error) => Err(error),
        }
    }

    fn check_interrupts(&self, modes: Support<InterruptMode>) -> Result<(), KvmError> {
        if !modes.includes(&InterruptMode::Xive) {
            return Ok(());
        }
        match self.0.no_xive()? {
            None => Ok(()),
            Some(why) => Err(KvmError::Unsuitable(format!(
                "guests cannot take interrupts by XIVE on this host, as {why}: interrupts=auto and \
                 interrupts=xics are possible"
            ))),
        }
    }

    /// Makes a virtual machine that has an interrupt controller, and neither memory nor CPUs. The
    /// kernel answers the RTAS calls about interrupt sources (`ibm,set-xive` and its kin), by the
    /// tokens that they have in every machine (`arch_ppc64::rtas::token_of`).
    ///
    /// # Errors
    /// [`KvmError::Refused`] when the options cannot be, [`KvmError::Unsuitable`] when this host cannot
    /// have the topology's CPUs, [`KvmError::Kernel`] when it fails.
    pub fn create_vm(&self, options: VmOptions) -> Result<Arc<Vm>, KvmError> {
        modes::check_level(&self.0, options.compat)?;
        self.check_topology(&options.topology)?;
        self.0.check_mmu(options.translation.mmu)?;
        self.check_interrupts(options.interrupts)?;
        let fd = Arc::new(self.0.create_vm()?);
        let servers_per_core = options.topology.servers_per_core();
        if servers_per_core != 1 {
            let mut request = sys::EnableCap::new(sys::CAP_PPC_SMT, servers_per_core.into(), 0);
            sys::with_struct(&fd, sys::ENABLE_CAP, &mut request)
                .map_err(KvmError::kernel("set the number of interrupt servers of a core"))?;
        }
        let slots = Arc::new(Slots::new(self.0.capability(sys::CAP_NR_MEMSLOTS)? as u32));
        let interrupts = XicsOrXive::create(&fd, &slots, &options.topology, options.interrupts)?;
        let translation = Translation::new(fd.clone(), options.translation)?;
        translation.enable_calls()?;
        let (compat, time_policy) = (options.compat, options.time_policy);
        let modes =
            Arc::new(Modes::new(self.0.clone(), fd.clone(), translation, compat, time_policy));
        Ok(Arc::new(Vm {
            fd,
            run_area_bytes: self.0.run_area_bytes,
            options,
            interrupts: Arc::new(interrupts),
            modes,
            slots,
        }))
    }
}

/// What a virtual machine is made with.
#[derive(Debug, Clone)]
pub struct VmOptions {
    topology: CpuTopology,
    kick_signal: i32,
    compat: Option<u32>,
    time_policy: TimePolicy,
    translation: Offer,
    interrupts: Support<InterruptMode>,
}

impl VmOptions {
    /// A VM that may have these CPUs, and whose CPUs are got out of guest code by `kick_signal`.
    /// Those of the topology's threads of a core share one in the kernel, too.
    ///
    /// The signal is the VMM's: it installs a handler, which may do nothing, without `SA_RESTART`
    /// and before the first kick, and sees to it that no thread that runs a CPU has the signal
    /// blocked. A signal from `SIGRTMIN` to `SIGRTMAX` that nothing else uses is a good choice.
    pub fn new(topology: &CpuTopology, kick_signal: i32) -> Self {
        Self {
            topology: topology.clone(),
            kick_signal,
            compat: None,
            time_policy: TimePolicy::Frozen,
            translation: Offer::RADIX,
            interrupts: Support::Only(InterruptMode::Xics),
        }
    }

    /// The same with the CPUs held to an architecture level: a logical PVR (LoPAPR §B.6.2.1,
    /// "cpu-version"), as `arch_ppc64::cpu::Cpu::compat` gives it. [`Vm::set_compat`] changes it.
    #[must_use]
    pub fn with_compat(self, level: Option<u32>) -> Self {
        Self { compat: level, ..self }
    }

    /// The same with another interrupt controller than XICS, or a choice of two: what the machine
    /// says of it (`arch_ppc64::Machine::interrupts`). [`Kvm::interrupts`] tells what the host has.
    #[must_use]
    pub fn with_interrupts(self, interrupts: Support<InterruptMode>) -> Self {
        Self { interrupts, ..self }
    }

    /// The same with what guests are offered of radix trees and hashed page tables
    /// ([`Kvm::mmu`] says what there is), and for the latter, the size that suits their memory
    /// (`arch_ppc64::Machine::hpt_order`), and how much of it follows address 0 in one piece. Without
    /// this, there are radix trees only.
    ///
    /// Where there is no choice but a hashed page table, the VM has one from its start on: a smaller one
    /// with a warning where the host has no room for such, which [`Vm::fit`] tells the machine. Else
    /// the table is made when a guest has agreed on it.
    #[must_use]
    pub fn with_mmu(self, mmu: Support<Mmu>, hpt_order: Order, real_mode_bytes: u64) -> Self {
        Self { translation: Offer { mmu, hpt_order, real_mode_bytes }, ..self }
    }

    /// The same with what a restored guest's time does.
    #[must_use]
    pub fn with_time_policy(self, policy: TimePolicy) -> Self {
        Self { time_policy: policy, ..self }
    }
}

/// A virtual machine. All of it may be called from any thread.
///
/// It ends when it and all its CPUs and their kickers are dropped, and nobody has its interrupt
/// controller or handlers any more: for a restart of the guest, drop them and make another one.
///
/// What is set for all of its CPUs at once, and time, is its state: with the feature `serde`, it
/// implements `arch_ppc64::platform::SaveState`.
#[derive(Debug)]
pub struct Vm {
    fd: Arc<OwnedFd>,
    run_area_bytes: usize,
    options: VmOptions,
    interrupts: Arc<XicsOrXive>,
    modes: Arc<Modes>,
    slots: Arc<Slots>,
}

impl Vm {
    /// Makes memory of this process the guest's, from `at` on, as slot number `slot`. Before CPUs
    /// or while they run.
    ///
    /// # Errors
    /// [`KvmError::Refused`] when addresses or length are not whole pages of the host, or the slot
    /// is in use; [`KvmError::Kernel`] when it overlaps another slot, or the host fails.
    ///
    /// # Safety
    /// From `host` on, `bytes` bytes must be mapped readable and writable, and be accessed by this
    /// process only as memory that others (the guest) change at any time, until the slot is removed
    /// or no CPU of this VM is left.
    pub unsafe fn set_memory_region(
        &self,
        slot: u32,
        at: GuestAddress,
        host: NonNull<u8>,
        bytes: u64,
        flags: MemoryFlags,
    ) -> Result<(), KvmError> {
        // SAFETY: says the caller.
        unsafe { self.slots.set(&self.fd, slot, at, host, bytes, flags) }
    }

    /// Takes a slot's memory from the guest.
    ///
    /// # Errors
    /// [`KvmError::Refused`] when there is no such slot; [`KvmError::Kernel`] when the host fails.
    pub fn remove_memory_region(&self, slot: u32) -> Result<(), KvmError> {
        self.slots.remove(&self.fd, slot)
    }

    /// Switches the dirty log of a slot on or off, while the guest runs or not. What the guest
    /// wrote before that is in no log: a first copy takes all of the slot.
    ///
    /// # Errors
    /// As [`remove_memory_region`](Self::remove_memory_region).
    pub fn set_dirty_log(&self, slot: u32, on: bool) -> Result<(), KvmError> {
        self.slots.set_dirty_log(&self.fd, slot, on)
    }

    /// The pages of a slot that the guest wrote since this was last asked. What this process wrote
    /// is not among them: vm-memory's bitmaps know that.
    ///
    /// # Errors
    /// [`KvmError::Refused`] when there is no such slot, or its log is off; [`KvmError::Kernel`]
    /// when the host fails.
    pub fn dirty_log(&self, slot: u32) -> Result<DirtyPages, KvmError> {
        self.slots.dirty_log(&self.fd, slot)
    }

    /// Has the guest's time stand still, once no CPU is in guest code: its time base, and with it all
    /// that CPUs count from it. Again is no change.
    ///
    /// Time is taken back in steps of 2^24 ticks (32.8 ms), which KVM rounds it to: a guest that is paused
    /// for less than a step sees that pass, and of a longer pause less than a step.
    pub fn pause_clock(&self) {
        self.modes.pause_clock();
    }

    /// Has it go on where it stood, before any CPU runs. One that goes on is not changed.
    pub fn resume_clock(&self) {
        self.modes.resume_clock();
    }

    /// The CPUs that it may have, and how guests number them.
    pub fn topology(&self) -> &CpuTopology {
        &self.options.topology
    }

    /// Its interrupt controller.
    pub fn interrupts(&self) -> &Arc<XicsOrXive> {
        &self.interrupts
    }

    pub(crate) fn modes(&self) -> &Arc<Modes> {
        &self.modes
    }

    /// Holds all CPUs to an architecture level that negotiation decided on, or lets go of it: each
    /// from before its next entry on, the caller's own hypercall included.
    ///
    /// # Errors
    /// [`KvmError::Refused`] when the host cannot do that level; nothing has changed then.
    pub fn set_compat(&self, level: Option<u32>) -> Result<(), KvmError> {
        self.modes.set_compat(level)
    }

    /// Has the kernel pulse a source whenever an eventfd is written to.
    ///
    /// # Errors
    /// [`KvmError::Kernel`] when `file` is no eventfd, or is registered, or the host fails.
    pub fn register_irqfd(
        &self,
        file: BorrowedFd<'_>,
        source: SourceNumber,
    ) -> Result<(), KvmError> {
        interrupts::irqfd(&self.fd, &file, source, 0)
            .map_err(KvmError::kernel("register the file of an interrupt"))
    }

    /// Takes back [`register_irqfd`](Self::register_irqfd).
    ///
    /// # Errors
    /// [`KvmError::Kernel`] when it was not registered.
    pub fn unregister_irqfd(
        &self,
        file: BorrowedFd<'_>,
        source: SourceNumber,
    ) -> Result<(), KvmError> {
        interrupts::irqfd(&self.fd, &file, source, sys::IRQFD_DEASSIGN)
            .map_err(KvmError::kernel("take back the file of an interrupt"))
    }

    /// Has the kernel write to an eventfd, and the CPU run on, whenever the guest stores `bytes`
    /// bytes (1, 2, 4 or 8) at `at`: whatever the value, or only `value`.
    ///
    /// # Errors
    /// [`KvmError::Kernel`] when that is registered, or the host fails.
    pub fn register_ioeventfd(
        &self,
        file: BorrowedFd<'_>,
        at: GuestAddress,
        bytes: u32,
        value: Option<u64>,
    ) -> Result<(), KvmError> {
        self.ioeventfd(file, at, bytes, value, 0)
            .map_err(KvmError::kernel("register the file of a memory-mapped register"))
    }

    /// Takes back [`register_ioeventfd`](Self::register_ioeventfd).
    ///
    /// # Errors
    /// [`KvmError::Kernel`] when it was not registered.
    pub fn unregister_ioeventfd(
        &self,
        file: BorrowedFd<'_>,
        at: GuestAddress,
        bytes: u32,
        value: Option<u64>,
    ) -> Result<(), KvmError> {
        self.ioeventfd(file, at, bytes, value, sys::IOEVENTFD_DEASSIGN)
            .map_err(KvmError::kernel("take back the file of a memory-mapped register"))
    }

    fn ioeventfd(
        &self,
        file: BorrowedFd<'_>,
        at: GuestAddress,
        bytes: u32,
        value: Option<u64>,
        flags: u32,
    ) -> std::io::Result<()> {
        let matching = if value.is_some() { sys::IOEVENTFD_DATAMATCH } else { 0 };
        let mut request = sys::IoEventFd {
            datamatch: value.unwrap_or(0),
            addr: at.0,
            len: bytes,
            fd: file.as_raw_fd(),
            flags: flags | matching,
            ..Default::default()
        };
        sys::with_struct(&self.fd, sys::IOEVENTFD, &mut request)?;
        Ok(())
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn run_area_bytes(&self) -> usize {
        self.run_area_bytes
    }

    pub(crate) fn kick_signal(&self) -> i32 {
        self.options.kick_signal
    }
}
