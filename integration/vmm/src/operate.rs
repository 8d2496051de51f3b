//! What whoever controls a machine can do to its run, and is told of it.

use std::fmt;
use std::sync::{Arc, Mutex};

use arch_ppc64::rtas::PowerButton;

use crate::end::{End, Why};
use crate::locks::lock;

/// What a machine tells whoever listens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It runs, from here on, in one of its starts.
    Runs,
    /// A start is over, and another one comes.
    Restarts,
}

/// Who listens. It is called on the machine's thread, and does not wait for the machine.
type Listener = Arc<dyn Fn(Told) + Send + Sync>;

/// A machine's run, as it can be got at from outside.
#[derive(Default)]
pub(crate) struct Operated(Mutex<Hold>);

#[derive(Default)]
struct Hold {
    end: Option<Arc<End>>,
    /// Somebody wants the end of a run that has not begun.
    is_stopped: bool,
    power_button: Option<PowerButton>,
    listener: Option<Listener>,
}

/// There is no machine to do it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no machine is running")]
pub(crate) struct NotRunning;

impl Operated {
    /// From here on `listener` is told.
    pub(crate) fn listen(&self, listener: Listener) {
        lock(&self.0).listener = Some(listener);
    }

    pub(crate) fn tell(&self, told: Told) {
        let listener = lock(&self.0).listener.clone();
        if let Some(listener) = listener {
            listener(told);
        }
    }

    /// A run begins, which ends by `end`.
    pub(crate) fn begin(&self, end: &Arc<End>) {
        let mut hold = lock(&self.0);
        hold.end = Some(end.clone());
        if std::mem::take(&mut hold.is_stopped) {
            end.because(Why::Stopped);
        }
    }

    /// It is over.
    pub(crate) fn finish(&self) {
        let mut hold = lock(&self.0);
        (hold.end, hold.power_button, hold.is_stopped) = (None, None, false);
    }

    pub(crate) fn connect_power_button(&self, button: Option<PowerButton>) {
        lock(&self.0).power_button = button;
    }

    /// Ends the run, or the next one as soon as it begins.
    pub(crate) fn stop(&self) {
        let mut hold = lock(&self.0);
        match &hold.end {
            Some(end) => end.because(Why::Stopped),
            None => hold.is_stopped = true,
        }
    }

    /// Whether somebody wants the end of a run that has not begun.
    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.0).is_stopped
    }

    pub(crate) fn reboot(&self) -> Result<(), NotRunning> {
        lock(&self.0).end.as_ref().ok_or(NotRunning)?.because(Why::Reboot);
        Ok(())
    }

    pub(crate) fn press_power_button(&self) -> Result<(), NotRunning> {
        lock(&self.0).power_button.as_ref().ok_or(NotRunning)?.press();
        Ok(())
    }
}

impl fmt::Debug for Operated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operated").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_stopped_before_it_begins_ends_at_once() {
        let operated = Operated::default();
        operated.stop();
        let end = Arc::new(End::new().unwrap());
        operated.begin(&end);
        assert!(matches!(end.take(), Some(Why::Stopped)));
        // Only that one.
        operated.finish();
        operated.begin(&end);
        assert!(!end.is_wanted());
        operated.reboot().unwrap();
        operated.stop();
        assert!(matches!(end.take(), Some(Why::Stopped)), "an end outranks another start");
        operated.finish();
        assert_eq!(operated.reboot(), Err(NotRunning));
        assert_eq!(operated.press_power_button(), Err(NotRunning));
    }
}
