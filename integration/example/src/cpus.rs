//! The CPUs of a machine and their threads.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arch_ppc64::platform::StateValue;
use arch_ppc64::smp::{Mailboxes, Order, RunState};
use arch_ppc64::{CpuIndex, Next, StopReason};
use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::hypervisor::Vcpu;
use crate::{Result, with_causes};

/// Why a CPU's thread ended: with the machine's reason, if it was this CPU's.
type Ended = Result<Option<StopReason>>;

pub(crate) struct CpuManager {
    mailboxes: Arc<Mailboxes>,
    /// Who hears of the end.
    event_loop: Arc<EventFd>,
    vcpus: Vec<Arc<dyn Vcpu>>,
    threads: Vec<JoinHandle<Ended>>,
}

/// A CPU as it is saved.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedCpu {
    run: RunState,
    registers: StateValue,
}

impl CpuManager {
    pub(crate) fn new(mailboxes: Arc<Mailboxes>, event_loop: Arc<EventFd>) -> Self {
        Self { mailboxes, event_loop, vcpus: Vec::new(), threads: Vec::new() }
    }

    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    /// One more CPU, stopped, and its thread.
    pub(crate) fn add(&mut self, vcpu: Arc<dyn Vcpu>) -> Result<()> {
        let index = self.mailboxes.add(vcpu.kicker());
        self.vcpus.push(vcpu.clone());
        let (mailboxes, event_loop) = (self.mailboxes.clone(), self.event_loop.clone());
        let thread = move || {
            let _end = EndOfAll { mailboxes: &mailboxes, event_loop: &event_loop };
            run(index, &*vcpu, &mailboxes)
        };
        self.threads.push(thread::Builder::new().name(index.to_string()).spawn(thread)?);
        Ok(())
    }

    /// Each CPU's state. Only while the machine is paused.
    pub(crate) fn save(&self) -> Result<Vec<SavedCpu>> {
        // All of them first: what one has left open may still interrupt another.
        for vcpu in &self.vcpus {
            vcpu.complete()?;
        }
        let mut saved = Vec::new();
        for (index, vcpu) in (0..).map(CpuIndex).zip(&self.vcpus) {
            let registers = vcpu.save()?;
            let run = self.mailboxes.run_state(index).ok_or("a CPU has no mailbox")?;
            saved.push(SavedCpu { run, registers });
        }
        Ok(saved)
    }

    /// Takes up each CPU's state. Only while the machine is paused.
    pub(crate) fn restore(&self, saved: &[SavedCpu]) -> Result<()> {
        if saved.len() != self.vcpus.len() {
            return Err("the saved machine has another number of CPUs".into());
        }
        for ((index, vcpu), saved) in (0..).map(CpuIndex).zip(&self.vcpus).zip(saved) {
            let restored = vcpu.restore(&saved.registers);
            restored.map_err(|error| {
                format!("cannot take up the state of {index}: {}", with_causes(&*error))
            })?;
            self.mailboxes.set_run_state(index, saved.run)?;
        }
        Ok(())
    }

    /// Ends the machine, if it has not ended, and waits for its threads. Where several CPUs have a
    /// reason, the last one's is told.
    pub(crate) fn end(&mut self) -> Ended {
        drop(EndOfAll { mailboxes: &self.mailboxes, event_loop: &self.event_loop });
        let panicked = |_| Err("a CPU's thread panicked".into());
        let join = |thread: JoinHandle<Ended>| thread.join().unwrap_or_else(panicked);
        // All of them, whatever one of them says.
        let ended: Vec<Ended> = self.threads.drain(..).map(join).collect();
        ended.into_iter().try_fold(None, |reason, ended| Ok(ended?.or(reason)))
    }
}

impl Drop for CpuManager {
    fn drop(&mut self) {
        // Whoever wanted to know has called it.
        let _ = self.end();
    }
}

/// The life of a CPU: it runs guest code whenever its mailbox says so.
fn run(index: CpuIndex, vcpu: &dyn Vcpu, mailboxes: &Mailboxes) -> Ended {
    loop {
        // Asked before each entry: who is kicked has been told something.
        match mailboxes.wait(index) {
            Order::Start(registers) => vcpu.start(&registers)?,
            Order::Run => {}
            Order::Look => continue,
            Order::End => return Ok(None),
        }
        match vcpu.run()? {
            Next::Resume | Next::Cede => {}
            Next::Park => mailboxes.stopped(index),
            Next::Stop(reason) => return Ok(Some(reason)),
        }
    }
}

/// The end of one CPU's thread, by a panic too, is the machine's: every CPU leaves guest code or
/// its wait.
struct EndOfAll<'a> {
    mailboxes: &'a Mailboxes,
    event_loop: &'a EventFd,
}

impl Drop for EndOfAll<'_> {
    fn drop(&mut self) {
        self.mailboxes.end();
        let _ = self.event_loop.write(1);
    }
}
