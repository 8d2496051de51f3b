//! A virtual CPU of KVM.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use arch_ppc64::{CpuIndex, EntryRegisters, Kick, VcpuExit};
use vm_memory::GuestAddress;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::modes::{Modes, Seen};
use super::sys;
use crate::ram::HostRam;
use crate::vcpu::{BackendError, Vcpu};

/// 64-bit mode.
const MSR_SF: u64 = 1 << 63;
/// Machine checks are taken as interrupts.
const MSR_ME: u64 = 1 << 12;

/// A virtual CPU of KVM and the area it shares with the kernel.
pub(super) struct KvmVcpu {
    id: CpuIndex,
    fd: OwnedFd,
    area: Arc<RunArea>,
    modes: Arc<Modes>,
    /// The last call of [`Modes::apply`] that this CPU took part in.
    modes_seen: Seen,
    /// A hypercall was left open: the next entry writes its results to the registers.
    hypercall_open: bool,
    /// Keeps the guest's memory mapped while the CPU can use it.
    _ram: Arc<dyn HostRam>,
}

impl KvmVcpu {
    pub(super) fn create(
        vm: &OwnedFd,
        ram: &Arc<dyn HostRam>,
        area_bytes: usize,
        id: CpuIndex,
        modes: Arc<Modes>,
    ) -> Result<Self, BackendError> {
        let fd = sys::with_value(vm, sys::CREATE_VCPU, id.0.into())
            .map(sys::owned)
            .map_err(BackendError::kernel("create a virtual CPU"))?;
        let area = RunArea::map(&fd, area_bytes)
            .map_err(BackendError::kernel("map the run area of a virtual CPU"))?;
        // SIGRTMIN has a handler that does nothing: its arrival is what ends the run.
        register_signal_handler(SIGRTMIN(), on_kick)
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))
            .map_err(BackendError::kernel("register the signal that stops virtual CPUs"))?;
        Ok(Self {
            id,
            fd,
            area: Arc::new(area),
            modes_seen: modes.at_start(),
            modes,
            hypercall_open: false,
            _ram: ram.clone(),
        })
    }

    pub(super) fn enable(&self, capability: u32, first: u64, second: u64) -> io::Result<()> {
        let mut request = sys::EnableCap::new(capability, first, second);
        sys::with_struct(&self.fd, sys::ENABLE_CAP, &mut request)?;
        Ok(())
    }

    pub(super) fn set_compat(&self, logical_pvr: u32) -> io::Result<()> {
        sys::set_one_reg_u32(&self.fd, sys::REG_ARCH_COMPAT, logical_pvr)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn area(&self) -> &Arc<RunArea> {
        &self.area
    }

    fn enter(&self) -> io::Result<i32> {
        sys::with_value(&self.fd, sys::RUN, 0)
    }

    fn entry_error(&self, reason: String) -> BackendError {
        BackendError::Entry { vcpu: self.id, reason }
    }
}

impl Vcpu for KvmVcpu {
    fn start(&mut self, registers: &EntryRegisters) -> Result<(), BackendError> {
        if self.hypercall_open {
            // The results are written at the next entry, over whatever is set here: first make
            // one that goes no further than that.
            self.area.set_immediate_exit(true);
            let entered = self.enter();
            self.area.set_immediate_exit(false);
            self.hypercall_open = false;
            if let Err(error) = entered {
                if error.raw_os_error() != Some(libc::EINTR) {
                    return Err(BackendError::kernel("complete a hypercall")(error));
                }
            }
        }
        let mut regs = sys::Regs {
            pc: registers.pc.0,
            msr: MSR_ME | if registers.is_64bit { MSR_SF } else { 0 },
            ..Default::default()
        };
        regs.gpr[1] = registers.r1;
        regs.gpr[3] = registers.r3;
        regs.gpr[4] = registers.r4;
        regs.gpr[5] = registers.r5;
        sys::with_struct(&self.fd, sys::SET_REGS, &mut regs)
            .map_err(BackendError::kernel("set the registers of a virtual CPU"))?;
        Ok(())
    }

    fn run(&mut self) -> Result<VcpuExit<'_>, BackendError> {
        self.area.runs_here();
        self.modes
            .apply(&self.fd, &mut self.modes_seen)
            .map_err(BackendError::kernel("change the modes of a virtual CPU"))?;
        let entered = self.enter();
        self.hypercall_open = false;
        if let Err(error) = entered {
            return match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {
                    self.area.set_immediate_exit(false);
                    Ok(VcpuExit::Interrupted)
                }
                // What KVM answers when it could not follow a pointer that the guest gave to a
                // call that the kernel handles; and also when it cannot have a page of memory.
                Some(libc::EINVAL | libc::EFAULT) => Ok(VcpuExit::Crashed(format!(
                    "KVM cannot go on with {} ({error}): the guest gave a bad pointer to a call \
                     that the kernel answers, or the host cannot have a page of its memory",
                    self.id
                ))),
                _ => Err(BackendError::kernel("run a virtual CPU")(error)),
            };
        }
        let reason = self.area.exit_reason();
        let id = self.id;
        // SAFETY: the kernel touches the area only inside RUN, which this thread is not in and,
        // with `self` borrowed, cannot get into while the reference lives. The byte that other
        // threads write, `immediate_exit`, is not part of it.
        let exit = unsafe { self.area.exit() };
        match reason {
            sys::EXIT_PAPR_HCALL => {
                self.hypercall_open = true;
                // SAFETY: the reason says which member the kernel filled; it is plain integers.
                Ok(VcpuExit::Hypercall(unsafe { &mut exit.papr_hcall }))
            }
            sys::EXIT_MMIO => {
                // SAFETY: as above.
                let mmio = unsafe { &mut exit.mmio };
                let at = GuestAddress(mmio.phys_addr);
                let len = (mmio.len as usize).min(mmio.data.len());
                let data = &mut mmio.data[..len];
                Ok(if mmio.is_write != 0 {
                    VcpuExit::MmioWrite(at, data)
                } else {
                    VcpuExit::MmioRead(at, data)
                })
            }
            sys::EXIT_INTR => Ok(VcpuExit::Interrupted),
            sys::EXIT_FAIL_ENTRY => {
                // SAFETY: as above.
                let hardware = unsafe { exit.fail_entry_reason };
                Err(BackendError::Entry {
                    vcpu: id,
                    reason: format!("the hardware refused the entry, reason {hardware:#x}"),
                })
            }
            sys::EXIT_INTERNAL_ERROR => {
                // SAFETY: as above.
                let suberror = unsafe { exit.internal_suberror };
                Err(BackendError::Entry { vcpu: id, reason: format!("internal error {suberror}") })
            }
            _ => Err(self.entry_error(format!("unexpected exit reason {reason}"))),
        }
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        self.area.clone()
    }
}

/// The memory that a CPU and the kernel share, and what other threads need to stop the CPU.
pub(super) struct RunArea {
    run: NonNull<sys::Run>,
    bytes: usize,
    /// Kernel's number of the thread that runs the CPU; 0 when none did yet.
    thread: AtomicI32,
}

// SAFETY: other threads use only `immediate_exit`, atomically, and `thread`. The rest of the area
// is reached through methods that only the CPU's own thread calls.
unsafe impl Send for RunArea {}
// SAFETY: as above.
unsafe impl Sync for RunArea {}

impl RunArea {
    fn map(vcpu: &OwnedFd, bytes: usize) -> io::Result<Self> {
        if bytes < size_of::<sys::Run>() {
            return Err(io::Error::other(format!("KVM's run area has only {bytes} bytes")));
        }
        // SAFETY: a new mapping at an address of the kernel's choice; nothing is overwritten.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                vcpu.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let run = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { run, bytes, thread: AtomicI32::new(0) })
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        // SAFETY: in bounds and aligned (one byte), mapped as long as `self`; both sides, this
        // and the kernel, access it as a single byte.
        unsafe { AtomicU8::from_ptr(&raw mut (*self.run.as_ptr()).immediate_exit) }
    }

    fn set_immediate_exit(&self, on: bool) {
        self.immediate_exit().store(on.into(), Ordering::SeqCst);
    }

    fn exit_reason(&self) -> u32 {
        // SAFETY: in bounds and aligned; written by the kernel only inside RUN.
        unsafe { (&raw const (*self.run.as_ptr()).exit_reason).read_volatile() }
    }

    /// # Safety
    /// Only by the CPU's own thread, outside of RUN, and one reference at a time.
    #[allow(clippy::mut_from_ref)]
    unsafe fn exit(&self) -> &mut sys::Exit {
        // SAFETY: in bounds and aligned; the caller vouches for the rest.
        unsafe { &mut (*self.run.as_ptr()).exit }
    }

    /// Notes that the calling thread is the one that runs the CPU.
    fn runs_here(&self) {
        // SAFETY: takes nothing and cannot fail.
        self.thread.store(unsafe { libc::gettid() }, Ordering::SeqCst);
    }
}

impl Drop for RunArea {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nobody has a reference any more.
        unsafe { libc::munmap(self.run.as_ptr().cast(), self.bytes) };
    }
}

impl Kick for RunArea {
    fn kick(&self) {
        // First the flag, so that a run that begins between the two ends at once.
        self.set_immediate_exit(true);
        let thread = self.thread.load(Ordering::SeqCst);
        if thread != 0 {
            // SAFETY: names a thread of this process; one that has ended gives ESRCH.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGRTMIN()) };
        }
    }
}

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
