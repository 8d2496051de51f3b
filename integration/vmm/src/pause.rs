//! A machine that stands still, and goes on: its CPUs and all that works for its devices.
//!
//! [`Control::pause`] and [`Control::resume`] are for whoever runs a machine, from any thread. In
//! between, no guest code runs, nothing writes to the machine's RAM, and nothing is lost: what comes
//! from outside waits. The guest's time stands still, and goes on where it stood: its time base, its
//! timers, the milliseconds of the client interface. The time of day that RTAS tells is the host's, as
//! a battery-backed clock goes on while a machine sleeps: a guest that asks for it has the right one.

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
        } else {
            halves.resume_clock();
        }
        state.halves = Some(halves);
    }

    /// A machine is there that was saved, and stands still already. Whether it was to stand still before.
    pub(crate) fn begin_paused(&self, halves: Halves) -> bool {
        let mut state = self.lock();
        state.halves = Some(halves);
        std::mem::replace(&mut state.paused, true)
    }

    /// It ends.
    pub(crate) fn end_halves(&self) {
        let mut state = self.lock();
        (state.halves, state.live) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch_ppc64::platform::{Device, PlatformError, StateError, outline_with};
    use arch_ppc64::smp::Mailboxes;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::Instant;

    use crate::config::VmConfig;
    use crate::end::lock;

    /// A device that takes its time to come to rest, and says when it begins.
    struct Slow {
        begun: Mutex<Sender<()>>,
        rests: AtomicBool,
    }

    impl Device for Slow {
        fn id(&self) -> &str {
            "slow"
        }

        fn pause(&self, _: Instant) -> Result<(), StateError> {
            lock(&self.begun).send(()).unwrap();
            thread::sleep(Duration::from_millis(50));
            self.rests.store(true, Ordering::SeqCst);
            Ok(())
        }

        fn resume(&self) -> Result<(), StateError> {
            self.rests.store(false, Ordering::SeqCst);
            Ok(())
        }
    }

    /// A machine without CPUs of its own.
    struct Bench {
        control: Control,
        slow: Arc<Slow>,
        begun: Receiver<()>,
    }

    impl Bench {
        fn new() -> Self {
            let (sender, begun) = channel();
            let slow = Arc::new(Slow { begun: Mutex::new(sender), rests: AtomicBool::new(false) });
            Self { control: Control::new(), slow, begun }
        }

        /// It starts.
        fn starts(&self) -> Arc<Mailboxes> {
            let machine = arch_ppc64::Machine::new(&VmConfig::default()).unwrap();
            let mailboxes = Arc::new(Mailboxes::new());
            let platform = outline_with(&machine, |builder| {
                builder.add(self.slow.clone());
                Ok::<_, PlatformError>(())
            });
            let halves = Halves::new(mailboxes.clone(), Arc::new(platform.unwrap()), None);
            self.control.begin_halves(halves);
            mailboxes
        }
    }

    /// Whoever asks while a machine comes to rest waits for that.
    #[test]
    fn what_is_told_is_what_the_machine_does_whoever_asked_last() {
        let bench = Bench::new();
        let mailboxes = bench.starts();
        thread::scope(|scope| {
            scope.spawn(|| bench.control.pause(Duration::MAX).unwrap());
            bench.begun.recv().unwrap();
            bench.control.resume().unwrap();
        });
        assert!(!bench.control.is_paused() && !mailboxes.is_paused());
        assert!(!bench.slow.rests.load(Ordering::SeqCst));
    }

    #[test]
    fn a_machine_that_starts_again_stands_still_as_before() {
        let bench = Bench::new();
        let first = bench.starts();
        bench.control.pause(Duration::MAX).unwrap();
        assert!(first.is_paused());
        bench.control.end_halves();
        let second = bench.starts();
        assert!(second.is_paused() && bench.control.is_paused());
        bench.control.resume().unwrap();
        assert!(!second.is_paused());
    }
}
