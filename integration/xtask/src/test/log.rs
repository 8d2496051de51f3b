//! What the programs of a step print: kept in a file, shown when the step fails.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::failure::{Attempt, Ending, Failure, Result};
use crate::group::{Group, TICK};
use crate::patience::{HANG, Patience, minutes};
use crate::program::{ended, line};
use crate::signals::Signals;

use super::row::Row;

/// As much as a failure shows: a compiler's errors or the end of a boot.
const TAIL_LINES: usize = 60;

/// How long a program may print nothing. Some of them have a limit of their own, and more to say.
const SILENCE: Duration = HANG.saturating_add(Duration::from_secs(60));

/// The log of one step.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Where it is shown that the step goes on.
    row: Row,
    silence: Duration,
}

impl Log {
    pub(super) fn create(path: &Path, row: Row) -> Result<Self> {
        let file = File::create(path).attempt(|| format!("write {}", path.display()))?;
        Ok(Self { path: path.into(), file, row, silence: SILENCE })
    }

    /// From here on programs may print nothing for so long.
    pub(super) fn allow_silence(&mut self, limit: Duration) {
        self.silence = limit;
    }

    /// The step has ended.
    pub(super) fn into_row(self) -> Row {
        self.row
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a program that has to succeed.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        self.run_with_input(command, "").map(drop)
    }

    /// Runs a program that has to succeed on some input; gives what it printed.
    pub(crate) fn run_with_input(&mut self, command: &mut Command, input: &str) -> Result<String> {
        let said_before = self.text().len();
        let status = self.status(command, input)?;
        if !status.success() {
            return Err(Failure::new(format!("{} {}", line(command), ended(status))));
        }
        Ok(self.text().split_off(said_before))
    }

    /// Adds to the log what came another way.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).attempt(|| format!("write {}", self.path.display()))
    }

    /// The end of the log.
    pub(crate) fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.trim_end().lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn status(&mut self, command: &mut Command, input: &str) -> Result<ExitStatus> {
        let words = line(command);
        self.add(format!("$ {}\n", words.trim_matches('`')).as_bytes())?;
        let log = |file: &File| file.try_clone().attempt(|| "duplicate the log".into());
        command.stdout(log(&self.file)?).stderr(log(&self.file)?);
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut signals = Signals::take().attempt(|| "handle signals".into())?;
        let mut group = Group::spawn(command).attempt(|| format!("run {words}"))?;
        if let Some(mut pipe) = group.leader.stdin.take() {
            // A program that does not read to the end has its reasons, and a status.
            let _ = pipe.write_all(input.as_bytes());
        }
        let mut patience = Patience::new(self.silence);
        let mut said = self.bytes();
        loop {
            if let Some(status) = group.look().attempt(|| format!("wait for {words}"))? {
                return Ok(status);
            }
            self.wait(&mut signals, TICK)?;
            if std::mem::replace(&mut said, self.bytes()) != said {
                patience.sign();
            }
            if patience.is_over() {
                let time = minutes(self.silence);
                return Err(Failure::new(format!("{words} hangs: it printed nothing for {time}")));
            }
        }
    }

    /// Waits a moment for what is going on. A signal is a failure.
    pub(super) fn wait(&mut self, signals: &mut Signals, time: Duration) -> Result<()> {
        if let Some(signal) = signals.within(time).attempt(|| "read a signal".into())? {
            return Err(Failure::new("a signal ended this").ending(Ending::Signal(signal)));
        }
        let path = &self.path;
        self.row.goes_on(|| {
            let text = text(path);
            text.trim_end().lines().next_back().unwrap_or_default().to_owned()
        })
    }

    fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    fn text(&self) -> String {
        text(&self.path)
    }
}

/// All that was printed, without the carriage returns of consoles, and without what the firmware of an
/// emulated host says in the middle of its guest's lines.
fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    without_firmware(&String::from_utf8_lossy(&bytes).replace('\r', ""))
}

/// Text without lines such as `[   61.489703476,3] SBE: …`, wherever they begin.
fn without_firmware(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    while let Some(at) = rest.find('[') {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        rest = match is_firmware(from) {
            true => from.split_once('\n').map_or("", |(_, after)| after),
            false => {
                kept.push('[');
                &from[1..]
            }
        };
    }
    kept + rest
}

/// Whether a line of the firmware begins here: seconds with nine digits, where Linux has six, and a
/// level.
fn is_firmware(text: &str) -> bool {
    let inside = text[1..].split_once("] ").map_or("", |(inside, _)| inside);
    let Some((seconds, level)) = inside.split_once(',') else { return false };
    let Some((whole, part)) = seconds.trim_start().split_once('.') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number(whole) && is_number(part) && part.len() == 9 && is_number(level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::TemporaryFolder;

    #[test]
    fn what_the_firmware_says_is_left_out() {
        let text = "/interrupt-controller@60302031b000[   61.489703476,3] SBE: Timer stuck.\n\
                    [   61.490277692,3] SBE: slower [I2C].\n0\n[    1.234567] linux, 2] a\n[1] [";
        let left = "/interrupt-controller@60302031b0000\n[    1.234567] linux, 2] a\n[1] [";
        assert_eq!(without_firmware(text), left);
        assert_eq!(without_firmware("a[    0.000000001,5] OPAL"), "a");
    }

    #[test]
    fn a_program_that_prints_nothing_hangs_and_is_ended() {
        let folder = TemporaryFolder::make(&std::env::temp_dir(), "xtask-log-test").unwrap();
        let row = Row::begin("name", "what").unwrap();
        let mut log = Log::create(&folder.path().join("log"), row).unwrap();
        let mut shell = Command::new("sh");
        log.allow_silence(Duration::from_secs(1000));
        let said = log.run_with_input(shell.args(["-c", "echo up; cat"]), "typed").unwrap();
        assert!(said.ends_with("up\ntyped"), "{said}");
        log.allow_silence(Duration::from_millis(50));
        let mut silent = Command::new("sh");
        let failure = log.run(silent.args(["-c", "sleep 1000 & wait"])).unwrap_err().to_string();
        assert!(failure.contains("hangs: it printed nothing for"), "{failure}");
    }
}
