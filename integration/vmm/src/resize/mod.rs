//! CPUs and memory that a running machine gets and gives back.
//!
//! Whoever runs a machine keeps a [`Control`] of it, and asks by it, from any thread, for as many
//! CPUs and as much memory as the machine is to have in all, as with Cloud Hypervisor's `vm.resize`.
//! What the VMM has to do for that is done when [`Control::resize`] returns. The rest is the guest's:
//! it takes what is plugged, and gives back what it is asked for, when it likes, or not at all.
//! [`Control::wait`] waits for it, for as long as the caller wants to, and [`Control::info`] tells how
//! far it is.
//!
//! - More than there is: what was asked back and is not there yet is no longer asked for, then more is
//!   plugged, from the lowest CPU and the lowest address on.
//! - Less than there is: what the guest has not taken is taken away at once. Then the guest is asked,
//!   for the highest first. For a core that it will not give up, it is asked for another one, as long
//!   as there is another one. For memory it says nothing where it cannot give it up: asked
//!   for the same size again, it is asked for other blocks.
//! - The same as there is, or is asked for: the guest is told again of what it has not done.
//!
//! When the machine starts again, it has what is plugged at that moment, taken or not, and nothing is
//! asked back any more. A guest that does nothing, or too much, holds up nothing: neither another
//! resize nor the end of the machine.

mod check;
mod devices;
mod error;
mod notes;
mod plan;
mod run;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::devices::{DeviceInfo, Devices};
use crate::halves::Halves;
use crate::locks::lock;
use crate::operate::Operated;
use crate::saved::Live;
use crate::turn::{Turn, Turns};

pub use error::ResizeError;
use notes::Message;
pub(crate) use notes::Notes;
pub(crate) use worker::{Parts, Resizer};

/// What a machine has of something, CPUs or bytes of memory, and what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Amount {
    /// What the guest has taken, with what it is asked to give back. A system may take a moment more
    /// to put it to use.
    pub present: u64,
    /// The most that there may be.
    pub max: u64,
    /// What is plugged, and the guest has not taken.
    pub coming: u64,
    /// What the guest is asked to give back, and has not given back.
    pub going: u64,
    /// What the guest has said that it will not give back, since the last [`Control::resize`].
    pub refused: u64,
}

impl Amount {
    /// Whether the guest has yet to take or give back something.
    pub const fn is_pending(&self) -> bool {
        self.coming != 0 || self.going != 0
    }

    /// What there is when the guest has done all that it is asked for.
    pub const fn wanted(&self) -> u64 {
        self.present + self.coming - self.going
    }
}

/// What a running machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Info {
    /// Virtual CPUs.
    pub cpus: Amount,
    /// Memory, in bytes.
    pub memory: Amount,
}

impl Info {
    /// Whether the guest has yet to take or give back something.
    pub const fn is_pending(&self) -> bool {
        self.cpus.is_pending() || self.memory.is_pending()
    }
}

/// A handle of a machine that runs, or will run: see the [module](self), and [pause](crate::pause).
/// Clones are the same.
///
/// The machine that [`vmm::run`](crate::vmm::run) is given it with is the one that it controls; for
/// one machine at a time.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Who changes the machine, or has it stand still or go on, does so alone.
    turns: Turns,
    operated: Operated,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    phase: Phase,
    info: Info,
    /// Its devices, and how far each is plugged.
    device_infos: Vec<DeviceInfo>,
    /// What is behind them.
    devices: Option<Arc<Devices>>,
    /// It is to stand still, whatever start of it there is.
    pub(crate) paused: bool,
    /// It was saved, and stands still until all of it is there.
    pub(crate) held: bool,
    /// It was to move, and does not have its files: another one may.
    pub(crate) has_let_go: bool,
    /// What of it stands still.
    pub(crate) halves: Option<Halves>,
    /// What of it is saved.
    pub(crate) live: Option<Arc<Live>>,
}

impl State {
    /// There is no machine yet, or none any more.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle) && self.halves.is_none()
    }
}

/// Where the machine is.
#[derive(Debug, Default)]
enum Phase {
    /// Not started, or at its end.
    #[default]
    Idle,
    /// Between two starts.
    Restarting,
    /// Running, without room for more.
    Fixed,
    /// Whoever plugs things is here.
    Running(Sender<Message>),
}

impl Control {
    /// Whether somebody else has it, too, who may ask for something.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// For a machine that is still to be started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the running machine have so many CPUs in all, and so much memory in all, in bytes; what is
    /// `None` stays. Returns when the VMM's part is done; what is told is what the machine has then.
    ///
    /// Where both are given, neither is changed if one of them cannot be.
    ///
    /// # Errors
    /// [`ResizeError`] says what cannot be, and what can; or that the host has no room. In that case
    /// a part may have been done, as [`info`](Self::info) tells.
    pub fn resize(
        &self,
        cpus: Option<u32>,
        memory_bytes: Option<u64>,
    ) -> Result<Info, ResizeError> {
        let _turn = self.turn();
        self.resize_in_turn(cpus, memory_bytes)
    }

    /// The same for who has the turn.
    pub(crate) fn resize_in_turn(
        &self,
        cpus: Option<u32>,
        memory_bytes: Option<u64>,
    ) -> Result<Info, ResizeError> {
        self.ask(|reply| Message::Resize { cpus, memory_bytes, reply }, Phase::error)
    }

    /// What whoever plugs things answers; why nobody does, as `error` has it.
    fn ask<T, E>(
        &self,
        message: impl FnOnce(Sender<Result<T, E>>) -> Message,
        error: impl Fn(&Phase) -> E,
    ) -> Result<T, E> {
        let worker = match &self.lock().phase {
            Phase::Running(worker) => worker.clone(),
            phase => return Err(error(phase)),
        };
        let (reply, answer) = channel();
        // Who does not answer has ended.
        let sent = worker.send(message(reply));
        match sent.ok().and_then(|()| answer.recv().ok()) {
            Some(result) => result,
            None => Err(error(&self.lock().phase)),
        }
    }

    /// What the machine has now.
    ///
    /// # Errors
    /// [`ResizeError::NotRunning`] and [`ResizeError::Restarting`].
    pub fn info(&self) -> Result<Info, ResizeError> {
        let state = self.lock();
        match &state.phase {
            Phase::Running(_) | Phase::Fixed => Ok(state.info),
            phase => Err(phase.error()),
        }
    }

    /// Waits until the guest has taken and given back all that it is asked for, or has said no, for
    /// at most so long. What is told is what the machine has then.
    ///
    /// A machine that starts again meanwhile is waited for, too.
    ///
    /// # Errors
    /// [`ResizeError::NotRunning`] and, when the time is over, [`ResizeError::Restarting`].
    pub fn wait(&self, limit: Duration) -> Result<Info, ResizeError> {
        self.wait_until(limit, |info| !info.is_pending())
    }

    /// The same for something else of what the machine has, which may be only CPUs or only memory.
    /// With an end that is not reached, this waits to the limit.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_until(
        &self,
        limit: Duration,
        mut is_reached: impl FnMut(&Info) -> bool,
    ) -> Result<Info, ResizeError> {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            let left = limit.saturating_sub(start.elapsed());
            match &state.phase {
                Phase::Running(_) if left.is_zero() || is_reached(&state.info) => {
                    return Ok(state.info);
                }
                Phase::Fixed => return Ok(state.info),
                Phase::Idle => return Err(ResizeError::NotRunning),
                Phase::Restarting if left.is_zero() => return Err(ResizeError::Restarting),
                Phase::Running(_) | Phase::Restarting => {}
            }
            state = self.changed(state, left);
        }
    }

    /// The machine has started, and has this. Who plugs things is `worker`, if there is room.
    fn begin(
        &self,
        worker: Option<Sender<Message>>,
        info: Info,
        devices: Arc<Devices>,
        device_infos: Vec<DeviceInfo>,
    ) {
        let phase = worker.map_or(Phase::Fixed, Phase::Running);
        let mut state = self.lock();
        (state.phase, state.info) = (phase, info);
        (state.devices, state.device_infos) = (Some(devices), device_infos);
        drop(state);
        self.0.changed.notify_all();
    }

    /// A machine runs without room for more.
    #[cfg(test)]
    pub(crate) fn begin_fixed(&self) {
        let devices = Arc::new(Devices::outline(&crate::config::VmConfig::default()));
        self.begin(None, Info::default(), devices, Vec::new());
    }

    /// It has that now.
    fn publish(&self, info: Info, device_infos: Vec<DeviceInfo>) {
        let mut state = self.lock();
        (state.info, state.device_infos) = (info, device_infos);
        drop(state);
        self.0.changed.notify_all();
    }

    /// The start is over. There may be another one.
    fn restarting(&self) {
        self.lock().phase = Phase::Restarting;
        self.0.changed.notify_all();
    }

    /// There is no other start.
    pub(crate) fn end(&self) {
        *self.lock() = State::default();
        self.0.operated.finish();
        self.0.changed.notify_all();
    }

    /// Waits for the turn to change the machine.
    pub(crate) fn turn(&self) -> Turn<'_> {
        self.0.turns.take()
    }

    /// The same, for so long at most.
    pub(crate) fn turn_within(&self, limit: Duration) -> Option<Turn<'_>> {
        self.0.turns.take_within(limit)
    }

    /// Waits until something may have changed, for so long at most.
    pub(crate) fn changed<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        let woken = self.0.changed.wait_timeout(state, limit);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whoever waits for another phase looks again.
    pub(crate) fn notify(&self) {
        self.0.changed.notify_all();
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl Phase {
    /// Why nobody answers.
    fn error(&self) -> ResizeError {
        match self {
            Self::Restarting => ResizeError::Restarting,
            Self::Fixed => ResizeError::NoRoom,
            Self::Idle | Self::Running(_) => ResizeError::NotRunning,
        }
    }
}
