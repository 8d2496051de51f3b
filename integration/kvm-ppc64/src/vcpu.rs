//! A virtual CPU.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use arch_ppc64::{CpuIndex, EntryRegisters, Kick, ServerNumber, VcpuExit};
use vm_memory::GuestAddress;

use crate::enter::Entrance;
use crate::error::KvmError;
use crate::modes::Applied;
use crate::run_area::RunArea;
use crate::seat::Seat;
use crate::state::{self, VcpuState};
use crate::sys;
use crate::vm::Vm;

/// 64-bit mode.
const MSR_SF: u64 = 1 << 63;
/// Machine checks are taken as interrupts.
const MSR_ME: u64 = 1 << 12;

impl Vm {
    /// Makes a CPU, stopped: the one of this index in the machine, whose interrupt server has the
    /// number that guests know it by. CPUs may be made one by one, also while others run. A dropped
    /// one cannot be made again.
    ///
    /// # Errors
    /// [`KvmError::Refused`] for an index that the VM may not have; [`KvmError::Kernel`] when there
    /// is one of that index, or the host fails.
    pub fn create_vcpu(self: &Arc<Self>, index: CpuIndex) -> Result<Vcpu, KvmError> {
        let max = self.topology().cpus();
        if index.0 >= max {
            return Err(KvmError::Refused(format!("{index}: the VM has at most {max} CPUs")));
        }
        Vcpu::create(self, index, self.topology().server(index))
    }
}

/// A virtual CPU of a [`Vm`], which it keeps alive. One thread runs it at a time, and it may be
/// another each time.
#[derive(Debug)]
pub struct Vcpu {
    seat: Arc<Seat>,
    fd: Arc<OwnedFd>,
    area: Arc<RunArea>,
    entrance: Entrance,
    /// What of the VM's modes the CPU has.
    applied: Applied,
    open: Open,
    vm: Arc<Vm>,
}

/// What the last exit left: its results go to the registers at the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Hypercall,
    Mmio,
}

impl Vcpu {
    fn create(vm: &Arc<Vm>, index: CpuIndex, server: ServerNumber) -> Result<Self, KvmError> {
        let fd = sys::with_value(vm.fd(), sys::CREATE_VCPU, server.0.into())
            .map(sys::owned)
            .map_err(KvmError::kernel("create a virtual CPU"))?;
        let area = RunArea::map(&fd, vm.run_area_bytes(), vm.kick_signal())
            .map_err(KvmError::kernel("map the run area of a virtual CPU"))?;
        let entrance = Entrance::new()
            .map_err(KvmError::kernel("map the stack that a virtual CPU is entered from"))?;
        let (fd, area) = (Arc::new(fd), Arc::new(area));
        let mut vcpu = Self {
            seat: Arc::new(Seat::new(index, server, fd.clone(), area.clone())),
            fd,
            area,
            entrance,
            applied: Applied::fresh(),
            open: Open::Nothing,
            vm: vm.clone(),
        };
        vcpu.seat
            .enable(sys::CAP_PPC_PAPR, 0, 0)
            .map_err(KvmError::kernel("make a virtual CPU a PAPR one"))?;
        vm.interrupts().connect(&vcpu.seat)?;
        vm.modes()
            .know(&vcpu.fd, &vcpu.area)
            .map_err(KvmError::kernel("find out about the host's interrupt modes"))?;
        vcpu.apply_modes()?;
        Ok(vcpu)
    }

    /// Its place among the CPUs of the machine.
    pub fn index(&self) -> CpuIndex {
        self.seat.index
    }

    /// The VM that it belongs to.
    pub fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }

    /// Sets the registers for a start, or for a start after a stop. What the last exit left open is
    /// completed first, and its results are lost.
    ///
    /// # Errors
    /// [`KvmError::Kernel`] when the host fails.
    pub fn start(&mut self, registers: &EntryRegisters) -> Result<(), KvmError> {
        // Where an instruction goes on with another access, nobody is there any more to answer it.
        while self.complete()?.is_some() {}
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
            .map_err(KvmError::kernel("set the registers of a virtual CPU"))?;
        Ok(())
    }

    /// Makes it as new, stopped, where a [start](Self::start) does not: what the last exit left open
    /// is completed, its results are lost, its interrupt server is as after a reset and no area of
    /// it is registered (H_REGISTER_VPA). For a CPU that the machine had no more and has again:
    /// the kernel cannot destroy one before its VM.
    ///
    /// # Errors
    /// [`KvmError::Kernel`] and [`KvmError::Register`] when the host fails.
    pub fn reset(&mut self) -> Result<(), KvmError> {
        while self.complete()?.is_some() {}
        // It was for whoever ran it.
        self.area.take_kick();
        self.vm.interrupts().reset_server(self.seat.index)?;
        state::reset(self.seat.index, &self.fd, self.vm.interrupts().mode())
    }

    /// Runs guest code until something needs the VMM. What an exit lends out is to be answered
    /// before the next call, which completes it.
    ///
    /// With glibc, the floating-point and vector registers of the calling thread are as before
    /// (KVM does not see to that); see the crate's README.
    ///
    /// # Errors
    /// [`KvmError`] when the host fails; the machine cannot go on then.
    pub fn run(&mut self) -> Result<VcpuExit<'_>, KvmError> {
        self.area.runs_here();
        self.vm.interrupts().await_change();
        self.apply_modes()?;
        let entered = self.enter();
        if let Err(error) = entered {
            self.open = Open::Nothing;
            return match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {
                    self.area.take_kick();
                    Ok(VcpuExit::Interrupted)
                }
                // What KVM answers when it could not follow a pointer that the guest gave to a
                // call that the kernel handles; and also when it cannot have a page of memory.
                Some(libc::EINVAL | libc::EFAULT) => Ok(VcpuExit::Crashed(format!(
                    "KVM cannot go on with {} ({error}): the guest gave a bad pointer to a call \
                     that the kernel answers, or the host cannot have a page of its memory",
                    self.seat.index
                ))),
                _ => Err(KvmError::kernel("run a virtual CPU")(error)),
            };
        }
        self.exit()
    }

    /// Completes what the last exit left open, without running guest code: its results are in the
    /// registers then. To be called before the CPU's state is saved, or the VM is left alone for
    /// long. A kick that comes meanwhile is for the next [`run`](Self::run).
    ///
    /// `Some` is one more access of the same instruction (a vector, in pieces), to be answered
    /// before this is called again.
    ///
    /// # Errors
    /// [`KvmError::Kernel`] when the host fails.
    pub fn complete(&mut self) -> Result<Option<VcpuExit<'_>>, KvmError> {
        if self.open == Open::Nothing {
            return Ok(None);
        }
        self.area.set_immediate_exit(true);
        let entered = self.enter();
        self.area.end_immediate_exit();
        self.open = Open::Nothing;
        match entered {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(None),
            Err(error) => Err(KvmError::kernel("complete an exit")(error)),
            Ok(_) => match self.exit()? {
                VcpuExit::Interrupted => Ok(None),
                exit => Ok(Some(exit)),
            },
        }
    }

    /// Has the next [`run`](Self::run), or the present one once a signal comes, end at once with
    /// [`VcpuExit::Interrupted`], or no longer so. What is open is completed all the same.
    pub fn set_immediate_exit(&self, on: bool) {
        self.area.set_immediate_exit(on);
    }

    /// A handle with which other threads get this CPU out of guest code: by an immediate exit, and
    /// the signal of [`VmOptions`](crate::VmOptions) to the thread that runs it.
    pub fn kicker(&self) -> Arc<dyn Kick> {
        self.area.clone()
    }

    /// The CPU's state. Not while an exit is open: [`complete`](Self::complete) it.
    ///
    /// # Errors
    /// [`KvmError::State`] when an exit is open, [`KvmError::Register`] and [`KvmError::Kernel`]
    /// when the host fails.
    pub fn save(&self) -> Result<VcpuState, KvmError> {
        self.check_closed()?;
        let mut state = state::read(self.seat.index, &self.fd, self.vm.interrupts().mode())?;
        // It may not have run since the others' was set.
        state.set_time_offset(self.vm.modes().time_offset());
        Ok(state)
    }

    /// Takes up a state, here or on another host. The [`Vm`] is restored before it, and the platform
    /// with the interrupt sources after all CPUs.
    ///
    /// # Errors
    /// [`KvmError::State`] when it is none of such a CPU, [`KvmError::Register`] when the host does
    /// not know a register or not such a value of it. The CPU cannot run then.
    pub fn restore(&mut self, state: &VcpuState) -> Result<(), KvmError> {
        self.check_closed()?;
        let (mode, correction) = (self.vm.interrupts().mode(), self.vm.modes().time_correction());
        state::write(self.seat.index, &self.fd, state, mode, correction)?;
        if let Some(offset) = state.time_offset() {
            self.vm.modes().set_time_offset(offset.wrapping_add(correction));
        }
        // The level and LPCR are the state's now: what the VM wants is set before the next entry.
        self.applied = Applied::unknown();
        Ok(())
    }

    fn check_closed(&self) -> Result<(), KvmError> {
        match self.open {
            Open::Nothing => Ok(()),
            Open::Hypercall | Open::Mmio => Err(KvmError::State(format!(
                "the last exit of {} was not completed",
                self.seat.index
            ))),
        }
    }

    fn enter(&mut self) -> std::io::Result<i32> {
        let _inside = self.seat.enter();
        self.entrance.run(&self.fd)
    }

    fn apply_modes(&mut self) -> Result<(), KvmError> {
        self.vm
            .modes()
            .apply(&self.fd, &mut self.applied)
            .map_err(KvmError::kernel("change the modes of a virtual CPU"))
    }

    /// What the kernel says that the entry ended for.
    fn exit(&mut self) -> Result<VcpuExit<'_>, KvmError> {
        let reason = self.area.exit_reason();
        self.open = match reason {
            sys::EXIT_PAPR_HCALL => Open::Hypercall,
            sys::EXIT_MMIO => Open::Mmio,
            _ => Open::Nothing,
        };
        let failed = |reason| Err(KvmError::Entry { vcpu: self.seat.index, reason });
        // SAFETY: the kernel touches the area only inside RUN, which this thread is not in and,
        // with `self` borrowed, cannot get into while the reference lives. The byte that other
        // threads write, `immediate_exit`, is not part of it.
        let exit = unsafe { self.area.exit() };
        match reason {
            sys::EXIT_PAPR_HCALL => {
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
                failed(format!("the hardware refused the entry, reason {hardware:#x}"))
            }
            sys::EXIT_INTERNAL_ERROR => {
                // SAFETY: as above.
                let suberror = unsafe { exit.internal_suberror };
                failed(format!("internal error {suberror}"))
            }
            _ => failed(format!("unexpected exit reason {reason}")),
        }
    }
}
