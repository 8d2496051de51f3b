//! Somebody at a terminal: a program on a pseudo-terminal, typed to and read from.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use crate::failure::{Attempt, Failure, Result};
use crate::group::{Group, TICK};
use crate::patience::{HANG, Patience, minutes};
use crate::program::{ended, line};
use crate::signals::Signals;
use crate::terminal;

use super::log::Log;

/// Who shows as much as this, and not what is waited for, shows other things for ever.
const FLOOD_BYTES: usize = 4 << 20;

/// Written to the terminal behind all that an ended program wrote: an application program command
/// (ECMA-48 §8.3.2), which no program here shows.
const LAST: &str = "\x1b_last\x1b\\";

/// A program and its terminal.
pub(super) struct Pty<'a> {
    program: Group,
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
    signals: Signals,
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
        let signals = Signals::take().attempt(|| "handle signals".into())?;
        // It leads the session, and so a group.
        let program = Group::of(command.spawn().attempt(|| format!("run {name}"))?);
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
        let unread = String::new();
        Ok(Self { program, name, master, slave, before, screen, unread, log, signals })
    }

    /// Waits until the screen shows a text, after what was expected before. Gives what it showed
    /// until then, the text included.
    pub(super) fn expect(&mut self, text: &str) -> Result<String> {
        let mut patience = Patience::new(HANG);
        let mut has_ended = None;
        let mut searched = 0;
        loop {
            if let Some(at) = self.unread[searched..].find(text) {
                return Ok(self.unread.drain(..searched + at + text.len()).collect());
            }
            // The text may have begun.
            let mut so_far = self.unread.len().saturating_sub(text.len());
            while !self.unread.is_char_boundary(so_far) {
                so_far -= 1;
            }
            searched = so_far;
            let before = format!("before it showed {text:?}");
            if let Some(status) = has_ended {
                return Err(Failure::new(format!("{} {status} {before}", self.name)));
            }
            if self.unread.len() > FLOOD_BYTES {
                let megabytes = FLOOD_BYTES >> 20;
                let name = &self.name;
                return Err(Failure::new(format!("{name} showed {megabytes} MiB {before}")));
            }
            has_ended = self.ended()?;
            match has_ended {
                // What it showed last may still be on its way.
                Some(_) => self.take_the_rest()?,
                None => self.take_some(&mut patience, &before)?,
            }
        }
    }

    /// Types some keys.
    pub(super) fn type_in(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).attempt(|| "type on the pseudo-terminal".into())
    }

    /// Adds what is typed to the log, where it is not echoed.
    pub(super) fn note(&mut self, keys: &str) -> Result<()> {
        self.log.add(format!("{keys}\n").as_bytes())
    }

    /// Waits until the program ends with status 0, with the terminal as it was.
    pub(super) fn ends_well(self) -> Result<()> {
        self.ends_with(0)
    }

    /// As [`ends_well`](Self::ends_well), with this status.
    pub(super) fn ends_with(mut self, status: i32) -> Result<()> {
        let wanted = format!("ended with status {status}");
        let mut patience = Patience::new(HANG);
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            self.take_some(&mut patience, "before it ended")?;
        };
        self.take_the_rest()?;
        if status != wanted {
            return Err(Failure::new(format!("{} {status}", self.name)));
        }
        let after = terminal::settings(self.slave.as_raw_fd());
        let after = after.attempt(|| "read the terminal's settings".into())?;
        if same(&self.before, &after) {
            return Ok(());
        }
        Err(Failure::new(format!("{} left the terminal changed", self.name)))
    }

    /// Kills the program, which cannot do anything about it, and waits until it is gone.
    pub(super) fn kill(mut self) -> Result<()> {
        self.program.leader.kill().attempt(|| format!("kill {}", self.name))?;
        while self.ended()?.is_none() {
            self.log.wait(&mut self.signals, TICK)?;
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<String>> {
        let status = self.program.look().attempt(|| format!("wait for {}", self.name))?;
        Ok(status.map(ended))
    }

    /// Takes what is shown, or waits a moment for it.
    fn take_some(&mut self, patience: &mut Patience, what_for: &str) -> Result<()> {
        match self.screen.try_recv() {
            Ok(bytes) => {
                patience.sign();
                self.log.add(&bytes)?;
                self.unread.push_str(&String::from_utf8_lossy(&bytes));
            }
            // Without a reader, the program's end tells the rest.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                self.log.wait(&mut self.signals, TICK)?;
            }
        }
        if patience.is_over() {
            let (name, time) = (&self.name, minutes(HANG));
            return Err(Failure::new(format!("{name} showed nothing for {time} {what_for}")));
        }
        Ok(())
    }

    /// Takes all that a program showed that has ended.
    fn take_the_rest(&mut self) -> Result<()> {
        self.slave.write_all(LAST.as_bytes()).attempt(|| "write to the pseudo-terminal".into())?;
        let mut patience = Patience::new(HANG);
        while !self.unread.contains(LAST) {
            self.take_some(&mut patience, "at its end")?;
        }
        self.unread = self.unread.replace(LAST, "");
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::TemporaryFolder;
    use crate::test::row::Row;

    fn on_terminal(script: &str, play: impl FnOnce(Pty<'_>) -> Result<()>) -> Result<()> {
        // Of each test its own.
        let name = format!("xtask-pty-{}", script.split(' ').next().unwrap_or_default());
        let folder = TemporaryFolder::make(&std::env::temp_dir(), &name).unwrap();
        let row = Row::begin("name", "what").unwrap();
        let mut log = Log::create(&folder.path().join("log"), row).unwrap();
        play(Pty::spawn(Command::new("sh").args(["-c", script]), &mut log)?)
    }

    #[test]
    fn the_last_words_of_a_program_are_read() {
        on_terminal("read word; seq 1 1000; echo \"$word\"", |mut terminal| {
            terminal.type_in("done\r")?;
            terminal.expect("1000\r\ndone")?;
            terminal.ends_well()
        })
        .unwrap();
        let failure = on_terminal("printf other", |mut terminal| terminal.expect("word").map(drop));
        let failure = failure.unwrap_err().to_string();
        assert!(failure.ends_with("ended with status 0 before it showed \"word\""), "{failure}");
    }

    #[test]
    fn a_terminal_that_is_left_changed_is_told() {
        let failure = on_terminal("stty -echo", |terminal| terminal.ends_well());
        let failure = failure.unwrap_err().to_string();
        assert!(failure.ends_with("left the terminal changed"), "{failure}");
    }

    #[test]
    fn who_floods_the_screen_is_not_listened_to_for_ever() {
        let failure = on_terminal("yes", |mut terminal| terminal.expect("word").map(drop));
        let failure = failure.unwrap_err().to_string();
        assert!(failure.ends_with("showed 4 MiB before it showed \"word\""), "{failure}");
    }
}
