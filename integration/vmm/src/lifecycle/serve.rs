//! The main thread: machines run on it, one after the other.

use std::sync::Arc;

use super::idle::IdleWatch;
use super::{Created, Leave, LifecycleError, Order, Stage, Vmm};
use crate::consoles::Ptys;
use crate::error::create;
use crate::failure::Failure;
use crate::migration::{self, MigrationError, MigrationUrl, Stop};
use crate::moments::{Moment, Moments};
use crate::prepare::{self, Ready, RunOptions};
use crate::saved::Resumption;
use crate::vmm::Ending;

impl Vmm {
    /// Runs machines on this thread, until the process is to end: because somebody says so, because of
    /// a signal, or because a guest ended by itself. With `first`, the machine that is created runs at
    /// once, and where it cannot the process ends.
    ///
    /// # Errors
    /// [`Failure`] of a machine that was running, or of the first one.
    pub(crate) fn serve(&self, first: Option<Moments>) -> Result<Ending, Failure> {
        if first.is_some() {
            let mut state = self.lock();
            state.stage = Stage::Starting(None);
            state.order.get_or_insert(Order::Run(None));
        }
        let ending = self.run_all(first);
        // Who waits is told, and who comes now.
        let mut state = self.lock();
        state.leave.get_or_insert(Leave::Asked);
        (state.stage, state.order) = (Stage::Idle, None);
        drop(state);
        self.0.changed.notify_all();
        self.0.monitor.event("vmm", "shutdown");
        ending
    }

    fn run_all(&self, mut first: Option<Moments>) -> Result<Ending, Failure> {
        loop {
            let watch = IdleWatch::start(self).map_err(create("a thread"))?;
            let next = match self.next() {
                Ok(next) => next,
                Err(leave) => return Ok(leave.into()),
            };
            let moments = first.take().unwrap_or_else(|| Moments::since(Some(Moment::now())));
            let ended = match next {
                Next::Run(resumption, vm) => {
                    let event = if resumption.is_some() { "restoring" } else { "booting" };
                    self.0.monitor.event("vm", event);
                    let saved_on = resumption.as_ref().and_then(Resumption::backend);
                    let options = self.options(&vm).on_backend(saved_on);
                    let (file, control) = (vm.file.as_deref(), &self.0.control);
                    let ready = prepare::setup(&vm.config, file, &options, control, moments);
                    let ready = ready.map(|ready| match resumption {
                        Some(resumption) => ready.resuming(resumption),
                        None => ready,
                    });
                    drop(watch);
                    ready.and_then(|ready| self.run(ready))
                }
                Next::Receive(url) => self.receive(&url, watch, moments),
            };
            if let Some(ending) = self.ended(ended) {
                return ending;
            }
        }
    }

    /// The same as [`serve`](Self::serve), but no machine starts.
    #[cfg(feature = "test-utils")]
    pub(crate) fn refuse_all(&self) {
        while self.next().is_ok() {
            self.ended(Ok(Ending::NothingToStart));
        }
    }

    /// Waits for a machine, and runs it.
    fn receive(
        &self,
        url: &MigrationUrl,
        watch: IdleWatch,
        moments: Moments,
    ) -> Result<Ending, Failure> {
        self.0.monitor.event_with("vm", "migration-waiting", &[("url", &url.to_string())]);
        let vmm = self.clone();
        let is_ending = move || vmm.lock().leave.is_some() || vmm.0.control.is_stop_wanted();
        let received = migration::receive(url, &(Arc::new(is_ending) as Stop));
        let mut incoming = received.inspect_err(|_| self.migration_failed())?;
        self.0.monitor.event("vm", "migration-started");
        let config = incoming.config.clone().without_landlock();
        let vm = Created { config, file: None, from_elsewhere: true };
        self.lock().vm = Some(vm.clone());
        let options = self.options(&vm).on_backend(Some(incoming.outline.backend()));
        let options = RunOptions { handed_over: true, ..options };
        let ready = prepare::setup(&vm.config, None, &options, &self.0.control, moments);
        drop(watch);
        let ready = ready.and_then(|ready| ready.taking(&mut incoming));
        let ended = ready.and_then(|ready| self.run(ready));
        if !incoming.has_come() {
            match &ended {
                Err(failure) => incoming.refuse(failure),
                Ok(_) => incoming.refuse(&MigrationError::Ended),
            }
            self.lock().vm = None;
            self.migration_failed();
        }
        ended
    }

    /// How a machine is run.
    fn options(&self, vm: &Created) -> RunOptions {
        let files = vm.from_elsewhere.then(|| self.lock().first.clone());
        RunOptions { files, ..self.0.options.clone() }
    }

    fn run(&self, ready: Ready) -> Result<Ending, Failure> {
        self.lock().ptys = ready.ptys().clone();
        ready.run()
    }

    fn migration_failed(&self) {
        self.0.monitor.event("vm", "migration-failed");
    }

    /// Waits for something to do, unless the process is to end.
    fn next(&self) -> Result<Next, Leave> {
        let mut state = self.lock();
        loop {
            if let Some(leave) = state.leave {
                return Err(leave);
            }
            match (state.order.take(), &state.vm) {
                (Some(Order::Run(resumption)), Some(vm)) => {
                    return Ok(Next::Run(resumption, Box::new(vm.clone())));
                }
                (Some(Order::Receive(url)), _) => return Ok(Next::Receive(url)),
                _ => state = self.wait(state),
            }
        }
    }

    /// A machine has ended, or never began. Gives how the process ends, if it does.
    fn ended(&self, ending: Result<Ending, Failure>) -> Option<Result<Ending, Failure>> {
        let mut state = self.lock();
        // Whoever wanted its end has it.
        self.0.control.end();
        let stage = std::mem::take(&mut state.stage);
        state.ptys = Ptys::default();
        let leave = state.leave;
        drop(state);
        let ran = matches!(stage, Stage::Running(_));
        if ran {
            self.0.monitor.event("vm", "shutdown");
        }
        let ends = match (stage, ending) {
            (_, Ok(Ending::Stopped)) if leave.is_some() => leave.map(|leave| Ok(leave.into())),
            (_, Ok(ending @ (Ending::Signal(_) | Ending::Left))) => Some(Ok(ending)),
            (Stage::Starting(Some(waiting)), ending) => {
                let _ = waiting.send(Err(not_started(ending)));
                None
            }
            (_, Ok(Ending::Stopped)) => None,
            (_, ending) => Some(ending),
        };
        self.0.changed.notify_all();
        ends
    }
}

/// What the main thread does next.
enum Next {
    /// It runs this machine, which may be one that was saved.
    Run(Option<Resumption>, Box<Created>),
    /// It runs one that comes from another process.
    Receive(MigrationUrl),
}

/// Why a machine that somebody wants to run does not.
fn not_started(ending: Result<Ending, Failure>) -> LifecycleError {
    match ending {
        Err(failure) => failure.into(),
        Ok(Ending::NothingToStart) => LifecycleError::NothingToStart,
        Ok(Ending::Stopped) => LifecycleError::NotStarted("it was shut down".to_owned()),
        Ok(other) => LifecycleError::NotStarted(format!("{other:?}")),
    }
}

impl From<Leave> for Ending {
    fn from(leave: Leave) -> Self {
        match leave {
            Leave::Asked => Self::Stopped,
            Leave::Signal(signal) => Self::Signal(signal),
        }
    }
}
