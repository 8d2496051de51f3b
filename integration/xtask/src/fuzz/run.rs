//! Fuzzers, some at a time, up to the first finding.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::failure::{Attempt, Ending, Failure, Result};
use crate::patience::SAY;
use crate::program::{ended, progress};
use crate::signals::Signals;
use crate::terminal;

use super::fuzzer::Fuzzer;
use super::plan::Plan;

/// How often the fuzzers are looked at.
const TICK: Duration = Duration::from_millis(200);

/// How long an interrupted fuzzer has to end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Runs them all; a line each goes to standard output. Fails at the first finding.
pub(super) fn run_all(plan: &Plan) -> Result<u8> {
    let mut output = io::stdout();
    let mut signals = Signals::take().attempt(|| "handle signals".into())?;
    let mut waiting: VecDeque<_> = plan.targets.iter().copied().enumerate().collect();
    let mut running: Vec<(Fuzzer, Instant)> = Vec::new();
    let mut line = ProgressLine::new();
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < plan.at_a_time {
            let Some((number, target)) = waiting.pop_front() else { break };
            running.push((Fuzzer::start(target, plan, number)?, Instant::now()));
        }
        if let Some(signal) = signals.within(TICK).attempt(|| "read a signal".into())? {
            line.end();
            end(&mut running);
            let said = "interrupted; what was found so far is kept";
            return Err(Failure::new(said).ending(Ending::Signal(signal)));
        }
        let mut place = 0;
        while let Some((fuzzer, _)) = running.get_mut(place) {
            let Some(status) = fuzzer.look()? else {
                place += 1;
                continue;
            };
            line.end();
            let (fuzzer, start) = running.remove(place);
            if !status.success() {
                end(&mut running);
                return Err(finding(&fuzzer, status));
            }
            let (name, seconds) = (fuzzer.target.name, start.elapsed().as_secs());
            let text = format!("{name:<14}{seconds:>5} s  {}\n", fuzzer.figures.summary());
            let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
            written.attempt(|| "write to standard output".into())?;
        }
        line.show(&running, plan, waiting.len());
    }
    Ok(0)
}

/// What somebody needs to know of an input that breaks something.
fn finding(fuzzer: &Fuzzer, status: ExitStatus) -> Failure {
    let name = fuzzer.target.name;
    let said = fuzzer.figures.tail();
    let log = fuzzer.log().display();
    match &fuzzer.figures.finding {
        Some(input) => {
            let input = input.display();
            Failure::new(format!(
                "{said}\n\n{name} breaks with the input {input}\nRepeat it with\n  \
                 cargo xtask fuzz {name} --input {input}\nAll that was said is in {log}"
            ))
        }
        None => Failure::new(format!("{said}\n\n{name} {}, without a finding", ended(status))),
    }
}

/// Ends what is running, and gives it time to say so.
fn end(running: &mut Vec<(Fuzzer, Instant)>) {
    for (fuzzer, _) in running.iter() {
        fuzzer.interrupt(libc::SIGINT);
    }
    let deadline = Instant::now() + LAST_WORDS;
    let is_running = |fuzzer: &mut Fuzzer| matches!(fuzzer.look(), Ok(None));
    while running.iter_mut().any(|(fuzzer, _)| is_running(fuzzer)) && Instant::now() < deadline {
        std::thread::sleep(TICK / 10);
    }
    running.clear();
}

/// One line that is written over, or one a minute where that cannot be.
struct ProgressLine {
    is_shown: bool,
    said: Instant,
}

impl ProgressLine {
    fn new() -> Self {
        Self { is_shown: false, said: Instant::now() }
    }

    fn show(&mut self, running: &[(Fuzzer, Instant)], plan: &Plan, waiting: usize) {
        let Some((_, start)) = running.first() else { return };
        let of_each = |(fuzzer, _): &(Fuzzer, Instant)| {
            format!("{}: {}", fuzzer.target.name, fuzzer.figures.summary())
        };
        let text = format!(
            "{} of {} s, {waiting} to come; {}",
            start.elapsed().as_secs(),
            plan.time.as_secs(),
            running.iter().map(of_each).collect::<Vec<_>>().join("; ")
        );
        match terminal::size() {
            Some((_, columns)) => {
                let text: String = text.chars().take(usize::from(columns) - 1).collect();
                eprint!("\r{text}\x1b[K");
                self.is_shown = true;
            }
            None if self.said.elapsed() >= SAY => {
                progress!("{text}");
                self.said = Instant::now();
            }
            None => {}
        }
    }

    /// Makes place for other text.
    fn end(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            eprint!("\r\x1b[K");
        }
    }
}
