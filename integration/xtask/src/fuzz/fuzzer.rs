//! One fuzzer at work, and what it says.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use crate::failure::{Attempt, Result};
use crate::folders;
use crate::patience::HANG;
use crate::program::line;

use super::plan::Plan;
use super::{Target, corpus, findings};

/// What an input may cost: seconds, which end only what hangs, and MiB in all.
pub(super) const LIMITS: [&str; 2] = ["-timeout=600", "-rss_limit_mb=1024"];

/// How much of what it says is shown with a finding.
const TAIL_LINES: usize = 40;

/// A fuzzer that runs.
#[derive(Debug)]
pub(super) struct Fuzzer {
    pub(super) target: &'static Target,
    child: Child,
    lines: Receiver<String>,
    /// Later than an input ends that is begun in time, and than one that hangs is given up.
    deadline: Instant,
    pub(super) figures: Figures,
    log: PathBuf,
}

/// How far it got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Figures {
    pub(super) runs: u64,
    pub(super) runs_per_second: u64,
    /// Edges of the control flow.
    pub(super) edges: u64,
    pub(super) inputs: u64,
    pub(super) goals_reached: u64,
    pub(super) goals: u64,
    /// The input that breaks something.
    pub(super) finding: Option<PathBuf>,
    tail: VecDeque<String>,
}

impl Fuzzer {
    /// Starts a fuzzer; `number` tells it from others of the same target.
    pub(super) fn start(target: &'static Target, plan: &Plan, number: usize) -> Result<Self> {
        let time = plan.time;
        let mut command = Command::new(plan.programs.join(target.name));
        command.args(LIMITS).arg("-print_final_stats=1");
        command.arg(format!("-max_total_time={}", time.as_secs()));
        if let Some(seed) = plan.seed {
            command.arg(format!("-seed={seed}"));
        }
        command.arg(format!("-max_len={}", target.max_len));
        command.arg(format!("-artifact_prefix={}/", findings(target)?.display()));
        if let Some(dictionary) = corpus::dictionary(target) {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        let grown = match plan.seed {
            None => corpus::grown(target)?,
            Some(_) => corpus::fresh(target, number)?,
        };
        command.arg(grown).arg(corpus::kept(target)?);
        let logs = super::folder().join("logs");
        folders::make(&logs)?;
        let log = logs.join(format!("{}-{number}.log", target.name));
        let mut copy = File::create(&log).attempt(|| format!("write {}", log.display()))?;
        let words = line(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().attempt(|| format!("run {words}"))?;
        let (sender, lines) = channel();
        let said = child.stderr.take();
        std::thread::spawn(move || {
            // Not UTF-8 where it shows its inputs.
            for line in said.into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n')) {
                let Ok(line) = line else { break };
                // A full disk is no finding.
                let _ = copy.write_all(&[&line[..], b"\n"].concat());
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + time + 2 * HANG;
        Ok(Self { target, child, lines, deadline, figures: Figures::default(), log })
    }

    /// Reads what it said meanwhile; its status, once it has ended.
    pub(super) fn look(&mut self) -> Result<Option<ExitStatus>> {
        // Asked before the lines are read, so that none comes after its end.
        let status = self.child.try_wait().attempt(|| "wait for a fuzzer".into())?;
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.figures.read(&line),
                Err(TryRecvError::Empty) if status.is_some() => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => break,
            }
        }
        if status.is_none() && Instant::now() > self.deadline {
            self.interrupt(libc::SIGKILL);
        }
        Ok(status)
    }

    /// Sends it a signal.
    pub(super) fn interrupt(&self, signal: i32) {
        // SAFETY: a signal to a child that is not waited for yet, so the number is still its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Where all that it said is.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Fuzzer {
    fn drop(&mut self) {
        // One that has ended is neither killed nor waited for twice.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Figures {
    /// Learns from a line.
    fn read(&mut self, line: &str) {
        if let Some(status) = line.strip_prefix('#') {
            let mut words = status.split_whitespace().peekable();
            let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
            self.runs = number(words.next()).unwrap_or(self.runs);
            while let Some(word) = words.next() {
                let Some(value) = words.peek() else { break };
                let value = value.split('/').next().and_then(|value| value.parse().ok());
                match (word, value) {
                    ("cov:", Some(edges)) => self.edges = edges,
                    ("corp:", Some(inputs)) => self.inputs = inputs,
                    ("exec/s:", Some(runs)) => self.runs_per_second = runs,
                    _ => {}
                }
            }
            return;
        }
        if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().unwrap_or(self.runs);
        } else if let Some(goals) = line.strip_prefix("GOALS ") {
            self.goals = goals.parse().unwrap_or(0);
        } else if line.starts_with("REACHED ") {
            self.goals_reached += 1;
            return;
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.finding = Some(PathBuf::from(path.trim()));
        }
        // What libFuzzer says of itself is in the log.
        if ["INFO:", "WARNING:", "GOALS", "\tNEW_FUNC"].iter().any(|start| line.starts_with(start))
        {
            return;
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    /// The end of what it said, without its own figures.
    pub(super) fn tail(&self) -> String {
        let lines: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// In a few words.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} runs, {}/s, {} edges, {} inputs, {} of {} goals",
            self.runs,
            self.runs_per_second,
            self.edges,
            self.inputs,
            self.goals_reached,
            self.goals
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let mut figures = Figures::default();
        for line in [
            "GOALS 4",
            "REACHED taken",
            "#58028\tREDUCE cov: 459 ft: 819 corp: 131/22Kb lim: 388 exec/s: 3626 rss: 42Mb L: 9",
            "stat::number_of_executed_units: 60000",
            "artifact_prefix='x/'; Test unit written to x/crash-1",
        ] {
            figures.read(line);
        }
        assert_eq!(figures.finding.as_deref(), Some(Path::new("x/crash-1")));
        let summary = "60000 runs, 3626/s, 459 edges, 131 inputs, 1 of 4 goals";
        assert_eq!(figures.summary(), summary);
        assert!(figures.tail().starts_with("stat::"));
    }
}
