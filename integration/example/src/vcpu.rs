//! A virtual CPU that calls back for each exit, and all CPUs as they reach each other.

use std::sync::Arc;

use arch_ppc64::smp::{Mailboxes, Order};
use arch_ppc64::{CpuIndex, Hypercall, Next, StopReason, VcpuExit};
use kvm_ppc64::Vcpu;
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
    pub(crate) vcpu: Vcpu,
    pub(crate) cpus: &'a AllCpus,
}

impl CallbackVcpu<'_> {
    /// Runs guest code until the machine ends: by this CPU with a reason, else by another.
    pub(crate) fn run(&mut self, exits: &mut dyn ExitHandler) -> crate::Result<Option<StopReason>> {
        loop {
            // Asked before each entry: who is kicked has been told something.
            match self.cpus.mailboxes.wait(self.id) {
                Order::Start(registers) => self.vcpu.start(&registers)?,
                Order::Run => {}
                Order::Look => continue,
                Order::End => return Ok(None),
            }
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
                Next::Park => self.cpus.mailboxes.stopped(self.id),
                Next::Stop(reason) => return Ok(Some(reason)),
            }
        }
    }
}

impl Drop for CallbackVcpu<'_> {
    fn drop(&mut self) {
        self.cpus.end();
    }
}

/// All CPUs of a machine, and whom their end is told to.
pub(crate) struct AllCpus {
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) event_loop: Arc<EventFd>,
}

impl AllCpus {
    /// Gets every CPU out of guest code or its wait, and waits for none.
    pub(crate) fn end(&self) {
        self.mailboxes.end();
        let _ = self.event_loop.write(1);
    }
}
