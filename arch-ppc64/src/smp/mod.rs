//! The virtual CPUs of a running machine as they see each other: who is stopped, who is started,
//! who is paused.
//!
//! Each CPU has a mailbox, and its thread asks it what to do: before it first enters the guest,
//! after it stopped itself, and whenever a run was interrupted.
//!
//! ```
//! use arch_ppc64::smp::{Mailboxes, Order};
//! use arch_ppc64::{CpuIndex, EntryRegisters};
//!
//! trait Vcpu {
//!     fn start(&mut self, registers: &EntryRegisters);
//!     /// Runs guest code until somebody kicks the CPU (true), or it stops itself (false).
//!     fn run(&mut self) -> bool;
//! }
//!
//! fn thread(cpus: &Mailboxes, index: CpuIndex, vcpu: &mut dyn Vcpu) {
//!     loop {
//!         match cpus.wait(index) {
//!             Order::Start(registers) => vcpu.start(&registers),
//!             Order::Run => {}
//!             // Something that the VMM wants of this thread, such as the CPU's state.
//!             Order::Look => continue,
//!             Order::End => return,
//!         }
//!         if !vcpu.run() {
//!             cpus.stopped(index);
//!         }
//!     }
//! }
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::cas::{Decision, Negotiated};
use crate::vcpu::{CpuIndex, CpuState, EntryRegisters, Kick, StartError, VcpuHost};

/// What the thread of a CPU is to do next.
///
/// The thread has to obey each of them, so the list is whole: one more is a change that every VMM
/// has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Set these registers, and run.
    Start(EntryRegisters),
    /// Run on.
    Run,
    /// Somebody called [`Mailboxes::look`]: do what is wanted of this thread, and ask again.
    Look,
    /// The machine ends: no guest code any more.
    End,
}

/// Where a CPU stands, as it is saved: plain serde data.
///
/// Nobody vouches for a state that was saved, and there is nothing to check: registers of a start
/// are the guest's, as those of a CPU that runs are. [`start_cpu`](crate::start_cpu) has looked at
/// them when the guest asked for the start; where they were changed since, the guest has an
/// interrupt where it starts, and the host has no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
#[non_exhaustive]
pub enum RunState {
    /// In the RTAS stopped state (LoPAPR §7.3.8.1, `stop-self`): waits for `start-cpu`.
    Stopped,
    /// Told to start from these registers, which its thread did not take up yet.
    Starting(EntryRegisters),
    /// Runs guest code, or would if it were not paused.
    Running,
}

/// A CPU that does not leave guest code when it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} does not come out of the guest")]
pub struct StillRunning(pub CpuIndex);

/// The mailboxes of all CPUs of a machine. CPUs are known by their index; there may be gaps, and they
/// may come and go.
///
/// All of it may be called from any thread; only [`wait`](Self::wait) and
/// [`await_paused`](Self::await_paused) wait. No lock is held while a CPU is kicked or runs guest
/// code. Each CPU sleeps by itself: to start one wakes nobody else.
#[derive(Default)]
pub struct Mailboxes {
    slots: RwLock<BTreeMap<CpuIndex, Arc<Slot>>>,
    paused: AtomicBool,
    ending: AtomicBool,
    negotiated: Option<Box<NegotiatedFn>>,
}

type NegotiatedFn = dyn Fn(&Decision) -> Negotiated + Send + Sync;

/// A CPU's mailbox.
struct Slot {
    mail: Mutex<Mail>,
    /// For the CPU's thread: there is mail, or the machine's state changed.
    mail_came: Condvar,
    /// For those who wait for the CPU to be out of guest code.
    went_out: Condvar,
    kick: Arc<dyn Kick>,
}

struct Mail {
    run: RunState,
    look: bool,
    /// The CPU's thread is inside [`Mailboxes::wait`].
    waits: bool,
    /// The CPU is none of the machine's any more.
    removed: bool,
}

impl Mail {
    /// Nothing of the CPU is in guest code, or gets there before its thread is told so.
    fn is_out(&self) -> bool {
        self.waits || self.removed || self.run != RunState::Running
    }
}

impl Mailboxes {
    /// No CPUs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With what the back end makes of an agreement with the guest: see [`VcpuHost::negotiated`].
    /// Without it, what the CPUs are from the start on can be agreed on, and nothing else.
    #[must_use]
    pub fn with_negotiated(
        mut self,
        negotiated: impl Fn(&Decision) -> Negotiated + Send + Sync + 'static,
    ) -> Self {
        self.negotiated = Some(Box::new(negotiated));
        self
    }

    /// One more CPU, stopped: of the index behind the last, which is returned. Others may be running.
    pub fn add(&self, kick: Arc<dyn Kick>) -> CpuIndex {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let index = slots.last_key_value().map_or(CpuIndex(0), |(last, _)| CpuIndex(last.0 + 1));
        slots.insert(index, Slot::new(kick));
        index
    }

    /// One more CPU, stopped, of this index. Others may be running. False, and nothing has changed,
    /// when there is one of that index already.
    #[must_use]
    pub fn insert(&self, index: CpuIndex, kick: Arc<dyn Kick>) -> bool {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        match slots.entry(index) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Slot::new(kick));
                true
            }
        }
    }

    /// Takes a CPU out of the machine: its thread gets [`Order::End`], soon. Does not wait for it; who
    /// puts another one of that index in its place waits for the end of the thread first. False when
    /// there is no such CPU.
    pub fn remove(&self, index: CpuIndex) -> bool {
        let removed = self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&index);
        let Some(slot) = removed else { return false };
        slot.lock().removed = true;
        slot.mail_came.notify_all();
        slot.went_out.notify_all();
        slot.kick.kick();
        true
    }

    /// How many CPUs there are.
    pub fn count(&self) -> u32 {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).len() as u32
    }

    /// Called by the thread of a CPU, outside guest code: waits until there is something to do.
    ///
    /// Returns at once for a CPU that may run. [`Order::End`] for an index that there is not.
    pub fn wait(&self, index: CpuIndex) -> Order {
        let Some(slot) = self.slot(index) else { return Order::End };
        let mut mail = slot.lock();
        loop {
            if let Some(order) = self.order(&mut mail) {
                mail.waits = false;
                return order;
            }
            if !mail.waits {
                mail.waits = true;
                slot.went_out.notify_all();
            }
            mail = slot.mail_came.wait(mail).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What a CPU that asks is told, if there is something, and takes it out of its mailbox.
    fn order(&self, mail: &mut Mail) -> Option<Order> {
        if mail.removed || self.ending() {
            return Some(Order::End);
        }
        if mail.look {
            mail.look = false;
            return Some(Order::Look);
        }
        if self.is_paused() {
            return None;
        }
        match mail.run {
            RunState::Stopped => None,
            RunState::Starting(registers) => {
                mail.run = RunState::Running;
                Some(Order::Start(registers))
            }
            RunState::Running => Some(Order::Run),
        }
    }

    /// Called by the thread of a CPU that stopped itself (RTAS `stop-self`).
    pub fn stopped(&self, index: CpuIndex) {
        if let Some(slot) = self.slot(index) {
            slot.lock().run = RunState::Stopped;
            slot.went_out.notify_all();
        }
    }

    /// Keeps every CPU out of guest code from here on, and gets those out that are in it. Does not
    /// wait for them: see [`await_paused`](Self::await_paused).
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        for slot in self.all() {
            slot.kick.kick();
        }
    }

    /// Waits until no CPU of a paused machine is in guest code: until the thread of each asked
    /// what it is to do. False when the machine ends or goes on instead.
    ///
    /// Not to be called by the thread of a CPU, which would wait for itself.
    pub fn await_paused(&self) -> bool {
        self.await_paused_until(None) == Ok(true)
    }

    /// The same, in this time; without an end where no clock goes so far.
    ///
    /// # Errors
    /// [`StillRunning`] names a CPU that is still in guest code, or in a call of the guest that does
    /// not end, when the time is over. The machine stays paused.
    pub fn await_paused_for(&self, limit: Duration) -> Result<bool, StillRunning> {
        self.await_paused_until(Instant::now().checked_add(limit))
    }

    fn await_paused_until(&self, until: Option<Instant>) -> Result<bool, StillRunning> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (index, slot) in slots {
            let mut mail = slot.lock();
            while !mail.is_out() {
                if self.ending() || !self.is_paused() {
                    return Ok(false);
                }
                let Some(until) = until else {
                    mail = slot.went_out.wait(mail).unwrap_or_else(PoisonError::into_inner);
                    continue;
                };
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(StillRunning(index));
                }
                let waited = slot.went_out.wait_timeout(mail, left);
                mail = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        Ok(self.is_paused() && !self.ending())
    }

    /// Lets the CPUs of a paused machine go on.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        self.wake_all();
    }

    /// Whether the machine is paused.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Has the thread of a CPU [look](Order::Look) once, soon, whatever the CPU does: also while
    /// it is stopped or paused.
    ///
    /// # Errors
    /// [`StartError::NoSuchCpu`].
    pub fn look(&self, index: CpuIndex) -> Result<(), StartError> {
        let slot = self.slot(index).ok_or(StartError::NoSuchCpu)?;
        slot.lock().look = true;
        slot.mail_came.notify_all();
        slot.kick.kick();
        Ok(())
    }

    /// Where a CPU stands; `None` when there is no such CPU. It is the answer of one moment unless
    /// the machine is paused.
    pub fn run_state(&self, index: CpuIndex) -> Option<RunState> {
        Some(self.slot(index)?.lock().run)
    }

    /// Puts a CPU where it stood when it was saved: while the machine is paused, or before the
    /// CPU's thread first [waits](Self::wait). One that is running goes on from the registers that
    /// it has.
    ///
    /// # Errors
    /// [`StartError::NoSuchCpu`].
    pub fn set_run_state(&self, index: CpuIndex, run: RunState) -> Result<(), StartError> {
        let slot = self.slot(index).ok_or(StartError::NoSuchCpu)?;
        slot.lock().run = run;
        if run != RunState::Stopped {
            slot.kick.starts();
        }
        slot.mail_came.notify_all();
        Ok(())
    }

    /// Ends the machine: every CPU leaves guest code or its waiting soon. Does not wait for it.
    pub fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.wake_all();
        for slot in self.all() {
            slot.kick.kick();
        }
    }

    /// Whether the machine ends.
    pub fn ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Wakes everybody, after what they look at was changed.
    fn wake_all(&self) {
        for slot in self.all() {
            // Who has the lock and saw the old state sleeps by the time that this has it.
            drop(slot.lock());
            slot.mail_came.notify_all();
            slot.went_out.notify_all();
        }
    }

    fn slot(&self, index: CpuIndex) -> Option<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(&index).cloned()
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().cloned().collect()
    }
}

impl Slot {
    fn new(kick: Arc<dyn Kick>) -> Arc<Self> {
        let mail = Mail { run: RunState::Stopped, look: false, waits: false, removed: false };
        Arc::new(Self {
            mail: Mutex::new(mail),
            mail_came: Condvar::new(),
            went_out: Condvar::new(),
            kick,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VcpuHost for Mailboxes {
    fn state(&self, target: CpuIndex) -> Option<CpuState> {
        Some(match self.run_state(target)? {
            RunState::Stopped => CpuState::Stopped,
            RunState::Starting(_) => CpuState::InTransition,
            RunState::Running => CpuState::Running,
        })
    }

    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let slot = self.slot(target).ok_or(StartError::NoSuchCpu)?;
        let mut mail = slot.lock();
        if mail.run != RunState::Stopped {
            return Err(StartError::NotStopped);
        }
        mail.run = RunState::Starting(registers);
        drop(mail);
        slot.kick.starts();
        slot.mail_came.notify_all();
        Ok(())
    }

    fn negotiated(&self, decision: &Decision) -> Negotiated {
        match &self.negotiated {
            Some(negotiated) => negotiated(decision),
            None if decision.is_as_started() => Negotiated::Live,
            None => Negotiated::Refused,
        }
    }
}

impl fmt::Debug for Mailboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<RunState> = self.all().iter().map(|slot| slot.lock().run).collect();
        f.debug_struct("Mailboxes")
            .field("cpus", &states)
            .field("paused", &self.is_paused())
            .field("ending", &self.ending())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
