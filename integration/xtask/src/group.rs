//! A program and all that it starts, ended together.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// For how long those that are told to end may put things back.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How often an end is looked for.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// A program that leads a process group. Whoever is left of it ends with its owner.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) leader: Child,
    ended: bool,
}

impl Group {
    /// Starts a program as the leader of a new group. A Ctrl-C on the terminal is for this program
    /// then, which ends the others in order.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        Ok(Self::of(command.process_group(0).spawn()?))
    }

    /// What already leads a group: that of a session, for instance.
    pub(crate) fn of(leader: Child) -> Self {
        Self { leader, ended: false }
    }

    /// The leader's status, once it has ended.
    pub(crate) fn look(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.leader.try_wait()?;
        self.ended |= status.is_some();
        Ok(status)
    }

    fn send(&self, signal: i32) {
        // SAFETY: a signal to a group: its leader is not waited for yet, so that the number is its
        // own, or has just ended, and the number is that of the others, or of nobody.
        unsafe { libc::kill(-(self.leader.id() as i32), signal) };
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.send(libc::SIGTERM);
            // A job that is stopped hears it only when it goes on.
            self.send(libc::SIGCONT);
            let start = Instant::now();
            while matches!(self.look(), Ok(None)) && start.elapsed() < LAST_WORDS {
                std::thread::sleep(TICK);
            }
        }
        // Those who did not hear, and those whose leader did not wait for them.
        self.send(libc::SIGKILL);
        // One that has ended is not waited for twice.
        let _ = self.leader.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    use super::*;

    /// Both hold the pipe open: it ends with the last of them.
    #[test]
    fn a_group_ends_with_its_owner_those_too_who_do_not_want_to() {
        for script in ["sleep 1000 & echo up; wait", "trap '' TERM; sleep 1000 & echo up; exit 0"] {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped());
            let mut group = Group::spawn(&mut command).unwrap();
            let mut said = BufReader::new(group.leader.stdout.take().unwrap());
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert_eq!(line, "up\n");
            drop(group);
            assert_eq!(said.read(&mut [0]).unwrap(), 0);
        }
    }
}
