//! A guest that moves from process to process, by a line that is cut, to destinations that are killed:
//! it always runs, and nowhere twice.

use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::account::{self, Count};
use crate::failure::{Failure, Result};
use crate::figures::Figures;
use crate::machine::{Machine, Options};
use crate::patience::HANG;
use crate::process::Process;
use crate::proxy::{Cut, Passed, Proxy};

/// How long the one that runs is looked at, for another one that runs as well.
const LOOK: Duration = Duration::from_millis(300);

/// So many bytes, more or less, the destination says last.
const HAND_OVER_BYTES: u64 = 32;

/// How long both sides may take to tell of a machine what is so.
const SETTLED: Duration = Duration::from_secs(120);

/// Moves a guest over and over; it has to notice nothing
#[derive(Debug, Args)]
pub(crate) struct Migrations {
    #[command(flatten)]
    options: Options,

    /// How often the line is cut, at random points
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    cuts: u32,

    /// How often the destination is killed, at random points
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    kills: u32,

    /// How often it is moved before that, with nothing in the way
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    moves: u32,

    /// For how long it may stand still, each time, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100)]
    downtime_ms: u64,

    /// Where the points come from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

impl Migrations {
    pub(crate) fn run(&self) -> Result<()> {
        let mut mover = Mover::new(Machine::start(&self.options)?, self.downtime_ms);
        let mut figures = Figures::default();
        let mut whole = mover.whole(&mut figures)?;
        for _ in 1..self.moves {
            whole = mover.whole(&mut figures)?;
        }
        let mut random = Random(self.seed);
        for cut in 1..=self.cuts {
            let Passed { forward, backward } = whole.passed;
            let cut_at = match cut % 3 {
                0 => Cut::Backward(random.below(backward)),
                1 => Cut::Forward(random.below(forward)),
                // Where the machine is handed over.
                _ => Cut::Answer(backward.saturating_sub(random.below(HAND_OVER_BYTES))),
            };
            let done = mover.moves(Break::Cut(cut_at))?;
            done.print(&format!("cut {cut}, {cut_at:?}"));
        }
        for kill in 1..=self.kills {
            // Before the guest is handed over.
            let after = random.below(whole.passed.forward / 2);
            let done = mover.moves(Break::Kill(after))?;
            done.print(&format!("kill {kill}, after {after} bytes"));
            if done.has_moved {
                return Err(Failure::new("the guest moved to a process that was killed before"));
            }
        }
        // Whatever happened, it can go to another process still.
        mover.whole(&mut figures)?;
        let witnessed = mover.machine.finish()?;
        figures.print();
        println!("{} migrations, and the guest has noticed nothing: {witnessed}", mover.count);
        Ok(())
    }
}

/// What happens to a migration.
#[derive(Debug, Clone, Copy)]
enum Break {
    None,
    Cut(Cut),
    /// The destination is killed when it has got so many bytes.
    Kill(u64),
}

/// A guest, and a process that it may move to.
#[derive(Debug)]
struct Mover<'a> {
    machine: Machine<'a>,
    destination: Option<Process>,
    downtime_ms: u64,
    count: u32,
}

/// How a migration ended.
#[derive(Debug)]
struct Moved {
    has_moved: bool,
    passed: Passed,
    was_cut: bool,
    /// From the request to its answer.
    time: Duration,
    /// For how long nothing was heard of the guest when it moved, by the network.
    silence: Option<Duration>,
    /// The longest of the guest's own gaps meanwhile.
    gap: Duration,
    peer: Duration,
    /// What the source said.
    said: String,
}

impl Moved {
    fn print(&self, name: &str) {
        let Self { has_moved, passed, was_cut, time, silence, gap, peer, said } = self;
        let to = if *has_moved { "moved" } else { "stayed" };
        let line = if *was_cut { ", then the line was cut" } else { "" };
        let silence = silence.map_or_else(String::new, |time| format!(", silent for {time:.1?}"));
        println!(
            "{name}: {to} in {time:.1?}{silence}; longest gap {gap:.1?} by its clock, {peer:.1?} by \
             its peer's; {} and {} bytes{line}; the source says {said:?}",
            passed.forward, passed.backward
        );
    }
}

impl<'a> Mover<'a> {
    fn new(machine: Machine<'a>, downtime_ms: u64) -> Self {
        Self { machine, destination: None, downtime_ms, count: 0 }
    }

    /// Moves the guest, with nothing in the way.
    fn whole(&mut self, figures: &mut Figures) -> Result<Moved> {
        let moved = self.moves(Break::None)?;
        moved.print("whole");
        if !moved.has_moved {
            return Err(Failure::new("a migration that nobody broke did not move the guest"));
        }
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        figures.add("migration, ms", ms(moved.time));
        figures.add("migration, MiB", moved.passed.forward as f64 / f64::from(1 << 20));
        figures.add("silence on the network, ms", ms(moved.silence.unwrap_or_default()));
        figures.add("longest gap by the guest's clock, ms", ms(moved.gap));
        figures.add("longest gap of ticks by the peer's clock, ms", ms(moved.peer));
        Ok(moved)
    }

    /// Moves the guest, or tries to. Wherever it is then, it runs there and nowhere else.
    fn moves(&mut self, how: Break) -> Result<Moved> {
        self.count += 1;
        // One that has failed once takes another.
        let mut destination = match self.destination.take() {
            Some(process) => process,
            None => self.machine.another(&[])?,
        };
        destination.listens()?;
        let counted = account::counts(&self.machine.console()?).count();
        let turns = self.machine.network.turns().len();
        let Tried { sent, received, passed, was_cut, time } = self.try_to(&mut destination, how)?;

        // A machine that has gone may be told of for a moment. One that runs does so longer than that.
        let began = Instant::now();
        let (here, there) = loop {
            let states = (state(&mut self.machine.process)?, state(&mut destination)?);
            if (states.0 == RUNNING) != (states.1 == RUNNING) || began.elapsed() > SETTLED {
                break states;
            }
        };
        let says = format!(
            "the source says {sent:?} and is {here:?}, the destination says {received:?} and is \
             {there:?}"
        );
        let has_moved = match (here == RUNNING, there == RUNNING) {
            (true, false) => false,
            (false, true) => true,
            (true, true) => return Err(self.failed(&destination, "both run", &says)),
            (false, false) => return Err(self.failed(&destination, "none runs", &says)),
        };
        if matches!(how, Break::None) && has_moved != sent.is_ok() {
            return Err(self.failed(&destination, "the source is wrong about it", &says));
        }
        if has_moved {
            // The source of a guest that has left has nothing more to do with it.
            self.machine.goes_on_in(destination)?.kill()?;
        } else if account::counts(&destination.console()?).next().is_some() {
            return Err(self.failed(&destination, "the destination ran for a while", &says));
        } else if there != GONE {
            self.destination = Some(destination);
        }
        self.machine.counts()?;
        thread::sleep(LOOK);
        self.machine.counts()?;
        self.machine.check()?;

        let turns = &self.machine.network.turns()[turns.saturating_sub(1)..];
        let silence = match (turns, has_moved) {
            ([_], false) => None,
            ([before, after], true) => Some(after.from - before.to),
            _ => {
                let machines: Vec<usize> = turns.iter().map(|turn| turn.machine).collect();
                return Err(Failure::new(format!("frames came from {machines:?}: {says}")));
            }
        };
        let console = self.machine.console()?;
        let since = account::counts(&console).skip(counted);
        let longest = |of: fn(&Count) -> Duration| since.clone().map(|count| of(&count)).max();
        Ok(Moved {
            has_moved,
            passed,
            was_cut,
            time,
            silence,
            gap: longest(|count| count.gap).unwrap_or_default(),
            peer: longest(|count| count.peer).unwrap_or_default(),
            said: sent.err().unwrap_or_default(),
        })
    }

    /// Has both sides do their part, up to their answers.
    fn try_to(&self, destination: &mut Process, how: Break) -> Result<Tried> {
        let folder = self.machine.folder();
        let [at, to] = ["line", "end"].map(|name| folder.join(format!("{name}-{}", self.count)));
        let receives =
            ask(destination, "vm.receive-migration", json!({ "receiver_url": url(&to) }));
        destination.until("wait for a migration", |_| Ok(to.exists() || receives.is_finished()))?;
        let cut = if let Break::Cut(cut) = how { cut } else { Cut::Never };
        let proxy = Proxy::start(&at, &to, cut)?;
        let is_killed = matches!(how, Break::Kill(_));
        let began = Instant::now();
        let options = json!({ "destination_url": url(&at), "downtime_ms": self.downtime_ms });
        let sends = ask(&self.machine.process, "vm.send-migration", options);
        if let Break::Kill(after) = how {
            while proxy.passed().forward < after && !sends.is_finished() {
                thread::sleep(Duration::from_micros(100));
            }
            destination.kill()?;
        }
        let sent = join("vm.send-migration", sends)?;
        let time = began.elapsed();
        if sent.is_err() && !is_killed {
            // One to whom nothing was offered waits for somebody else.
            thread::sleep(LOOK);
            if !receives.is_finished() {
                destination.api.put("vm.delete", None)?;
            }
        }
        let received = join("vm.receive-migration", receives)?;
        Ok(Tried { sent, received, passed: proxy.passed(), was_cut: proxy.was_cut(), time })
    }

    fn failed(&self, destination: &Process, why: &str, says: &str) -> Failure {
        let source = self.machine.process.failed(&format!("{why}: {says}"));
        destination.failed(&source.to_string())
    }
}

/// What both sides said of it.
struct Tried {
    sent: Said,
    received: Said,
    passed: Passed,
    was_cut: bool,
    time: Duration,
}

const RUNNING: &str = "Running";
const GONE: &str = "gone";

/// What a request came to: its answer, or why there is none.
type Said = std::result::Result<String, String>;

/// The state of a process's machine. A process that its guest has left ends, its API first.
fn state(process: &mut Process) -> Result<String> {
    let mut state = GONE.to_owned();
    process.until_or_end("tell its state", |process| {
        process.api.state().map(|said| state = said).is_ok()
    })?;
    Ok(state)
}

fn ask(by: &Process, what: &'static str, body: Value) -> JoinHandle<Said> {
    let api = by.api.clone();
    thread::spawn(move || api.put(what, Some(&body)).map_err(|failure| failure.to_string()))
}

fn url(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// Waits for an answer.
fn join(what: &str, said: JoinHandle<Said>) -> Result<Said> {
    let began = Instant::now();
    while !said.is_finished() {
        if began.elapsed() > HANG {
            return Err(Failure::new(format!("{what} does not end")));
        }
        thread::sleep(Duration::from_millis(1));
    }
    said.join().map_err(|_| Failure::new(format!("{what} panicked")))
}

/// An xorshift generator (Marsaglia 2003).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper bits, which are the better ones.
        (self.0 >> 20) % end.max(1)
    }
}
