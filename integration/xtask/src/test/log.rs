//! What the programs of a step print: kept in a file, shown when the step fails.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::failure::{Attempt, Failure, Result};
use crate::program::{ended, line};

/// As much as a failure shows: a compiler's errors or the end of a boot.
const TAIL_LINES: usize = 60;

/// The log of one step.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).attempt(|| format!("write {}", path.display()))?;
        Ok(Self { path: path.into(), file })
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
        let mut child = command.spawn().attempt(|| format!("run {words}"))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that does not read to the end has its reasons, and a status.
            let _ = pipe.write_all(input.as_bytes());
        }
        child.wait().attempt(|| format!("wait for {words}"))
    }

    /// All that was printed, without the carriage returns of consoles.
    fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }
}
