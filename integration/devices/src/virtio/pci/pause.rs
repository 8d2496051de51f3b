//! A function comes to rest, and goes on.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use arch_ppc64::platform::StateError;
use vm_memory::GuestAddressSpace;

use super::activity::Activity;
use super::setup::MISTAKES;
use super::threads::Wait;
use super::{Inactive, Run, VirtioPci};

impl<M: GuestAddressSpace> VirtioPci<M> {
    /// Has all that works for the device rest.
    pub(super) fn rest(&self, until: Instant) -> Result<(), StateError> {
        let activity = {
            let mut state = self.state();
            if std::mem::replace(&mut state.rests, true) {
                return Ok(());
            }
            match &state.run {
                Run::Active(activity) | Run::Ending { activity, .. } => Some(Arc::clone(activity)),
                Run::Idle | Run::Due(_) => None,
            }
        };
        self.come_to_rest(activity.as_deref(), until).inspect_err(|_| {
            // What fails then is told to the driver, and the other reason is the first.
            let _ = self.go_on();
        })
    }

    fn come_to_rest(&self, activity: Option<&Activity>, until: Instant) -> Result<(), StateError> {
        let busy = || StateError::Busy("a request is not done by the host".to_owned());
        // Without a lock: the driver may reset the device meanwhile, or somebody the machine.
        if !self.ports.iter().all(|port| port.rest(until)) {
            return Err(busy());
        }
        let limit = Wait::AtMost(until.saturating_duration_since(Instant::now()));
        if activity.is_some_and(|activity| !activity.rest(limit)) {
            return Err(busy());
        }
        let mut state = self.state();
        self.finish(&mut state, Wait::No);
        if let Run::Active(activity) = &state.run {
            self.device().pause(&self.memory, until)?;
            activity.settle();
        }
        Ok(())
    }

    /// Has all that works for the device go on, or begin with what was saved.
    pub(super) fn go_on(&self) -> Result<(), StateError> {
        let mut state = self.state();
        state.rests = false;
        let result = match std::mem::replace(&mut state.run, Run::Idle) {
            Run::Active(activity) => {
                let resumed = self.device().resume(&self.memory);
                activity.go_on();
                state.run = Run::Active(activity);
                resumed.map_err(Inactive::from)
            }
            Run::Due(used) => self.begin(&mut state, &used),
            run @ (Run::Idle | Run::Ending { .. }) => {
                state.run = run;
                Ok(())
            }
        };
        for port in &self.ports {
            port.go_on();
        }
        self.follow(&mut state);
        result.map_err(|error| {
            MISTAKES.warn(format_args!("{} cannot go on: {error}", self.id));
            self.signals.needs_reset(true);
            io::Error::other(error).into()
        })
    }
}
