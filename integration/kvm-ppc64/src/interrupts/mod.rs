//! The kernel's interrupt controller: XICS or XIVE, as guest and machine agree.

mod pages;
#[cfg(feature = "serde")]
mod saved;
mod sources;
mod xics;
mod xive;

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use arch_ppc64::cas::{InterruptMode, Support};
use arch_ppc64::platform::{Device, InterruptKind, Signal, SourceNumber};
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::xics::KernelXics;
use arch_ppc64::xive::KernelXive;
use arch_ppc64::{CpuIndex, GuestRam, Hypercall, Next, Status};
use vmm_sys_util::eventfd::EventFd;

use self::sources::Sources;
use self::xics::Xics;
use self::xive::Xive;
use crate::error::KvmError;
use crate::memory::Slots;
use crate::seat::Seat;
use crate::sys;

/// The numbers that sources of devices can have: those below are inter-processor interrupts.
const FIRST_SOURCE: u32 = 16;

/// The kernel's interrupt controller of a VM, which is XICS or XIVE, one at a time: what the VM
/// [can be](crate::VmOptions::with_interrupts). It begins as the first of them, and is
/// [switched](Self::switch) by an agreement.
///
/// It is a device of the machine (`arch_ppc64::platform::Device`), with what it knows for state if
/// there is the feature `serde`, and the `InterruptController` of the others.
pub struct XicsOrXive {
    vm: Arc<OwnedFd>,
    slots: Arc<Slots>,
    topology: CpuTopology,
    modes: Support<InterruptMode>,
    /// What the machine sees of it.
    described: Box<dyn Device>,
    sources: Arc<Sources>,
    cpus: Mutex<Vec<Weak<Seat>>>,
    /// Which of them is there. Read while it is used, so that nothing comes to one that goes.
    now: RwLock<Controller>,
    /// Held by who changes what CPUs are connected to.
    change: Mutex<()>,
    /// Somebody waits for CPUs to be out of guest code.
    is_changing: AtomicBool,
}

impl fmt::Debug for XicsOrXive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XicsOrXive")
            .field("modes", &self.modes)
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Controller {
    Xics(Xics),
    Xive(Xive),
    /// None at all, between two, and after an error of the host.
    Gone,
}

impl Controller {
    fn connect(&self, cpu: &Seat) -> Result<(), KvmError> {
        match self {
            Self::Xics(xics) => xics.connect(cpu),
            Self::Xive(xive) => xive.connect(cpu),
            Self::Gone => Ok(()),
        }
    }

    fn add(&self, number: u32, is_level: bool) -> io::Result<()> {
        match self {
            Self::Xics(xics) => xics.add(number, is_level),
            Self::Xive(xive) => xive.add(number, is_level),
            Self::Gone => Ok(()),
        }
    }

    fn set_line(&self, number: u32, high: bool) {
        match self {
            Self::Xics(xics) => xics.set_line(number, high),
            Self::Xive(xive) => xive.set_line(number, high),
            Self::Gone => {}
        }
    }
}

impl XicsOrXive {
    pub(crate) fn create(
        vm: &Arc<OwnedFd>,
        slots: &Arc<Slots>,
        topology: &CpuTopology,
        modes: Support<InterruptMode>,
    ) -> Result<Self, KvmError> {
        let controller = Self {
            vm: vm.clone(),
            slots: slots.clone(),
            topology: topology.clone(),
            modes,
            described: match modes.first() {
                InterruptMode::Xics => Box::new(KernelXics::new(topology)),
                InterruptMode::Xive => Box::new(KernelXive::new(topology)),
            },
            sources: Arc::default(),
            cpus: Mutex::default(),
            now: RwLock::new(Controller::Gone),
            change: Mutex::default(),
            is_changing: AtomicBool::new(false),
        };
        *controller.now_mut() = controller.make(modes.first())?;
        Ok(controller)
    }

    /// What it can be.
    pub fn modes(&self) -> Support<InterruptMode> {
        self.modes
    }

    /// What it is now.
    pub fn mode(&self) -> InterruptMode {
        match &*self.now() {
            Controller::Xive(_) => InterruptMode::Xive,
            Controller::Xics(_) | Controller::Gone => InterruptMode::Xics,
        }
    }

    /// Makes it what was agreed on: as after a reset, with the levels that devices assert, if it is
    /// not that already. False, and nothing changes, for what it cannot be. CPUs are kept out of
    /// guest code for it; to be called by a thread that is in none, such as that of the CPU whose
    /// hypercall it is for.
    ///
    /// # Errors
    /// [`KvmError`] when the host fails. The controller is what it was, if the host lets it.
    pub fn switch(&self, mode: InterruptMode) -> Result<bool, KvmError> {
        if !self.modes.includes(&mode) {
            return Ok(false);
        }
        let _one_at_a_time = lock(&self.change);
        let before = self.mode();
        if before == mode {
            return Ok(true);
        }
        let cpus = self.cpus();
        self.is_changing.store(true, Ordering::SeqCst);
        cpus.iter().for_each(|cpu| arch_ppc64::Kick::kick(&*cpu.area));
        let outside: Vec<_> = cpus.iter().map(|cpu| cpu.enter()).collect();
        let mut now = self.now_mut();
        let changed = self.replace(&mut now, mode).or_else(|error| {
            self.replace(&mut now, before)?;
            Err(error)
        });
        drop(now);
        drop(outside);
        self.is_changing.store(false, Ordering::SeqCst);
        changed.map(|()| true)
    }

    /// Waits while CPUs are to be out of guest code: to be called before each entry, which then ends
    /// at once if it is too early all the same, as the CPU was kicked.
    pub(crate) fn await_change(&self) {
        if self.is_changing.load(Ordering::SeqCst) {
            drop(lock(&self.change));
        }
    }

    /// Takes one more CPU.
    pub(crate) fn connect(&self, cpu: &Arc<Seat>) -> Result<(), KvmError> {
        let _now = lock(&self.change);
        self.now().connect(cpu)?;
        let mut cpus = lock(&self.cpus);
        cpus.retain(|cpu| cpu.strong_count() > 0);
        cpus.push(Arc::downgrade(cpu));
        Ok(())
    }

    /// What is kept of a CPU beside its registers is as at the start of the machine.
    pub(crate) fn reset_server(&self, cpu: CpuIndex) -> Result<(), KvmError> {
        let Controller::Xive(xive) = &*self.now() else { return Ok(()) };
        let seat = self.cpus().into_iter().find(|seat| seat.index == cpu);
        seat.map_or(Ok(()), |seat| xive.reset_server(&seat))
    }

    /// Answers a hypercall of XIVE, where it is that.
    pub(crate) fn answer(&self, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        match &*self.now() {
            Controller::Xive(xive) => arch_ppc64::xive::answer(xive, ram, call),
            Controller::Xics(_) | Controller::Gone => call.finish(Status::FUNCTION),
        }
    }

    /// Makes a source. Again for the same one is no error.
    pub(crate) fn add(&self, source: SourceNumber, kind: InterruptKind) -> io::Result<()> {
        let first = FIRST_SOURCE.max(self.topology.cpus());
        if !(first..xive::SOURCE_END).contains(&source.0) {
            let end = xive::SOURCE_END;
            let what = format!("interrupt sources of devices are from {first:#x} to {end:#x}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let is_level = kind == InterruptKind::Level;
        let now = self.now();
        self.sources.claim(source.0, is_level, || now.add(source.0, is_level))
    }

    /// What the device of a source does.
    pub(crate) fn tell(&self, source: SourceNumber, signal: Signal) {
        let now = self.now();
        let Some(is_level) = self.sources.is_level(source.0) else { return };
        let lines: &[bool] = match (signal, is_level) {
            // An edge is taken as it comes.
            (Signal::Pulse | Signal::High, false) => &[true],
            (Signal::Pulse, true) => &[true, false],
            (Signal::High, true) => &[true],
            (Signal::Low, true) => &[false],
            // The end of a pulse is nothing.
            _ => &[],
        };
        for &high in lines {
            self.sources.set_level(source.0, high && is_level);
            now.set_line(source.0, high);
        }
    }

    /// The file of a source; the same one each time.
    pub(crate) fn file(&self, source: SourceNumber) -> io::Result<EventFd> {
        self.sources.file(source.0, |file| irqfd(&self.vm, file, source, 0))
    }

    /// Has the kernel pulse a source when a file is written to.
    pub(crate) fn attach(&self, source: SourceNumber, file: &EventFd) -> io::Result<()> {
        // The kernel takes any number, and loses what comes for one that it does not know.
        if self.sources.is_level(source.0).is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was not claimed"));
        }
        irqfd(&self.vm, file, source, 0)
    }

    /// No longer.
    pub(crate) fn detach(&self, source: SourceNumber, file: &EventFd) -> io::Result<()> {
        irqfd(&self.vm, file, source, sys::IRQFD_DEASSIGN)
    }

    pub(crate) fn described(&self) -> &dyn Device {
        &*self.described
    }

    /// One of this kind in the place of the other, for all CPUs.
    fn replace(&self, now: &mut Controller, mode: InterruptMode) -> Result<(), KvmError> {
        // The kernel has one at a time.
        *now = Controller::Gone;
        *now = self.make(mode)?;
        for cpu in self.cpus() {
            now.connect(&cpu)?;
        }
        for (number, is_level) in self.sources.kinds() {
            now.add(number, is_level).map_err(KvmError::kernel("make an interrupt source"))?;
            if is_level && self.sources.level(number) {
                now.set_line(number, true);
            }
        }
        Ok(())
    }

    fn make(&self, mode: InterruptMode) -> Result<Controller, KvmError> {
        Ok(match mode {
            InterruptMode::Xics => Controller::Xics(Xics::create(&self.vm, &self.topology)?),
            InterruptMode::Xive => Controller::Xive(Xive::create(
                &self.vm,
                &self.slots,
                &self.topology,
                &self.sources,
            )?),
        })
    }

    fn cpus(&self) -> Vec<Arc<Seat>> {
        lock(&self.cpus).iter().filter_map(Weak::upgrade).collect()
    }

    fn now(&self) -> RwLockReadGuard<'_, Controller> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_mut(&self) -> RwLockWriteGuard<'_, Controller> {
        self.now.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn create_device(vm: &OwnedFd, kind: u32) -> io::Result<OwnedFd> {
    let mut device = sys::CreateDevice { kind, ..Default::default() };
    sys::with_struct(vm, sys::CREATE_DEVICE, &mut device)?;
    Ok(sys::owned(device.fd as i32))
}

/// Whether a VM of this host can have a XIVE: its kernel says so of some that fail then, such as
/// those that are guests themselves.
pub(crate) fn has_xive(vm: &OwnedFd) -> io::Result<bool> {
    match create_device(vm, sys::DEV_TYPE_XIVE) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Has the kernel pulse a source when a file is written to, or no longer (`IRQFD_DEASSIGN`).
pub(crate) fn irqfd(
    vm: &OwnedFd,
    file: &impl AsRawFd,
    source: SourceNumber,
    flags: u32,
) -> io::Result<()> {
    let fd = file.as_raw_fd() as u32;
    let mut request = sys::IrqFd { fd, gsi: source.0, flags, ..Default::default() };
    sys::with_struct(vm, sys::IRQFD, &mut request)?;
    Ok(())
}
