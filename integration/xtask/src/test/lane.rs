//! Steps that another process runs meanwhile: a machine has more than one processor, and most steps
//! use one.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::failure::{Attempt, Ending, Failure};
use crate::group::{Group, TICK};
use crate::program::end_line;
use crate::signals::Signals;

use super::Failed;
use super::row::{PASSED, verdict, write};

/// Steps on their way, in a process of their own. Whoever drops it ends them.
#[derive(Debug)]
pub(super) struct Lane {
    group: Group,
    passed: Arc<AtomicUsize>,
    relay: Option<JoinHandle<()>>,
}

impl Lane {
    /// Begins with the first of these steps. The row of each is shown when the step has ended.
    pub(super) fn start(steps: &[&str]) -> Result<Self, Failure> {
        let program = std::env::current_exe().attempt(|| "find this program".into())?;
        let (reader, writer) = UnixStream::pair().attempt(|| "make a pipe".into())?;
        let errors: OwnedFd = writer.try_clone().attempt(|| "duplicate a pipe".into())?.into();
        let mut command = Command::new(program);
        command.args(["test", "--beside"]).args(steps);
        command.stdin(Stdio::null()).stdout(OwnedFd::from(writer)).stderr(errors);
        let group = Group::spawn(&mut command).attempt(|| "run steps beside others".into())?;
        let passed = Arc::new(AtomicUsize::new(0));
        let count = passed.clone();
        let relay = thread::spawn(move || relay(reader, &count));
        Ok(Self { group, passed, relay: Some(relay) })
    }

    /// How many steps have passed by now.
    pub(super) fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    /// All is shown that was said.
    fn ended(&mut self, status: ExitStatus) -> Result<(), Failed> {
        if let Some(Err(_)) = self.relay.take().map(JoinHandle::join) {
            return Err(Failure::new("what steps said cannot be shown").into());
        }
        if status.success() { Ok(()) } else { Err(Failed::Step) }
    }
}

/// Whether all lanes have ended by now. An error if a step has failed.
pub(super) fn look(lanes: &mut [Lane]) -> Result<bool, Failed> {
    let mut all = true;
    for lane in lanes {
        match lane.group.look().attempt(|| "look at steps".into())? {
            Some(status) => lane.ended(status)?,
            None => all = false,
        }
    }
    Ok(all)
}

/// Waits for the last step of all lanes.
pub(super) fn wait(lanes: &mut [Lane]) -> Result<(), Failed> {
    let mut signals = Signals::take().attempt(|| "handle signals".into())?;
    while !look(lanes)? {
        if let Some(signal) = signals.within(TICK).attempt(|| "read a signal".into())? {
            let ended = Failure::new("a signal ended this").ending(Ending::Signal(signal));
            return Err(ended.into());
        }
    }
    Ok(())
}

/// Shows what is said, line by line, and counts the steps that passed.
fn relay(said: impl Read, passed: &AtomicUsize) {
    let mut lines = BufReader::new(said).split(b'\n');
    while let Some(Ok(line)) = lines.next() {
        let line = String::from_utf8_lossy(&line);
        if verdict(&line) == Some(PASSED) {
            passed.fetch_add(1, Ordering::SeqCst);
        }
        let start = if end_line() { "\n" } else { "" };
        // When nobody takes it there is nobody to tell.
        let _ = write(&format!("{start}{line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_passed_are_counted() {
        let passed = AtomicUsize::new(0);
        let row = |verdict| format!("{:<14}{:<58}{verdict:<6}{:>9}\n", "name", "what", "1.0 s");
        let said = row("ok") + "name          2 min so far: ok\n" + &row("FAILED") + &row("ok");
        relay(said.as_bytes(), &passed);
        assert_eq!(passed.into_inner(), 2);
    }
}
