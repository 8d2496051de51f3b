//! The life of the VMM process: one machine at a time, created, run, shut down and deleted, as often
//! as somebody likes.
//!
//! [`Vmm`] is the handle of it, for any thread: its methods are the verbs of Cloud Hypervisor's API.
//! `Vmm::serve` is the process's main thread, on which machines run, one after the other. Those who
//! ask wait for it. Verbs that change something are done one after the other; while one is under way
//! that may take long, others are told so. The machine's end is never waited for longer than it takes:
//! [`Vmm::shut_down_vmm`] is done whatever else is.

mod changes;
mod error;
mod idle;
mod run;
mod serve;
mod types;
mod verb;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use arch_ppc64::config::MachineConfig;

use crate::config::VmConfig;
use crate::consoles::Ptys;
use crate::counters::{Counters, prometheus};
use crate::failure::Failure;
use crate::locks::lock;
use crate::migration::MigrationUrl;
use crate::monitor::Monitor;
use crate::name;
use crate::operate::Told;
use crate::prepare::{self, RunOptions};
use crate::resize::Control;
use crate::saved::Resumption;

pub use error::{Blame, LifecycleError};
pub use types::{
    Ping, ReceiveMigration, RemoveDevice, Resize, Restore, SendMigration, ShownConfig, Snapshot,
    TimeoutStrategy, VmInfo, VmState,
};
pub use verb::Verb;

/// A VMM process. Clones are the same.
#[derive(Debug, Clone)]
pub struct Vmm(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: RunOptions,
    control: Control,
    monitor: Monitor,
    state: Mutex<State>,
    /// Signalled at every change of the state.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    vm: Option<Created>,
    /// The machine that the process began with: those that come from elsewhere have its files, and no
    /// others of their own.
    first: Arc<VmConfig>,
    stage: Stage,
    /// What is being done, by one who asked.
    at_work: Option<Verb>,
    /// The machine that is being sent is to stay.
    stays: bool,
    /// The names of the pseudo-terminals that its consoles are at, while it runs.
    ptys: Ptys,
    /// What the main thread is to do next.
    order: Option<Order>,
    /// The process is to end.
    leave: Option<Leave>,
}

/// A machine that is known.
#[derive(Debug, Clone)]
struct Created {
    config: VmConfig,
    /// Where its configuration is from, if it is from a file.
    file: Option<PathBuf>,
    /// Whether nobody here has said what it is: it was saved, or another process has sent it.
    from_elsewhere: bool,
}

/// What the main thread is at.
#[derive(Debug, Default)]
enum Stage {
    /// It waits.
    #[default]
    Idle,
    /// It starts a machine; who waits for that is told how it went.
    Starting(Option<Sender<Result<(), LifecycleError>>>),
    /// A machine runs, for the n-th time since the process began.
    Running(u64),
}

#[derive(Debug)]
enum Order {
    /// Run the machine, or have it go on where it was saved.
    Run(Option<Resumption>),
    /// Wait for one that another process sends, and run it.
    Receive(MigrationUrl),
}

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// Somebody asked for it.
    Asked,
    /// A signal did.
    Signal(i32),
}

impl Vmm {
    /// One without a machine, which runs them with these options. Whoever has `control` has the one of
    /// the machine of the moment.
    pub fn new(options: RunOptions, control: Control) -> Self {
        Self::with_monitor(options, control, Monitor::default())
    }

    /// The same, with somebody to tell what happens.
    pub(crate) fn with_monitor(options: RunOptions, control: Control, monitor: Monitor) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { options, control, monitor, state, changed });
        let weak = Arc::downgrade(&shared);
        shared.control.listen(move |told| {
            if let Some(shared) = weak.upgrade() {
                shared.hear(told);
            }
        });
        Self(shared)
    }

    /// What this is.
    pub fn ping(&self) -> Ping {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let build_version = format!("pseries-vmm v{version}");
        let features = if cfg!(feature = "vof") { vec!["vof".to_owned()] } else { Vec::new() };
        Ping { build_version, version, pid: std::process::id(), features }
    }

    /// Makes a machine known. It does not run.
    ///
    /// # Errors
    /// [`LifecycleError::AlreadyCreated`], and [`LifecycleError::Machine`] says what it cannot be.
    pub fn create(&self, config: VmConfig) -> Result<(), LifecycleError> {
        let _at_work = self.begin(Verb::Create)?;
        if self.lock().vm.is_some() {
            return Err(LifecycleError::AlreadyCreated);
        }
        Ok(self.know(Created { config, file: None, from_elsewhere: false })?)
    }

    /// Makes a machine known that can be.
    fn know(&self, vm: Created) -> Result<(), Failure> {
        prepare::machine(&vm.config, vm.file.as_deref(), &self.0.options)?;
        self.lock().vm = Some(vm);
        Ok(())
    }

    /// The same of the machine that the process begins with, whose configuration may be from a file.
    ///
    /// # Errors
    /// [`Failure`] says what it cannot be.
    pub(crate) fn create_first(
        &self,
        config: VmConfig,
        file: Option<PathBuf>,
    ) -> Result<(), Failure> {
        let first = Arc::new(config.clone());
        self.know(Created { config, file, from_elsewhere: false })?;
        self.lock().first = first;
        Ok(())
    }

    /// The same of a machine that was saved: where the process begins with one, it goes on. Its folder
    /// is named on the command line, which answers for its files.
    ///
    /// # Errors
    /// As [`create_first`](Self::create_first).
    pub(crate) fn resume_first(
        &self,
        config: VmConfig,
        resumption: Resumption,
    ) -> Result<(), Failure> {
        self.create_first(config, None)?;
        self.lock().order = Some(Order::Run(Some(resumption)));
        Ok(())
    }

    /// The machine, and where it is in its life. Waits for nothing.
    ///
    /// # Errors
    /// [`LifecycleError::NotCreated`].
    pub fn info(&self) -> Result<VmInfo, LifecycleError> {
        let (config, state, ptys) = {
            let state = self.lock();
            let vm = state.vm.as_ref().ok_or(LifecycleError::NotCreated)?;
            (vm.config.clone(), self.0.state_of(&state), state.ptys.clone())
        };
        let config = self.0.control.with_devices(config);
        let running = self.0.control.info().ok();
        let memory = running.map(|info| info.memory.present);
        let memory_at_boot = MachineConfig::memory(&config).size_bytes;
        let cpus_at_boot = config.cpus.boot_vcpus.into();
        Ok(VmInfo {
            name: name::get().map(|name| name.as_str().to_owned()),
            config: ShownConfig { config, ptys },
            state,
            memory_actual_size: memory.unwrap_or(memory_at_boot),
            cpus_actual: running.map_or(cpus_at_boot, |info| info.cpus.present),
        })
    }

    /// What the running machine and its devices have done.
    ///
    /// # Errors
    /// [`LifecycleError::NotCreated`], and [`LifecycleError::WrongState`] where it does not run.
    pub fn counters(&self) -> Result<Counters, LifecycleError> {
        if self.lock().vm.is_none() {
            return Err(LifecycleError::NotCreated);
        }
        let state = VmState::Created;
        let counters = self.0.control.counters();
        counters.ok_or(LifecycleError::WrongState { verb: Verb::Counters, state })
    }

    /// The same as Prometheus reads it, of a VMM without a machine as well.
    pub fn metrics(&self) -> String {
        let state = {
            let state = self.lock();
            state.vm.as_ref().map(|_| self.0.state_of(&state).to_string())
        };
        let counters = self.0.control.counters();
        prometheus(name::get(), state.as_deref(), counters.as_ref())
    }

    /// The machine as it is by now, for another place of the host: with the devices that it has, each
    /// with its id, and no path that depends on where this process runs.
    fn config(&self) -> Result<VmConfig, LifecycleError> {
        let config = self.lock().vm.as_ref().map(|vm| vm.config.clone());
        let config = self.0.control.with_devices(config.ok_or(LifecycleError::NotCreated)?);
        config.with_absolute_paths().map_err(LifecycleError::Path)
    }

    /// Forgets the machine; one that runs is shut down first. Without one, there is nothing to do.
    ///
    /// # Errors
    /// As [`shut_down`](Self::shut_down).
    pub fn delete(&self) -> Result<(), LifecycleError> {
        let (_at_work, _) = self.begin_end(Verb::Delete)?;
        self.stop()?;
        if self.lock().vm.take().is_some() {
            self.0.monitor.event("vm", "deleted");
        }
        Ok(())
    }

    /// Has the machine end, if one runs, and the process. Waits for nothing: whoever waits for
    /// something else is told.
    pub fn begin_to_leave(&self) {
        self.leave(Leave::Asked);
    }

    /// Ends the machine, if one runs, and then the process.
    pub fn shut_down_vmm(&self) {
        self.begin_to_leave();
        drop(self.wait_while(|state| !matches!(state.stage, Stage::Idle)));
    }

    /// Has the process end.
    fn leave(&self, leave: Leave) {
        self.lock().leave.get_or_insert(leave);
        self.0.control.stop();
        self.0.changed.notify_all();
    }

    /// Whoever asks for this works alone from here on, until what is returned is dropped.
    fn begin(&self, verb: Verb) -> Result<AtWork<'_>, LifecycleError> {
        let mut state = self.lock();
        loop {
            match state.at_work {
                _ if state.leave.is_some() => return Err(LifecycleError::Ending),
                None => {
                    state.at_work = Some(verb);
                    return Ok(AtWork { vmm: self, verb });
                }
                Some(other) if other.is_long() => {
                    return Err(LifecycleError::Busy { verb, other });
                }
                Some(_) => state = self.wait(state),
            }
        }
    }

    /// The same for who ends the machine: one that is being started, or moved, is ended as well, and
    /// so is the next one that somebody begins meanwhile. Gives whether there was one.
    fn begin_end(&self, verb: Verb) -> Result<(AtWork<'_>, bool), LifecycleError> {
        let mut ended = false;
        let mut state = self.lock();
        loop {
            match state.at_work {
                _ if state.leave.is_some() => return Err(LifecycleError::Ending),
                None => {
                    state.at_work = Some(verb);
                    return Ok((AtWork { vmm: self, verb }, ended));
                }
                Some(other @ Verb::Snapshot) => return Err(LifecycleError::Busy { verb, other }),
                // One that has not got as far yet tells when it has.
                Some(other) if other.is_long() && !matches!(state.stage, Stage::Idle) => {
                    ended = true;
                    self.0.control.stop();
                }
                Some(_) => {}
            }
            state = self.wait(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, mut condition: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while condition(&state) {
            state = self.wait(state);
        }
        state
    }
}

impl Shared {
    /// The machine tells something.
    fn hear(&self, told: Told) {
        let mut state = lock(&self.state);
        let event = match (&state.stage, told) {
            (Stage::Starting(_), Told::Runs) => "booted",
            (Stage::Running(_), Told::Runs) => "rebooted",
            (_, Told::Restarts) => "rebooting",
            (Stage::Idle, Told::Runs) => return,
        };
        // Before those who wait do something else.
        self.monitor.event("vm", event);
        match &mut state.stage {
            Stage::Starting(waiting) => {
                if let Some(waiting) = waiting.take() {
                    let _ = waiting.send(Ok(()));
                }
                state.stage = Stage::Running(1);
            }
            Stage::Running(starts) if told == Told::Runs => *starts += 1,
            _ => {}
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Where the machine is in its life, if there is one.
    fn state_of(&self, state: &State) -> VmState {
        match state.stage {
            Stage::Running(_) if self.control.is_paused() => VmState::Paused,
            Stage::Running(_) => VmState::Running,
            Stage::Idle | Stage::Starting(_) => VmState::Created,
        }
    }
}

/// Somebody works alone.
#[derive(Debug)]
struct AtWork<'a> {
    vmm: &'a Vmm,
    verb: Verb,
}

impl AtWork<'_> {
    /// The machine is there and in this state.
    fn needs(&self, wanted: impl FnOnce(VmState) -> bool) -> Result<(), LifecycleError> {
        let state = self.vmm.lock();
        if state.vm.is_none() {
            return Err(LifecycleError::NotCreated);
        }
        let found = self.vmm.0.state_of(&state);
        match wanted(found) {
            true => Ok(()),
            false => Err(LifecycleError::WrongState { verb: self.verb, state: found }),
        }
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.vmm.lock().at_work = None;
        self.vmm.0.changed.notify_all();
    }
}
