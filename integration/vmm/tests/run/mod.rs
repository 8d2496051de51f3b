//! Runs of the VMM with a guest program, in tests.
#![allow(dead_code)] // No test needs all of it.

pub(crate) mod api;
pub(crate) mod folder;
pub(crate) mod place;
pub(crate) mod pty;
pub(crate) mod rebuild;
#[cfg(feature = "vof")]
pub(crate) mod told;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub(crate) use self::place::program;

/// Only what hangs shows nothing for so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);

/// Tests that run under `nohup`, or in the background of a script, ignore signals, and what they
/// start would, too.
pub(crate) fn with_default_signals(command: &mut Command) {
    // SAFETY: between fork and exec, this makes system calls only.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
}

/// A VMM that runs a guest program.
pub(crate) struct Run {
    pub(crate) child: Child,
    output: Receiver<u8>,
    shown: String,
}

impl Run {
    /// Starts one, with 64 MiB of RAM unless told.
    pub(crate) fn start(guest: &str, cmdline: &str, arguments: &[&str]) -> Self {
        let memory: &[_] =
            if arguments.contains(&"--memory") { &[] } else { &["--memory", "size=64M"] };
        let kernel = program(guest);
        let start = ["--cmdline", cmdline, "--kernel", kernel.to_str().unwrap()];
        Self::of_arguments(&[&start, arguments, memory].concat())
    }

    /// Starts one with nothing but these arguments, on the [back end](place::backend) of tests.
    pub(crate) fn of_arguments(arguments: &[&str]) -> Self {
        let mut vmm = Command::new(place::vmm());
        vmm.args(["--backend", &place::backend()]).args(arguments);
        Self::of(vmm)
    }

    /// Starts another program that is the same.
    pub(crate) fn of(mut vmm: Command) -> Self {
        vmm.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        with_default_signals(&mut vmm);
        let mut child = vmm.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut byte = [0];
            while stdout.read(&mut byte).is_ok_and(|count| count == 1) && send.send(byte[0]).is_ok()
            {
            }
        });
        Self { child, output, shown: String::new() }
    }

    /// Waits until the console has shown `text`.
    pub(crate) fn expect(&mut self, text: &str) {
        while !self.shown.contains(text) {
            match self.output.recv_timeout(LIMIT) {
                Ok(byte) => self.shown.push(char::from(byte)),
                Err(_) => {
                    let complaint = self.complaint();
                    panic!("no {text:?} in {:?}; {complaint}", self.shown);
                }
            }
        }
    }

    /// Waits until the console shows `text` once more.
    pub(crate) fn expect_again(&mut self, text: &str) {
        self.shown.clear();
        self.expect(text);
    }

    /// Types something at the console.
    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).unwrap();
    }

    /// Sends a signal.
    pub(crate) fn send(&self, signal: i32) {
        // SAFETY: names our own child, which nobody has waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Waits until the program is in a state that proc(5) tells, such as `State:\tT`.
    pub(crate) fn wait_for_state(&self, line_start: &str) {
        let start = Instant::now();
        while !state(&self.child).lines().any(|line| line.starts_with(line_start)) {
            assert!(start.elapsed() < LIMIT, "never {line_start:?}: {}", state(&self.child));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the end: status, console, standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "does not end; shown: {:?}", self.shown);
            std::thread::sleep(Duration::from_millis(5));
        };
        while let Ok(byte) = self.output.recv_timeout(LIMIT) {
            self.shown.push(char::from(byte));
        }
        let complaint = self.complaint();
        (status, std::mem::take(&mut self.shown), complaint)
    }

    /// Takes its standard error.
    pub(crate) fn take_stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    fn complaint(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

/// What proc(5) tells of a program.
pub(crate) fn state(child: &Child) -> String {
    std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap()
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end: status, console, standard error.
pub(crate) fn run(guest: &str, cmdline: &str, arguments: &[&str]) -> (ExitStatus, String, String) {
    Run::start(guest, cmdline, arguments).end()
}
