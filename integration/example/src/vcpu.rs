//! A virtual CPU that calls back for each exit, and all CPUs as they reach each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated};
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, Hypercall, Kick, Next, StartError, StopReason, VcpuExit,
    VcpuHost,
};
use pseries_vmm::vcpu::{ArchitectureLevel, Vcpu};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

/// What the VMM does about exits: as Cloud Hypervisor's `VmOps`, and `hypercall`.
pub(crate) trait ExitHandler {
    fn hypercall(&mut self, caller: CpuIndex, call: &mut Hypercall) -> Next;
    fn mmio_read(&mut self, _at: GuestAddress, data: &mut [u8]) -> Next {
        data.fill(0xff);
        Next::Resume
    }
    fn mmio_write(&mut self, _at: GuestAddress, _data: &[u8]) -> Next {
        Next::Resume
    }
}

/// A CPU in the hands of its thread. Its end, by a panic too, is the machine's.
pub(crate) struct CallbackVcpu<'a> {
    pub(crate) id: CpuIndex,
    pub(crate) vcpu: Box<dyn Vcpu>,
    pub(crate) mailbox: Receiver<Option<EntryRegisters>>,
    pub(crate) cpus: &'a AllCpus,
}

impl CallbackVcpu<'_> {
    /// Runs guest code until the machine ends: by this CPU with a reason, else by another.
    pub(crate) fn run(&mut self, exits: &mut dyn ExitHandler) -> crate::Result<Option<StopReason>> {
        let is = |state| self.cpus.states.lock().unwrap()[self.id.0 as usize] = state;
        while let Some(registers) = self.mailbox.recv()? {
            is(CpuState::Running);
            self.vcpu.start(&registers)?;
            // Asked before each entry: `start` forgets a kick that came before it.
            while !self.cpus.ended.load(Ordering::SeqCst) {
                let next = match self.vcpu.run()? {
                    VcpuExit::Hypercall(call) => exits.hypercall(self.id, call),
                    VcpuExit::MmioRead(at, data) => exits.mmio_read(at, data),
                    VcpuExit::MmioWrite(at, data) => exits.mmio_write(at, data),
                    VcpuExit::Interrupted => Next::Resume,
                    VcpuExit::Crashed(what) => return Err(what.into()),
                    other => return Err(format!("unexpected exit: {other:?}").into()),
                };
                match next {
                    // KVM answers H_CEDE itself: a CPU that is idle sleeps in the kernel.
                    Next::Resume | Next::Cede => {}
                    Next::Park => break,
                    Next::Stop(reason) => return Ok(Some(reason)),
                }
            }
            is(CpuState::Stopped);
        }
        Ok(None)
    }
}

impl Drop for CallbackVcpu<'_> {
    fn drop(&mut self) {
        self.cpus.end();
    }
}

/// A mailbox and a kick for each CPU. No lock is held while guest code runs.
pub(crate) struct AllCpus {
    pub(crate) states: Mutex<Vec<CpuState>>,
    pub(crate) mailboxes: Vec<Sender<Option<EntryRegisters>>>,
    pub(crate) kicks: Vec<Arc<dyn Kick>>,
    pub(crate) level: Arc<dyn ArchitectureLevel>,
    pub(crate) ended: AtomicBool,
    pub(crate) event_loop: Arc<EventFd>,
}

impl AllCpus {
    /// Gets every CPU out of guest code or its wait, and waits for none.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        for (mailbox, kick) in self.mailboxes.iter().zip(&self.kicks) {
            let _ = mailbox.send(None);
            kick.kick();
        }
        let _ = self.event_loop.write(1);
    }
}

impl VcpuHost for AllCpus {
    fn state(&self, target: CpuIndex) -> Option<CpuState> {
        self.states.lock().unwrap().get(target.0 as usize).copied()
    }

    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        match self.states.lock().unwrap().get_mut(target.0 as usize) {
            Some(state @ CpuState::Stopped) => *state = CpuState::InTransition,
            Some(_) => return Err(StartError::NotStopped),
            None => return Err(StartError::NoSuchCpu),
        }
        let _ = self.mailboxes[target.0 as usize].send(Some(registers));
        Ok(())
    }

    fn negotiated(&self, decision: &Decision) -> Negotiated {
        match (decision.mmu, decision.interrupts) {
            // Each CPU takes the level on its way into the guest, and is kicked out for it.
            (Mmu::Radix, InterruptMode::Xics) if self.level.set(decision.compat) => {
                Negotiated::Live
            }
            _ => Negotiated::Refused,
        }
    }
}
