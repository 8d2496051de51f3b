//! Somebody at a terminal: a program on a pseudo-terminal, typed to and read from.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Attempt, Failure, Result};
use crate::program::{ended, line};
use crate::terminal;

use super::log::Log;

/// A program and its terminal.
pub(super) struct Pty<'a> {
    child: Child,
    /// How the program was called.
    name: String,
    /// The end of the keyboard and the screen.
    master: File,
    /// The program's end, held so that its settings can be looked at after the program.
    slave: File,
    before: libc::termios,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not yet expected.
    unread: String,
    log: &'a mut Log,
}

impl<'a> Pty<'a> {
    /// Starts a program on a terminal of its own.
    pub(super) fn spawn(command: &mut Command, log: &'a mut Log) -> Result<Self> {
        let name = line(command);
        log.add(format!("$ {}\n", name.trim_matches('`')).as_bytes())?;
        let (master, slave) = open().attempt(|| "make a pseudo-terminal".into())?;
        let before = terminal::settings(slave.as_raw_fd());
        let before = before.attempt(|| "read the terminal's settings".into())?;
        let share = |file: &File| file.try_clone().attempt(|| "duplicate the terminal".into());
        command.stdin(share(&slave)?).stdout(share(&slave)?).stderr(share(&slave)?);
        // SAFETY: both calls may be made between fork and exec, and touch no memory.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().attempt(|| format!("run {name}"))?;
        // The command would keep its copies open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, screen) = mpsc::channel();
        let mut reader = share(&master)?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, name, master, slave, before, screen, unread: String::new(), log })
    }

    /// Waits until the screen shows a text, after what was expected before. Gives what it showed
    /// until then, the text included.
    pub(super) fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(at) = self.unread.find(text) {
                return Ok(self.unread.drain(..at + text.len()).collect());
            }
            if let Some(status) = self.ended()? {
                // What it showed last may still be on its way.
                self.read(Instant::now() + Duration::from_millis(200))?;
                if !self.unread.contains(text) {
                    return Err(Failure::new(format!(
                        "{} {status} before it showed {text:?}",
                        self.name
                    )));
                }
            }
            if Instant::now() > deadline {
                let limit = limit.as_secs();
                return Err(Failure::new(format!(
                    "{} did not show {text:?} in {limit} seconds",
                    self.name
                )));
            }
            self.read(deadline.min(Instant::now() + Duration::from_millis(500)))?;
        }
    }

    /// Types some keys.
    pub(super) fn type_in(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).attempt(|| "type on the pseudo-terminal".into())
    }

    /// Waits until the program ends with status 0, with the terminal as it was.
    pub(super) fn ends_well(mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            if Instant::now() > deadline {
                let limit = limit.as_secs();
                return Err(Failure::new(format!("{} did not end in {limit} seconds", self.name)));
            }
            self.read(Instant::now() + Duration::from_millis(100))?;
        };
        self.read(Instant::now() + Duration::from_millis(100))?;
        if status != "ended with status 0" {
            return Err(Failure::new(format!("{} {status}", self.name)));
        }
        let after = terminal::settings(self.slave.as_raw_fd());
        let after = after.attempt(|| "read the terminal's settings".into())?;
        if same(&self.before, &after) {
            return Ok(());
        }
        Err(Failure::new(format!("{} left the terminal changed", self.name)))
    }

    fn ended(&mut self) -> Result<Option<String>> {
        let status = self.child.try_wait().attempt(|| format!("wait for {}", self.name))?;
        Ok(status.map(ended))
    }

    /// Takes what is shown until there is something or time is up.
    fn read(&mut self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.screen.recv_timeout(left) {
            Ok(bytes) => {
                self.log.add(&bytes)?;
                self.unread.push_str(&String::from_utf8_lossy(&bytes));
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            // All ends are closed; the program's end tells the rest.
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(left);
                Ok(())
            }
        }
    }
}

impl Drop for Pty<'_> {
    fn drop(&mut self) {
        // Closing the terminal would be the gentle way, but the reader holds it open. Fails only when
        // it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open() -> io::Result<(File, File)> {
    let (mut master, mut slave) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: fills both numbers and reads the size; a name and settings are not asked for.
    let result = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw const size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so both are open, and nobody else has them.
    let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    for fd in [&master, &slave] {
        // SAFETY: sets a flag of an open descriptor, without memory. Or the children would hold
        // the terminal open.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((master.into(), slave.into()))
}

fn same(one: &libc::termios, other: &libc::termios) -> bool {
    let flags = |t: &libc::termios| (t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_cc);
    flags(one) == flags(other)
}
