//! When a run got how far, for those who ask.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How far a run is, in the order in which it comes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// The command line is understood.
    Understood,
    /// The machine is known, and the files that it is started from are open.
    Configured,
    /// The back end is there, and what is behind the devices is open.
    Opened,
    /// RAM is mapped.
    Ram,
    /// The back end has made the virtual machine and its CPUs.
    Machine,
    /// Program, initial RAM disk and tree are in their places.
    Loaded,
    /// The first CPU executes the guest's first instruction.
    Entered,
    /// The last call of the client interface is answered: a kernel is on its own.
    LastClientCall,
    /// The guest has switched itself off or restarts, or somebody wants it to end.
    Stopped,
    /// All CPUs have stopped.
    Ended,
}

/// When that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// On the host's clock.
    pub at: Instant,
    /// What the process had worked until then, on all processors, where it was asked for; what comes
    /// before its first instruction is in it.
    pub processor: Option<Duration>,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills the structure.
        let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        let processor = (done == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
        Self { at: Instant::now(), processor }
    }
}

/// The moments of a run: those of a machine's first start, and how long it was between others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moments {
    start: Option<Moment>,
    reached: BTreeMap<Phase, Moment>,
    /// When a guest last asked for a restart, and when its first CPU was entered then.
    restart: Option<(Instant, Option<Instant>)>,
    /// The restarts before that.
    restarts: u64,
    longest_restart: Duration,
}

impl Moments {
    /// Those of a run that began at `start`.
    pub(crate) fn since(start: Option<Moment>) -> Self {
        Self { start, ..Self::default() }
    }

    /// When a phase was reached first, if it was.
    pub fn of(&self, phase: Phase) -> Option<Moment> {
        self.reached.get(&phase).copied()
    }

    /// How often the guest restarted, and the longest time that it took from its wish to its next first
    /// instruction.
    pub fn restarts(&self) -> (u64, Duration) {
        let last = self.restart.and_then(|(asked, entered)| Some(entered?.duration_since(asked)));
        let longest = self.longest_restart.max(last.unwrap_or_default());
        (self.restarts + u64::from(last.is_some()), longest)
    }

    /// The phase is reached now, if it was not before.
    pub(crate) fn reach(&mut self, phase: Phase) {
        self.reached.entry(phase).or_insert_with(Moment::now);
    }

    /// A call of the client interface is answered, at this time. There may be very many: nothing else is
    /// asked for.
    pub(crate) fn answer_client(&mut self, at: Instant) {
        self.reached.insert(Phase::LastClientCall, Moment { at, processor: None });
    }

    /// A guest asks for a restart.
    pub(crate) fn ask_for_restart(&mut self) {
        self.ask_for_restart_at(Instant::now());
    }

    fn ask_for_restart_at(&mut self, asked: Instant) {
        (self.restarts, self.longest_restart) = self.restarts();
        self.restart = Some((asked, None));
    }

    /// Takes in what a CPU reached: what any of them reached first counts, in the machine's first start,
    /// and since the last wish for another.
    pub(crate) fn add(&mut self, part: &Self) {
        if let (Some((asked, first)), Some(entered)) = (&mut self.restart, part.of(Phase::Entered))
        {
            if entered.at >= *asked {
                *first = Some(first.map_or(entered.at, |first| first.min(entered.at)));
            }
        }
        for (&phase, &moment) in &part.reached {
            let first = self.reached.entry(phase).or_insert(moment);
            if moment.at < first.at {
                *first = moment;
            }
        }
    }
}

/// A line for each, clock and processor time since the start.
impl fmt::Display for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(start) = self.start else { return Ok(()) };
        writeln!(f, "moments, since the start: by the clock, and processor time")?;
        let began = (None, &start);
        let reached = self.reached.iter().map(|(phase, moment)| (Some(phase), moment));
        for (phase, moment) in std::iter::once(began).chain(reached) {
            let name = phase.map_or("begun", Phase::name);
            let clock = moment.at.saturating_duration_since(start.at).as_secs_f64();
            write!(f, "  {name:<20}{clock:>12.6} s")?;
            match moment.processor {
                Some(processor) => writeln!(f, "{:>12.6} s", processor.as_secs_f64())?,
                None => writeln!(f)?,
            }
        }
        let (restarts, longest) = self.restarts();
        if restarts > 0 {
            writeln!(f, "restarts")?;
            writeln!(f, "  {:<32}{restarts:>12}", "count")?;
            writeln!(f, "  {:<32}{:>12.6} s", "longest of them", longest.as_secs_f64())?;
        }
        Ok(())
    }
}

impl Phase {
    /// As statistics call it.
    fn name(&self) -> &'static str {
        match self {
            Self::Understood => "understood",
            Self::Configured => "configured",
            Self::Opened => "opened",
            Self::Ram => "RAM",
            Self::Machine => "machine",
            Self::Loaded => "loaded",
            Self::Entered => "entered",
            Self::LastClientCall => "last client call",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(moment: Moment, millis: u64) -> Moment {
        let time = Duration::from_millis(millis);
        Moment { at: moment.at + time, processor: moment.processor.map(|before| before + time) }
    }

    #[test]
    fn first_starts_count_and_restarts_are_measured() {
        let start = Moment { at: Instant::now(), processor: Some(Duration::from_micros(500)) };
        let mut moments = Moments::since(Some(start));
        let part = |millis| Moments {
            reached: BTreeMap::from([(Phase::Entered, later(start, millis))]),
            ..Moments::default()
        };
        // CPUs end in any order.
        for millis in [7, 5] {
            moments.add(&part(millis));
        }
        moments.ask_for_restart_at(later(start, 10).at);
        for millis in [8, 9] {
            moments.add(&part(millis));
        }
        moments.add(&Moments::default());
        assert_eq!(moments.restarts(), (0, Duration::ZERO));
        for millis in [14, 13, 20] {
            moments.add(&part(millis));
        }
        assert_eq!(moments.restarts(), (1, Duration::from_millis(3)));
        moments.ask_for_restart_at(later(start, 30).at);
        assert_eq!(moments.restarts(), (1, Duration::from_millis(3)));
        moments.add(&part(31));
        assert_eq!(moments.restarts(), (2, Duration::from_millis(3)));
        assert_eq!(moments.of(Phase::Entered), Some(later(start, 5)));
        let mut last = Moments::default();
        for millis in [21, 22] {
            last.answer_client(later(start, millis).at);
        }
        moments.add(&last);
        let text = moments.to_string();
        assert!(text.contains("  begun                   0.000000 s    0.000500 s\n"), "{text}");
        assert!(text.contains("  entered                 0.005000 s    0.005500 s\n"), "{text}");
        assert!(text.contains("  last client call        0.022000 s\n"), "{text}");
        assert!(text.ends_with("  longest of them                     0.003000 s\n"), "{text}");
        assert_eq!(Moments::default().to_string(), "");
    }

    #[test]
    fn time_goes_on() {
        let (first, second) = (Moment::now(), Moment::now());
        assert!(first.at <= second.at && first.processor <= second.processor);
        assert!(first.processor > Some(Duration::ZERO));
    }
}
