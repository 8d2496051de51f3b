//! The thread of a virtual CPU: runs guest code, answers what it asks, waits while it is stopped.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use arch_ppc64::hypercall::token;
use arch_ppc64::platform::MmioBus;
use arch_ppc64::smp::{Mailboxes, Order};
use arch_ppc64::{CpuIndex, GuestRam, HypercallBus, Next, VcpuExit};
use vmm_sys_util::signal::SIGRTMIN;

use crate::end::{End, Why, lock};
use crate::error::VmmError;
use crate::outlet;
use crate::signals;
use crate::stats::Stats;
use crate::vcpu::Vcpu;

/// The thread of a virtual CPU.
pub(crate) struct CpuThread {
    pub(crate) id: CpuIndex,
    pub(crate) vcpu: Box<dyn Vcpu>,
    pub(crate) bus: Arc<HypercallBus>,
    pub(crate) mmio: Arc<MmioBus>,
    pub(crate) ram: Arc<dyn GuestRam>,
    pub(crate) cpus: Arc<Mailboxes>,
    pub(crate) end: Arc<End>,
    pub(crate) stats: Stats,
    pub(crate) all_stats: Arc<Mutex<Stats>>,
}

impl CpuThread {
    pub(crate) fn main(mut self) {
        outlet::wait_in_this_thread();
        let _report = ReportPanic { id: self.id, end: self.end.clone() };
        // Kicks come as this signal, whatever mask the process was started with.
        if let Err(error) = signals::let_through(SIGRTMIN()) {
            log::warn!("{} may be hard to stop: {error}", self.id);
        }
        let why = self.live();
        self.stats.instructions = self.vcpu.instructions();
        lock(&self.all_stats).add(&self.stats);
        if let Some(why) = why {
            self.end.because(why);
        }
    }

    /// Starts when it is told to and stops itself, until the machine ends; `Some` where this CPU
    /// is the reason.
    fn live(&mut self) -> Option<Why> {
        loop {
            match self.cpus.wait(self.id) {
                Order::Start(registers) => {
                    if let Err(error) = self.vcpu.start(&registers) {
                        return Some(Why::Host(error.into()));
                    }
                }
                Order::Run => {}
                // Nobody wants anything of this thread.
                Order::Look => continue,
                Order::End => return None,
            }
            match self.run() {
                Left::Interrupted => {}
                Left::Stopped => {
                    self.vcpu.stop();
                    self.cpus.stopped(self.id);
                }
                Left::Because(why) => return Some(why),
            }
        }
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
                    let next = self.bus.dispatch(self.id, &*self.ram, call);
                    if let Some(start) = client_call {
                        self.stats.count_client_time(start.elapsed());
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
                    if !self.mmio.read(at, data) {
                        log::debug!("{} reads where nothing is, at {:#x}", self.id, at.0);
                    }
                }
                Ok(VcpuExit::MmioWrite(at, data)) => {
                    self.stats.exits.mmio_writes += 1;
                    if !self.mmio.write(at, data) {
                        log::debug!("{} writes where nothing is, at {:#x}", self.id, at.0);
                    }
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

/// Why a CPU is out of guest code.
enum Left {
    Interrupted,
    Stopped,
    Because(Why),
}

/// Ends the machine when its thread panics.
struct ReportPanic {
    id: CpuIndex,
    end: Arc<End>,
}

impl Drop for ReportPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end.because(Why::Host(VmmError::Panic(self.id)));
        }
    }
}
