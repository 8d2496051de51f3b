//! Verbs of the machine's run.

use std::sync::mpsc::channel;
use std::time::Duration;

use crate::config::FolderUrl;
use crate::failure::Failure;
use crate::saved::SavedMachine;

use super::{
    LifecycleError, Order, ReceiveMigration, Restore, SendMigration, Snapshot, Stage, Verb,
    VmState, Vmm,
};

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
        self.order(Order::Boot)
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

    /// Has the machine go on.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not stand still.
    pub fn resume(&self) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::Resume)?;
        at_work.needs(|state| state == VmState::Paused)?;
        self.0.monitor.event("vm", "resuming");
        let failed = |source| LifecycleError::Pause { verb: Verb::Resume, source };
        self.0.control.resume().map_err(failed)?;
        self.0.monitor.event("vm", "resumed");
        Ok(())
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
        let at_work = self.begin_end(Verb::Shutdown)?;
        at_work.needs(runs)?;
        self.stop()
    }

    /// Ends the machine if it runs, and waits for that.
    pub(super) fn stop(&self) -> Result<(), LifecycleError> {
        let state = self.lock();
        if matches!(state.stage, Stage::Idle) {
            return Ok(());
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
        let config = self.info()?.config;
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
        self.create_first(saved.config().clone(), None)?;
        let resumed = self.order(Order::Resume(saved.resumption(!restore.resume)));
        if resumed.is_err() {
            // There is none, as before.
            self.lock().vm = None;
            return resumed;
        }
        self.0.monitor.event("vm", "restored");
        Ok(())
    }

    /// Sends the machine to another VMM, where it goes on. It is gone here then.
    ///
    /// # Errors
    /// [`LifecycleError::WrongState`] where it does not run.
    pub fn send_migration(&self, _send: &SendMigration) -> Result<(), LifecycleError> {
        let at_work = self.begin(Verb::SendMigration)?;
        at_work.needs(runs)?;
        Err(LifecycleError::Absent(Verb::SendMigration))
    }

    /// Waits for a machine that another VMM sends, and has it go on here.
    ///
    /// # Errors
    /// [`LifecycleError::AlreadyCreated`].
    pub fn receive_migration(&self, _receive: &ReceiveMigration) -> Result<(), LifecycleError> {
        let _at_work = self.begin(Verb::ReceiveMigration)?;
        if self.lock().vm.is_some() {
            return Err(LifecycleError::AlreadyCreated);
        }
        Err(LifecycleError::Absent(Verb::ReceiveMigration))
    }
}
