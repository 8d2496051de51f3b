//! Verbs of the machine's run.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::{
    Created, Leave, LifecycleError, Order, ReceiveMigration, Restore, SendMigration, Snapshot,
    Stage, TimeoutStrategy, Verb, VmState, Vmm,
};
use crate::config::FolderUrl;
use crate::failure::Failure;
use crate::migration::{MigrationError, MigrationUrl, SendOptions, Stop};
use crate::saved::SavedMachine;

/// How long a machine has to come to rest.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);

const fn runs(state: VmState) -> bool {
    !matches!(state, VmState::Created)
}

impl Vmm {
    /// Has the machine run. Returns when its first CPU is about to execute.
    ///
    /// # Errors
    /// [`LifecycleError::Machine`] says what cannot be had. The machine stays created.
    pub fn boot(&self) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::Boot)?;
        at_work.needs(|state| state == VmState::Created)?;
        self.order(Order::Run(None))
    }

    /// Has the main thread do something, and waits until it is done.
    pub(super) fn order(&self, order: Order) -> Result<(), LifecycleError> {
        let (waiting, answer) = channel();
        let mut state = self.lock();
        if state.leave.is_some() {
            return Err(LifecycleError::Ending);
        }
        (state.stage, state.order) = (Stage::Starting(Some(waiting)), Some(order));
        drop(state);
        self.0.changed.notify_all();
        // Who does not answer has ended.
        answer.recv().unwrap_or(Err(LifecycleError::Ending))
    }

    /// Has the machine stand still.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not run; [`LifecycleError::Pause`] names what does
    /// not come to rest, and the machine goes on.
    pub fn pause(&self) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::Pause)?;
        at_work.needs(|state| state == VmState::Running)?;
        self.0.monitor.event("vm", "pausing");
        let failed = |source| LifecycleError::Pause { verb: Verb::Pause, source };
        self.0.control.pause(PAUSE_LIMIT).map_err(failed)?;
        self.0.monitor.event("vm", "paused");
        Ok(())
    }

    /// Has the machine go on. One that is being sent to another VMM is to stay: this returns when that
    /// is given up.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not stand still.
    pub fn resume(&self) -> Result<(), LifecycleError> {
        if self.keep()? {
            return Ok(());
        }
        let at_work = self.begin(Verb::Resume)?;
        at_work.needs(|state| state == VmState::Paused)?;
        self.0.monitor.event("vm", "resuming");
        let failed = |source| LifecycleError::Pause { verb: Verb::Resume, source };
        self.0.control.resume().map_err(failed)?;
        self.0.monitor.event("vm", "resumed");
        Ok(())
    }

    /// If the machine is being sent, has it stay. False if it is not.
    fn keep(&self) -> Result<bool, LifecycleError> {
        let mut state = self.lock();
        if state.at_work != Some(Verb::SendMigration) {
            return Ok(false);
        }
        state.stays = true;
        drop(state);
        let state = self.wait_while(|state| state.at_work == Some(Verb::SendMigration));
        // It may have gone before.
        if state.leave.is_some() { Err(LifecycleError::Ending) } else { Ok(true) }
    }

    /// Has the machine start again, whatever its guest is at. One that stands still does not any more.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not run.
    pub fn reboot(&self) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::Reboot)?;
        at_work.needs(runs)?;
        let before = match self.lock().stage {
            Stage::Running(starts) => starts,
            _ => 0,
        };
        let wrong = LifecycleError::WrongState { verb: Verb::Reboot, state: VmState::Created };
        if self.0.control.reboot().is_err() {
            return Err(wrong);
        }
        let ended = matches!(
            self.wait_while(|state| matches!(state.stage, Stage::Running(n) if n == before)).stage,
            Stage::Idle | Stage::Starting(_)
        );
        if ended {
            return Err(wrong);
        }
        if self.0.control.is_paused() {
            let failed = |source| LifecycleError::Pause { verb: Verb::Reboot, source };
            self.0.control.resume().map_err(failed)?;
        }
        Ok(())
    }

    /// Ends the machine. It stays created.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not run.
    pub fn shut_down(&self) -> Result<(), LifecycleError> {
        let (at_work, ended) = self.begin_end(Verb::Shutdown)?;
        // One that was being started has ended already.
        if !ended {
            at_work.needs(runs)?;
        }
        self.stop()
    }

    /// Ends the machine if it runs, and waits for that.
    pub(super) fn stop(&self) -> Result<(), LifecycleError> {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Idle) {
            return Ok(());
        }
        // Its next start has what it has now.
        if let Some(vm) = &mut state.vm {
            vm.config = self.0.control.with_devices(vm.config.clone());
        }
        self.0.control.stop();
        drop(state);
        let state = self.wait_while(|state| !matches!(state.stage, Stage::Idle));
        // The guest may have ended by itself, and the process with it.
        let is_ending = state.leave.is_some();
        drop(state);
        if is_ending { Err(LifecycleError::Ending) } else { Ok(()) }
    }

    /// Asks the guest to shut down, as a person at the machine's power button does.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not run.
    pub fn press_power_button(&self) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::PowerButton)?;
        at_work.needs(runs)?;
        let pressed = self.0.control.press_power_button();
        let state = VmState::Created;
        pressed.map_err(|_| LifecycleError::WrongState { verb: Verb::PowerButton, state })
    }

    /// Saves the machine, which stands still, in a folder.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not stand still.
    pub fn snapshot(&self, snapshot: &Snapshot) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::Snapshot)?;
        at_work.needs(|state| state == VmState::Paused)?;
        let folder: FolderUrl = snapshot
            .destination_url
            .parse()
            .map_err(|source| LifecycleError::Url { key: "destination_url", source })?;
        let config = self.config()?;
        self.0.monitor.event("vm", "snapshotting");
        self.0.control.snapshot(&config, folder.path())?;
        self.0.monitor.event("vm", "snapshotted");
        Ok(())
    }

    /// Makes a machine that was saved. It stands still, unless it is said to run.
    ///
    /// # Errors
    /// [`LifecycleError::AlreadyCreated`].
    pub fn restore(&self, restore: &Restore) -> Result<(), LifecycleError> {
        let _at_work = self.begin(Verb::Restore)?;
        if self.lock().vm.is_some() {
            return Err(LifecycleError::AlreadyCreated);
        }
        let folder: FolderUrl = restore
            .source_url
            .parse()
            .map_err(|source| LifecycleError::Url { key: "source_url", source })?;
        let saved = SavedMachine::open(folder.path()).map_err(Failure::from)?;
        let saved = saved.prefaulted(restore.prefault);
        let config = saved.config().clone().without_landlock();
        self.know(Created { config, file: None, from_elsewhere: true })?;
        let resumed = self.order(Order::Run(Some(saved.resumption(!restore.resume))));
        if resumed.is_err() {
            // There is none, as before.
            self.lock().vm = None;
            return resumed;
        }
        self.0.monitor.event("vm", "restored");
        Ok(())
    }

    /// Sends the machine to another VMM, where it goes on. It is gone here then, and the process ends.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not run; [`LifecycleError::Migration`] says why it
    /// has not moved.
    pub fn send_migration(&self, send: &SendMigration) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::SendMigration)?;
        at_work.needs(runs)?;
        let to: MigrationUrl = send.destination_url.parse()?;
        if send.local {
            return Err(MigrationError::Local.into());
        }
        let config = self.config()?;
        let mut options = SendOptions::default();
        options.downtime = send.downtime_ms.map_or(options.downtime, Duration::from_millis);
        options.timeout = send.timeout_s.map_or(options.timeout, Duration::from_secs);
        options.insists = send.timeout_strategy == TimeoutStrategy::Ignore;
        self.lock().stays = false;
        let vmm = self.clone();
        let stop: Stop = Arc::new(move || {
            let state = vmm.lock();
            // Whoever waits for the other side does not when there is nothing to send any more.
            state.stays || state.leave.is_some() || matches!(state.stage, Stage::Idle)
        });
        self.0.monitor.event_with("vm", "migration-started", &[("url", &to.to_string())]);
        let mut progress = |round: u32, dirty_bytes: Option<u64>| {
            let (round, bytes) = (round.to_string(), dirty_bytes.map(|bytes| bytes.to_string()));
            let bytes = bytes.as_deref().map(|bytes| ("dirty_bytes", bytes));
            let properties = [("round", &*round)].into_iter().chain(bytes).collect::<Vec<_>>();
            self.0.monitor.event_with("vm", "migration-round", &properties);
        };
        let control = &self.0.control;
        let moved = match control.send_migration(&config, &to, &options, &stop, &mut progress) {
            Ok(moved) => moved,
            Err(error) => {
                let error = match error {
                    // Nobody has: the VMM ends.
                    MigrationError::Cancelled if !self.lock().stays => MigrationError::Over,
                    error => error,
                };
                log::warn!("the machine has not moved: {}", error.told());
                let reason = [("reason", &*error.told())];
                self.0.monitor.event_with("vm", "migration-failed", &reason);
                return Err(error.into());
            }
        };
        log::info!(
            "the machine has moved to {to} in {:?}: {} rounds, {} bytes, it stood still for {:?}",
            moved.time,
            moved.rounds,
            moved.sent_bytes,
            moved.downtime
        );
        let [rounds, bytes, downtime] =
            [moved.rounds.into(), moved.sent_bytes, moved.downtime.as_millis() as u64]
                .map(|number: u64| number.to_string());
        let properties = [("rounds", &*rounds), ("bytes", &*bytes), ("downtime_ms", &*downtime)];
        self.0.monitor.event_with("vm", "migration-finished", &properties);
        // As with Cloud Hypervisor: what has moved away leaves nothing. Whoever asks is told so at once.
        self.lock().vm = None;
        self.leave(Leave::Asked);
        // Nobody is told that it runs here as well.
        drop(self.wait_while(|state| !matches!(state.stage, Stage::Idle)));
        Ok(())
    }

    /// Waits for a machine that another VMM sends, and has it go on here. Returns when it runs.
    ///
    /// # Errors
    /// [`LifecycleError::AlreadyCreated`]; [`LifecycleError::Machine`] says why none has come.
    pub fn receive_migration(&self, receive: &ReceiveMigration) -> Result<(), LifecycleError> {
        let _at_work = self.begin(Verb::ReceiveMigration)?;
        if self.lock().vm.is_some() {
            return Err(LifecycleError::AlreadyCreated);
        }
        let from: MigrationUrl = receive.receiver_url.parse()?;
        self.order(Order::Receive(from))
    }
}
