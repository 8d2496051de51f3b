//! A machine that stands still, and goes on: its CPUs and all that works for its devices.
//!
//! [`Control::pause`] and [`Control::resume`] are for whoever runs a machine, from any thread. In
//! between, no guest code runs, nothing writes to the machine's RAM, and nothing is lost: what comes
//! from outside waits. The host's time goes on, and the guest's with it.

use std::time::Duration;

use crate::halves::Halves;
use crate::resize::Control;

pub use crate::halves::PauseError;

impl Control {
    /// Has the machine stand still, in this time. One that is starting again at the moment stands
    /// still from its start on. Again is no change.
    ///
    /// # Errors
    /// [`PauseError`] names what does not come to rest; the machine goes on then.
    pub fn pause(&self, limit: Duration) -> Result<(), PauseError> {
        let _turn = self.turn();
        let Some(halves) = self.set_paused(true)? else { return Ok(()) };
        halves.pause(limit).inspect_err(|_| {
            // What cannot go on either is told to the guest, and the other reason is the first.
            let _ = self.go_on();
        })
    }

    /// Has the machine go on. One that has not been paused is not changed.
    ///
    /// # Errors
    /// [`PauseError::Device`] names a device that cannot go on: its driver is told that it needs a
    /// reset, and all else goes on.
    pub fn resume(&self) -> Result<(), PauseError> {
        let _turn = self.turn();
        self.go_on()
    }

    fn go_on(&self) -> Result<(), PauseError> {
        let Some(halves) = self.set_paused(false)? else { return Ok(()) };
        Ok(halves.resume()?)
    }

    /// Whether it was paused and has not been told to go on.
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Says whether the machine is to stand still; gives what there is of it.
    fn set_paused(&self, paused: bool) -> Result<Option<Halves>, PauseError> {
        let mut state = self.lock();
        if state.is_idle() {
            return Err(PauseError::NotRunning);
        }
        state.paused = paused;
        Ok(state.halves.clone())
    }

    /// A machine is there, and is about to start.
    pub(crate) fn begin_halves(&self, halves: Halves) {
        let mut state = self.lock();
        if state.paused {
            halves.hold();
        }
        state.halves = Some(halves);
    }

    /// It ends.
    pub(crate) fn end_halves(&self) {
        self.lock().halves = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch_ppc64::platform::outline;
    use arch_ppc64::smp::Mailboxes;
    use std::sync::Arc;
    use std::thread;

    use crate::config::VmConfig;

    /// A machine without CPUs of its own.
    fn machine() -> (Control, Arc<Mailboxes>) {
        let machine = arch_ppc64::Machine::new(&VmConfig::default()).unwrap();
        let (control, mailboxes) = (Control::new(), Arc::new(Mailboxes::new()));
        let platform = Arc::new(outline(&machine).unwrap());
        control.begin_halves(Halves::new(mailboxes.clone(), platform));
        (control, mailboxes)
    }

    #[test]
    fn what_is_told_is_what_the_machine_does_whoever_asked_last() {
        let (control, mailboxes) = machine();
        for _ in 0..2000 {
            thread::scope(|scope| {
                scope.spawn(|| control.pause(Duration::MAX).unwrap());
                scope.spawn(|| control.resume().unwrap());
            });
            assert_eq!(control.is_paused(), mailboxes.is_paused());
        }
    }
}
