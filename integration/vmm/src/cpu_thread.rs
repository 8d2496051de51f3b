//! The thread of a virtual CPU: runs guest code, answers what it asks, waits while it is stopped.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arch_ppc64::hypercall::token;
use arch_ppc64::platform::MmioBus;
use arch_ppc64::smp::{Mailboxes, Order};
use arch_ppc64::{CpuIndex, GuestRam, HypercallBus, Next, VcpuExit};
use vm_memory::GuestAddress;
use vmm_sys_util::signal::SIGRTMIN;

use crate::end::{End, Why};
use crate::error::VmmError;
use crate::locks::lock;
use crate::moments::Phase;
use crate::outlet;
use crate::signals;
use crate::stats::Stats;
use crate::vcpu::{BackendError, Vcpu};

/// What every CPU's thread works with.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) bus: Arc<HypercallBus>,
    pub(crate) mmio: Arc<MmioBus>,
    pub(crate) ram: Arc<dyn GuestRam>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) end: Arc<End>,
    pub(crate) all_stats: Arc<Mutex<Stats>>,
}

/// What others want done by the thread of a CPU, which does it between two instructions: when it is
/// told to look.
pub(crate) type Task = Box<dyn FnOnce(&mut CpuThread) + Send>;

/// The thread of a virtual CPU.
pub(crate) struct CpuThread {
    pub(crate) index: CpuIndex,
    pub(crate) vcpu: Box<dyn Vcpu>,
    pub(crate) shared: Shared,
    pub(crate) stats: Stats,
    /// What others know of them.
    pub(crate) published: Arc<Mutex<Stats>>,
    /// What the CPU had executed when it got this thread, where the back end knows.
    pub(crate) instructions_before: Option<u64>,
    pub(crate) tasks: Receiver<Task>,
}

impl CpuThread {
    /// Until the machine ends, or has the CPU no more, which comes back.
    pub(crate) fn main(mut self) -> Box<dyn Vcpu> {
        outlet::wait_in_this_thread();
        let _report = ReportPanic { index: self.index, end: self.shared.end.clone() };
        // Kicks come as this signal, whatever mask the process was started with.
        if let Err(error) = signals::let_through(SIGRTMIN()) {
            log::warn!("{} may be hard to stop: {error}", self.index);
        }
        // It may have had another thread before.
        self.instructions_before = self.vcpu.instructions();
        let why = self.live();
        self.count_instructions();
        let mut all_stats = lock(&self.shared.all_stats);
        all_stats.add(&self.stats);
        // It counts once.
        *lock(&self.published) = Stats::default();
        drop(all_stats);
        if let Some(why) = why {
            self.shared.end.because(why);
        }
        self.vcpu
    }

    fn count_instructions(&mut self) {
        let executed = |(after, before): (u64, u64)| after.saturating_sub(before);
        let counts = self.vcpu.instructions().zip(self.instructions_before);
        self.stats.instructions = counts.map(executed);
    }

    /// Lets others know what was counted so far.
    pub(crate) fn publish(&mut self) {
        self.count_instructions();
        self.stats.clone_into(&mut lock(&self.published));
    }

    /// Starts when it is told to and stops itself, until it is told to end; `Some` where this CPU is
    /// the reason for the machine's end.
    fn live(&mut self) -> Option<Why> {
        loop {
            match self.shared.mailboxes.wait(self.index) {
                Order::Start(registers) => {
                    if let Err(error) = self.vcpu.start(&registers) {
                        return Some(Why::Host(error.into()));
                    }
                    self.stats.moments.reach(Phase::Entered);
                }
                Order::Run => self.stats.moments.reach(Phase::Entered),
                Order::Look => {
                    while let Ok(task) = self.tasks.try_recv() {
                        task(self);
                    }
                    continue;
                }
                Order::End => return None,
            }
            match self.run() {
                Left::Interrupted => {}
                Left::Stopped => {
                    // Before others execute who ask: where CPUs do so in turns, the back end passes
                    // the turn on.
                    self.shared.mailboxes.stopped(self.index);
                    self.vcpu.stop();
                }
                Left::Because(why) => return Some(why),
            }
        }
    }

    /// Brings the instruction to its end that the CPU left guest code in, without running another.
    pub(crate) fn complete(&mut self) -> Result<(), BackendError> {
        // Of one with several accesses, the next.
        while let Some(exit) = self.vcpu.complete()? {
            match exit {
                VcpuExit::MmioRead(at, data) => self.shared.read(self.index, at, data),
                VcpuExit::MmioWrite(at, data) => self.shared.write(self.index, at, data),
                other => {
                    let what = format!("unexpected exit {other:?} at the end of an instruction");
                    return Err(BackendError::Unsuitable(what));
                }
            }
        }
        Ok(())
    }

    /// Runs guest code until somebody interrupts it, the CPU stops itself, or the machine is to
    /// stop.
    fn run(&mut self) -> Left {
        loop {
            match self.vcpu.run() {
                Ok(VcpuExit::Hypercall(call)) => {
                    self.stats.exits.hypercalls += 1;
                    self.stats.count_hypercall(call.token);
                    let client_call = (call.token == token::VOF_CLIENT).then(Instant::now);
                    let next = self.shared.bus.dispatch(self.index, &*self.shared.ram, call);
                    if let Some(start) = client_call {
                        self.stats.count_client_time(start);
                    }
                    match next {
                        Next::Resume => {}
                        Next::Cede => self.vcpu.cede(),
                        Next::Park => return Left::Stopped,
                        Next::Stop(reason) => return Left::Because(Why::Guest(reason)),
                    }
                }
                Ok(VcpuExit::MmioRead(at, data)) => {
                    self.stats.exits.mmio_reads += 1;
                    self.shared.read(self.index, at, data);
                }
                Ok(VcpuExit::MmioWrite(at, data)) => {
                    self.stats.exits.mmio_writes += 1;
                    self.shared.write(self.index, at, data);
                }
                Ok(VcpuExit::Interrupted) => {
                    self.stats.exits.interrupted += 1;
                    return Left::Interrupted;
                }
                Ok(VcpuExit::Crashed(what)) => return Left::Because(Why::Crash(what)),
                Ok(other) => {
                    return Left::Because(Why::Crash(format!("unexpected exit {other:?}")));
                }
                Err(error) => return Left::Because(Why::Host(error.into())),
            }
        }
    }
}

impl Shared {
    fn read(&self, by: CpuIndex, at: GuestAddress, data: &mut [u8]) {
        if !self.mmio.read_by(by, at, data) {
            log::debug!("{by} reads where nothing is, at {:#x}", at.0);
        }
    }

    fn write(&self, by: CpuIndex, at: GuestAddress, data: &[u8]) {
        if !self.mmio.write_by(by, at, data) {
            log::debug!("{by} writes where nothing is, at {:#x}", at.0);
        }
    }
}

/// Why a CPU is out of guest code.
enum Left {
    Interrupted,
    Stopped,
    Because(Why),
}

/// Ends the machine when its thread panics.
struct ReportPanic {
    index: CpuIndex,
    end: Arc<End>,
}

impl Drop for ReportPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end.because(Why::Host(VmmError::Panic(self.index)));
        }
    }
}
