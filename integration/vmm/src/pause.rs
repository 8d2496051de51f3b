//! A machine that stands still, and goes on: its CPUs and all that works for its devices.
//!
//! [`Control::pause`] and [`Control::resume`] are for whoever runs a machine, from any thread. In
//! between, no guest code runs, nothing writes to the machine's RAM, and nothing is lost: what comes
//! from outside waits. The guest's time stands still, and goes on where it stood: its time base, its
//! timers, the milliseconds of the client interface. The time of day that RTAS tells is the host's, as
//! a battery-backed clock goes on while a machine sleeps: a guest that asks for it has the right one.

use std::time::{Duration, Instant};

use crate::halves::Halves;
use crate::resize::Control;
use crate::saved::Live;

pub use crate::halves::PauseError;

impl Control {
    /// Has the machine stand still, in this time. One that is starting, or starting again, at the moment
    /// stands still from its start on, which is waited for. Again is no change.
    ///
    /// # Errors
    /// [`PauseError`] names what does not come to rest; the machine goes on then.
    pub fn pause(&self, limit: Duration) -> Result<(), PauseError> {
        let start = Instant::now();
        let _turn = self.turn_within(limit).ok_or(PauseError::Busy)?;
        let was_paused = self.is_paused();
        let paused = self.pause_in_turn(limit.saturating_sub(start.elapsed()));
        if paused.is_err() && !was_paused {
            // What cannot go on either is told to the guest, and the other reason is the first.
            let _ = self.resume_in_turn();
        }
        paused
    }

    /// The same for who has the turn, and what fails leaves it paused.
    pub(crate) fn pause_in_turn(&self, limit: Duration) -> Result<(), PauseError> {
        let start = Instant::now();
        let mut state = self.lock();
        if state.is_idle() {
            return Err(PauseError::NotRunning);
        }
        state.paused = true;
        loop {
            let left = limit.saturating_sub(start.elapsed());
            if let Some(halves) = state.halves.clone() {
                drop(state);
                // One that ends instead does nothing more, and the next is paused from its start on.
                if halves.pause(left)? {
                    return Ok(());
                }
                state = self.lock();
                let same = |present: &Halves| present.is_same(&halves);
                while state.halves.as_ref().is_some_and(same) && start.elapsed() < limit {
                    state = self.changed(state, limit.saturating_sub(start.elapsed()));
                }
            } else if state.is_idle() {
                return Err(PauseError::NotRunning);
            } else if left.is_zero() {
                return Err(PauseError::Starting);
            } else {
                state = self.changed(state, left);
            }
        }
    }

    /// Has the machine go on. One that has not been paused is not changed.
    ///
    /// # Errors
    /// [`PauseError::Device`] names a device that cannot go on: its driver is told that it needs a
    /// reset, and all else goes on.
    pub fn resume(&self) -> Result<(), PauseError> {
        let _turn = self.turn();
        self.resume_in_turn()
    }

    /// The machine stands still, and does not have its files any more: they are taken before it goes
    /// on.
    pub(crate) fn let_go(&self, live: &Live) {
        live.devices.unlock_files();
        self.lock().has_let_go = true;
    }

    /// The same as [`resume`](Self::resume) for who has the turn.
    pub(crate) fn resume_in_turn(&self) -> Result<(), PauseError> {
        let mut state = self.lock();
        if state.is_idle() {
            return Err(PauseError::NotRunning);
        }
        if state.has_let_go {
            // The host's files may not answer: whoever asks how the machine is does not wait for them.
            let live = state.live.clone();
            drop(state);
            if let Some(live) = live {
                live.devices.lock_files()?;
            }
            state = self.lock();
            if state.is_idle() {
                return Err(PauseError::NotRunning);
            }
            state.has_let_go = false;
        }
        state.paused = false;
        // Who takes up a machine that was saved has it go on when all of it is there.
        let halves = state.halves.clone().filter(|_| !state.held);
        drop(state);
        halves.map_or(Ok(()), |halves| Ok(halves.resume()?))
    }

    /// Whether it stands still, and has not been told to go on.
    pub fn is_paused(&self) -> bool {
        let state = self.lock();
        state.paused || state.held
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
        drop(state);
        self.notify();
    }

    /// A machine is there that was saved, and stands still already.
    pub(crate) fn begin_held(&self, halves: Halves) {
        let mut state = self.lock();
        (state.halves, state.held) = (Some(halves), true);
        drop(state);
        self.notify();
    }

    /// All of it is there: it goes on, unless it `stays` as it is or somebody wants it to.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub(crate) fn release(&self, stays: bool) -> Result<(), PauseError> {
        let _turn = self.turn();
        let mut state = self.lock();
        state.held = false;
        state.paused |= stays;
        let goes_on = !state.paused;
        drop(state);
        if goes_on { self.resume_in_turn() } else { Ok(()) }
    }

    /// It ends.
    pub(crate) fn end_halves(&self) {
        let mut state = self.lock();
        (state.halves, state.live, state.held) = (None, None, false);
        state.has_let_go = false;
        drop(state);
        self.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch_ppc64::platform::{Device, PlatformError, StateError, outline_with};
    use arch_ppc64::smp::{Mailboxes, Order, RunState};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use arch_ppc64::{CpuIndex, Kick};
    use vm_memory::GuestAddress;

    use crate::config::VmConfig;
    use crate::locks::lock;
    use crate::vcpu::{BackendError, Vcpu, Vm};

    /// A device that takes its time to come to rest, and says when it begins.
    struct Slow {
        begun: Mutex<Sender<()>>,
        rests: AtomicBool,
        /// How often it does not come to rest.
        refuses: Mutex<Vec<()>>,
    }

    impl Device for Slow {
        fn id(&self) -> &str {
            "slow"
        }

        fn pause(&self, _: Instant) -> Result<(), StateError> {
            lock(&self.begun).send(()).unwrap();
            if lock(&self.refuses).pop().is_some() {
                return Err(StateError::Busy("it does not want to".to_owned()));
            }
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
        clock: Option<Arc<Clock>>,
    }

    impl Bench {
        fn new() -> Self {
            let (sender, begun) = channel();
            let rests = AtomicBool::new(false);
            let slow = Slow { begun: Mutex::new(sender), rests, refuses: Mutex::default() };
            Self { control: Control::new(), slow: Arc::new(slow), begun, clock: None }
        }

        /// A start of it.
        fn halves(&self) -> (Halves, Arc<Mailboxes>) {
            let machine = arch_ppc64::Machine::new(&VmConfig::default()).unwrap();
            let mailboxes = Arc::new(Mailboxes::new());
            let platform = outline_with(&machine, |builder| {
                builder.add(self.slow.clone());
                Ok::<_, PlatformError>(())
            });
            let clock = self.clock.clone().map(|clock| clock as Arc<dyn Vm>);
            let halves = Halves::new(mailboxes.clone(), Arc::new(platform.unwrap()), clock);
            (halves, mailboxes)
        }

        /// It starts.
        fn starts(&self) -> Arc<Mailboxes> {
            let (halves, mailboxes) = self.halves();
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

    /// Each of them changes all of it or nothing, and the last one counts.
    #[test]
    fn any_number_may_ask_at_once() {
        let bench = Bench::new();
        let mailboxes = bench.starts();
        thread::scope(|scope| {
            for number in 0..6 {
                let control = bench.control.clone();
                scope.spawn(move || {
                    for round in 0..3 {
                        match (number + round) % 2 {
                            0 => control.pause(Duration::MAX).unwrap(),
                            _ => control.resume().unwrap(),
                        }
                    }
                });
            }
        });
        let rests = || bench.slow.rests.load(Ordering::SeqCst);
        let paused = bench.control.is_paused();
        assert_eq!((mailboxes.is_paused(), rests()), (paused, paused));
        bench.control.resume().unwrap();
        assert!(!mailboxes.is_paused() && !rests());
    }

    #[test]
    fn who_waits_for_another_one_waits_no_longer_than_that() {
        let bench = Bench::new();
        bench.starts();
        let turn = bench.control.turn();
        let error = bench.control.pause(Duration::from_millis(5)).unwrap_err();
        assert!(matches!(error, PauseError::Busy), "{error}");
        drop(turn);
        bench.control.pause(Duration::MAX).unwrap();
    }

    /// The machine ends while its CPUs come to rest, and starts again, which may take long.
    #[test]
    fn a_machine_that_starts_meanwhile_is_waited_for() {
        let bench = Bench::new();
        let first = bench.starts();
        // A CPU that is at something for as long as it takes.
        let cpu = first.add(Arc::new(NoKick));
        first.set_run_state(cpu, RunState::Running).unwrap();
        assert_eq!(first.wait(cpu), Order::Run);
        bench.control.begin_fixed();
        thread::scope(|scope| {
            let pauser = scope.spawn(|| bench.control.pause(Duration::MAX));
            while !first.is_paused() {
                thread::yield_now();
            }
            bench.control.end_halves();
            first.end();
            thread::sleep(Duration::from_millis(20));
            assert!(!pauser.is_finished());
            let second = bench.starts();
            pauser.join().unwrap().unwrap();
            assert!(second.is_paused());
        });
        bench.control.resume().unwrap();
        bench.control.end_halves();
        let error = bench.control.pause(Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, PauseError::Starting), "{error}");
        assert!(!bench.starts().is_paused(), "all goes on after an error");
    }

    /// Whatever somebody wants meanwhile, nothing runs before all is there, and then what was last said
    /// counts.
    #[test]
    fn a_machine_that_was_saved_is_held_until_it_is_there() {
        for (stays, wanted, paused) in [
            (false, None, false),
            (true, None, true),
            (false, Some(true), true),
            (false, Some(false), false),
        ] {
            let bench = Bench::new();
            let (halves, mailboxes) = bench.halves();
            mailboxes.pause();
            bench.control.begin_held(halves);
            assert!(bench.control.is_paused());
            match wanted {
                Some(true) => bench.control.pause(Duration::MAX).unwrap(),
                Some(false) => bench.control.resume().unwrap(),
                None => {}
            }
            assert!(mailboxes.is_paused() && bench.control.is_paused());
            bench.control.release(stays).unwrap();
            assert_eq!((mailboxes.is_paused(), bench.control.is_paused()), (paused, paused));
        }
    }

    struct NoKick;

    impl Kick for NoKick {
        fn kick(&self) {}
    }

    /// A clock that is told to stand still or to go on, as a back end's.
    #[derive(Default)]
    struct Clock(Mutex<Vec<&'static str>>);

    impl Vm for Clock {
        fn create_vcpu(&self, _: CpuIndex) -> Result<Box<dyn Vcpu>, BackendError> {
            Err(BackendError::Unsuitable("it has none".to_owned()))
        }

        fn add_memory(&self, _: GuestAddress) -> Result<(), BackendError> {
            Ok(())
        }

        fn remove_memory(&self, _: GuestAddress) -> Result<(), BackendError> {
            Ok(())
        }

        fn pause_clock(&self) {
            lock(&self.0).push("pause");
        }

        fn resume_clock(&self) {
            lock(&self.0).push("resume");
        }
    }

    /// The time that devices need to come to rest is none of the guest's, and a machine that starts has
    /// a clock that goes, whatever the one before left.
    #[test]
    fn time_stands_still_with_the_cpus() {
        let bench = Bench { clock: Some(Arc::default()), ..Bench::new() };
        let clock = bench.clock.clone().unwrap();
        let told = || std::mem::take(&mut *lock(&clock.0));
        bench.starts();
        assert_eq!(told(), ["resume"]);
        bench.control.pause(Duration::MAX).unwrap();
        assert_eq!(told(), ["pause"]);
        bench.control.resume().unwrap();
        assert_eq!(told(), ["resume"]);
        lock(&bench.slow.refuses).push(());
        assert!(matches!(bench.control.pause(Duration::MAX), Err(PauseError::Device(_))));
        assert_eq!(told(), ["pause", "resume"]);
        bench.control.pause(Duration::MAX).unwrap();
        bench.control.end_halves();
        bench.starts();
        assert_eq!(told(), ["pause", "pause"]);
    }
}
