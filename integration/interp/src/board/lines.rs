//! What a CPU in software is connected to: the lines that others pull.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use arch_ppc64::papr::Prod;
use arch_ppc64::xics::InterruptOutput;
use arch_ppc64::{CpuIndex, Kick};

/// Who lets CPUs execute in turns, and has to know what happens to them.
pub(super) trait Referee: fmt::Debug + Send + Sync {
    /// Something happened to this CPU.
    fn stir(&self, cpu: usize);

    /// The CPU has been told to run.
    fn expect(&self, cpu: usize);
}

/// How long a CPU that confers its cycles sleeps at most.
const CONFER: Duration = Duration::from_micros(100);

/// The lines of one CPU.
#[derive(Debug, Default)]
pub(super) struct Line {
    number: usize,
    /// Where CPUs execute in turns.
    referee: Option<Arc<dyn Referee>>,
    external: AtomicBool,
    kicked: AtomicBool,
    /// H_PROD, since the CPU last slept.
    prodded: AtomicBool,
    asleep: Mutex<()>,
    changed: Condvar,
}

impl Line {
    /// Whether the interrupt controller has an interrupt for the CPU.
    pub(super) fn external(&self) -> bool {
        self.external.load(Ordering::Acquire)
    }

    /// Whether somebody wants the CPU out of guest code; takes the wish.
    pub(super) fn take_kick(&self) -> bool {
        // Mostly nobody does, and a load is cheaper.
        self.kicked.load(Ordering::Relaxed) && self.kicked.swap(false, Ordering::SeqCst)
    }

    /// Sleeps until somebody pulls a line that is not pulled yet, or for so long. May wake early,
    /// and does not sleep where `is_awake`.
    pub(super) fn sleep(&self, limit: Duration, is_awake: impl FnOnce() -> bool) {
        let guard = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever pulls takes the lock before waking, so nothing is missed in between.
        if !self.external() && !self.is_kicked() && !self.is_prodded() && !is_awake() {
            drop(self.changed.wait_timeout(guard, limit));
        }
    }

    /// Whether a prod ends the sleep; takes it.
    pub(super) fn take_prod(&self) -> bool {
        self.prodded.swap(false, Ordering::SeqCst)
    }

    /// Whether somebody wants the CPU out of guest code; leaves the wish.
    pub(super) fn is_kicked(&self) -> bool {
        self.kicked.load(Ordering::SeqCst)
    }

    /// Sets whether it has been prodded, as a saved state says.
    pub(super) fn set_prod(&self, prodded: bool) {
        self.prodded.store(prodded, Ordering::SeqCst);
    }

    pub(super) fn is_prodded(&self) -> bool {
        self.prodded.load(Ordering::SeqCst)
    }

    /// The CPU is another one from here on, to which nothing has happened yet.
    pub(super) fn clear(&self) {
        self.kicked.store(false, Ordering::SeqCst);
        self.set_prod(false);
    }

    /// Something that ends sleep has happened.
    pub(super) fn wake(&self) {
        match &self.referee {
            Some(referee) => referee.stir(self.number),
            None => {
                drop(self.asleep.lock().unwrap_or_else(PoisonError::into_inner));
                self.changed.notify_all();
            }
        }
    }
}

impl Kick for Line {
    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn starts(&self) {
        if let Some(referee) = &self.referee {
            referee.expect(self.number);
        }
    }
}

/// The lines of all CPUs.
#[derive(Debug)]
pub(super) struct Lines(Vec<Arc<Line>>);

impl Lines {
    /// Those of so many CPUs, which execute all at once, or in turns.
    pub(super) fn new(cpus: usize, referee: Option<Arc<dyn Referee>>) -> Self {
        let line = |number| Line { number, referee: referee.clone(), ..Line::default() };
        Self((0..cpus).map(|number| Arc::new(line(number))).collect())
    }

    pub(super) fn at(&self, cpu: usize) -> Option<&Line> {
        self.0.get(cpu).map(|line| &**line)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Line>> {
        self.0.iter()
    }

    pub(super) fn of(&self, cpu: CpuIndex) -> Option<&Arc<Line>> {
        self.0.get(cpu.0 as usize)
    }
}

impl InterruptOutput for Lines {
    fn set_external_interrupt(&self, cpu: CpuIndex, asserted: bool) {
        if let Some(line) = self.of(cpu) {
            line.external.store(asserted, Ordering::SeqCst);
            if asserted {
                line.wake();
            }
        }
    }
}

impl Prod for Lines {
    fn prod(&self, target: CpuIndex) -> bool {
        let Some(line) = self.of(target) else { return false };
        line.prodded.store(true, Ordering::SeqCst);
        line.wake();
        true
    }

    fn confer(&self, caller: CpuIndex) {
        match self.of(caller) {
            // Whose turn it is next is known without it.
            Some(line) if line.referee.is_none() => line.sleep(CONFER, || false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    /// Only what hangs takes so long.
    const LONG: Duration = Duration::from_secs(600);

    /// Waits until a thread sleeps, as proc(5) tells.
    fn wait_until_asleep(thread: &str) {
        let stat = format!("/proc/{thread}/stat");
        let sleeps = || std::fs::read_to_string(&stat).unwrap().contains(") S ");
        while !sleeps() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn each_line_ends_sleep() {
        let pulls: [fn(&Lines); 3] = [
            |lines| lines.set_external_interrupt(CpuIndex(1), true),
            |lines| assert!(lines.prod(CpuIndex(1))),
            |lines| lines.0[1].kick(),
        ];
        for pull in pulls {
            let lines = Lines::new(2, None);
            std::thread::scope(|scope| {
                let start = Instant::now();
                let (send, number) = channel();
                let line = &lines.0[1];
                let sleeper = scope.spawn(move || {
                    let thread = std::fs::read_link("/proc/thread-self").unwrap();
                    send.send(thread.to_str().unwrap().to_owned()).unwrap();
                    line.sleep(LONG, || false);
                });
                wait_until_asleep(&number.recv().unwrap());
                pull(&lines);
                sleeper.join().unwrap();
                assert!(start.elapsed() < LONG);
            });
            // Pulled before: no sleep at all.
            lines.0[1].sleep(LONG, || false);
        }
    }

    #[test]
    fn there_is_no_third_cpu_of_two() {
        let lines = Lines::new(2, None);
        lines.0[0].sleep(LONG, || true);
        assert!(!lines.prod(CpuIndex(2)));
        lines.set_external_interrupt(CpuIndex(2), true);
    }
}
