//! How time is measured on a machine that has other things to do, too.

use std::time::{Duration, Instant};

use crate::unit::Unit;

/// In a line, for whoever reads figures.
pub const METHOD: &str = "of each thing, the shortest of many runs";

/// How many calls are timed together: long beside the clock's own cost, short beside the time
/// between two interruptions.
pub const LAP: u64 = 2_000;

/// The time of one run, put together from laps: of each, the shortest of all runs.
///
/// Runs do the same thing. What is disturbed in one of them is not in another, so the sum is what a
/// run costs when nothing else happens.
#[derive(Debug, Default)]
pub struct Laps {
    shortest: Vec<Duration>,
    lap: usize,
    done: u64,
    started: Option<Instant>,
}

impl Laps {
    /// Runs `run` at least `at_least` times, and for about `time`, in turns with the unit that it is
    /// judged by; gives the time of one run.
    pub fn time(
        time: Duration,
        at_least: u32,
        unit: &mut Unit,
        mut run: impl FnMut(&mut Self),
    ) -> Duration {
        let mut laps = Self::default();
        let start = Instant::now();
        let mut runs = 0;
        while runs < at_least || start.elapsed() < time {
            unit.turn();
            (laps.lap, laps.done, laps.started) = (0, 0, Some(Instant::now()));
            run(&mut laps);
            laps.end_lap();
            runs += 1;
        }
        laps.shortest.iter().sum()
    }

    /// So many calls of this run are made.
    #[inline]
    pub fn made(&mut self, calls: u64) {
        if calls - self.done >= LAP {
            self.done = calls;
            self.end_lap();
        }
    }

    /// Something that is timed on its own is done.
    pub fn end_lap(&mut self) {
        let now = Instant::now();
        let took = self.started.map_or(Duration::MAX, |started| now - started);
        match self.shortest.get_mut(self.lap) {
            Some(shortest) => *shortest = took.min(*shortest),
            None => self.shortest.push(took),
        }
        self.lap += 1;
        self.started = Some(Instant::now());
    }
}

/// Nanoseconds of each of `count` things that took `time` together.
pub fn ns_each(time: Duration, count: u64) -> f64 {
    time.as_nanos() as f64 / count as f64
}

/// The machine's processors, in a few words.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
    };
    let models = info.lines().filter_map(field);
    let models: Vec<String> = models
        .filter(|(name, _)| name == "model name" || name == "cpu")
        .map(|(_, value)| value)
        .collect();
    let model = models.first().map_or("an unknown processor", String::as_str);
    format!("{} x {model}", models.len().max(1))
}
