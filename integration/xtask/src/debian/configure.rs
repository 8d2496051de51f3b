//! The second half of an installation: packages' own scripts, run in the guest by dpkg. They are
//! programs for POWER, and so the machine that runs them is the project's own, without disk or
//! network. What they changed comes by its console.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use crate::failure::{Attempt, Failure, Result};
use crate::group::{Group, TICK};
use crate::guest::NO_WATCHDOGS;
use crate::patience::{HANG, Patience, minutes};
use crate::program::{filter, line, progress};

/// Memory for the files, which are there twice for a while, and may fill a half of it.
const MEMORY: &str = "size=3G";

/// As much of the console as a failure shows.
const TAIL_LINES: usize = 40;

/// What the guest says behind its packages' messages: `guest/debian/configure`.
const CHANGES: &str = "DEBIAN-CHANGES";
const CONFIGURED: &str = "DEBIAN-CONFIGURED";

/// Runs a guest that configures the packages that are in its initial RAM disk. Gives an archive of
/// the files that are new or changed, and of one besides, `gone`, with the paths of those that are
/// not there any more.
pub(super) fn run(vmm: &Path, kernel: &Path, initramfs: &Path) -> Result<Vec<u8>> {
    let mut command = Command::new(vmm);
    command.arg("--kernel").arg(kernel).arg("--initramfs").arg(initramfs);
    command.args(["--memory", MEMORY, "--cmdline"]);
    command.arg(format!("console=hvc0 cryptomgr.notests quiet {NO_WATCHDOGS}"));
    let shown = console(&mut command)?;
    let changes = changes(&shown).ok_or_else(|| {
        let tail = shown[shown.len().saturating_sub(TAIL_LINES)..].join("\n");
        Failure::new(format!(
            "the packages of the Debian were not configured: {} showed, at its end,\n{tail}",
            line(&command)
        ))
    })?;
    let packed = filter(Command::new("base64").arg("--decode"), changes.as_bytes())?;
    filter(Command::new("gzip").args(["--decompress", "--stdout"]), &packed)
}

/// Runs a machine until it ends. Gives the lines that it showed.
fn console(command: &mut Command) -> Result<Vec<String>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // SAFETY: prctl(2) with these arguments may be called between fork and exec; it touches no
    // memory.
    unsafe {
        command.pre_exec(|| {
            // Even when xtask is killed, the machine does not stay behind.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let words = line(command);
    let mut machine = Group::spawn(command).attempt(|| format!("run {words}"))?;
    let output = machine.leader.stdout.take().expect("asked for above");
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(std::io::Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut shown = Vec::new();
    let mut patience = Patience::new(HANG);
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                patience.sign();
                tell(&line);
                shown.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(shown),
            Err(RecvTimeoutError::Timeout) if patience.is_over() => {
                let time = minutes(HANG);
                return Err(Failure::new(format!("{words} hangs: it showed nothing for {time}")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Now and then, where it is.
fn tell(line: &str) {
    let package = line.strip_prefix("Setting up ").and_then(|rest| rest.split(' ').next());
    if let Some(package @ ("libc6:ppc64el" | "dpkg" | "apt" | "systemd" | "udev")) = package {
        progress!("configuring {package} and others");
    } else if package.is_some_and(|package| package.starts_with("linux-image-6")) {
        progress!("configuring the kernel: its modules are listed");
    } else if line == CHANGES {
        progress!("taking what has changed");
    }
}

/// What is between the two lines, if both are there.
fn changes(shown: &[String]) -> Option<String> {
    let from = shown.iter().position(|line| line == CHANGES)? + 1;
    let count = shown[from..].iter().position(|line| line == CONFIGURED)?;
    Some(shown[from..from + count].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn changes_are_taken_when_they_are_whole() {
        let shown = lines("Setting up a\nDEBIAN-CHANGES\nYWJj\nZGVm\nDEBIAN-CONFIGURED\n");
        assert_eq!(changes(&shown).as_deref(), Some("YWJj\nZGVm"));
        assert_eq!(changes(&shown[..3]), None);
        assert_eq!(changes(&lines("DEBIAN-FAILED: dpkg\nDEBIAN-CONFIGURED\n")), None);
    }

    #[test]
    fn the_guest_says_what_is_looked_for() {
        let script = include_str!("../../guest/debian/configure");
        for said in [format!("echo {CHANGES}"), format!("end {CONFIGURED}")] {
            assert!(script.lines().any(|line| line == said), "{said}");
        }
    }
}
