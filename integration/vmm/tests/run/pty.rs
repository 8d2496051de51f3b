//! A terminal, with or without somebody who looks at it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::LIMIT;

/// A terminal.
pub(crate) struct Pty {
    /// The end of the keyboard and the screen.
    master: File,
    /// The end of programs, held so that its settings can be looked at after them.
    slave: File,
    before: libc::termios,
    screen: Receiver<Vec<u8>>,
    to_screen: Sender<Vec<u8>>,
    shown: String,
}

impl Pty {
    /// One whose screen nobody reads, until [`look_at_it`](Self::look_at_it).
    pub(crate) fn hung() -> Self {
        let (mut master, mut slave) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: fills both numbers; a name, settings and a size are not asked for.
        let made = unsafe {
            libc::openpty(&raw mut master, &raw mut slave, none, std::ptr::null(), std::ptr::null())
        };
        assert_eq!(made, 0, "no pseudo-terminal: {}", io::Error::last_os_error());
        // SAFETY: the call succeeded, so both are open, and nobody else has them.
        let [master, slave] = [master, slave].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        for fd in [&master, &slave] {
            // Or a program of another test would hold them open.
            // SAFETY: sets a flag of an open descriptor.
            assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }, 0);
        }
        let before = settings(slave.as_raw_fd());
        let (to_screen, screen) = channel();
        let (master, slave) = (master.into(), slave.into());
        Self { master, slave, before, screen, to_screen, shown: String::new() }
    }

    /// One that somebody looks at.
    pub(crate) fn new() -> Self {
        let pty = Self::hung();
        pty.look_at_it();
        pty
    }

    /// From here on the screen is read.
    pub(crate) fn look_at_it(&self) {
        let mut reader = self.master.try_clone().unwrap();
        let to_screen = self.to_screen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if to_screen.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
    }

    /// The end of programs.
    pub(crate) fn file(&self) -> File {
        self.slave.try_clone().unwrap()
    }

    /// Starts a program that has it as standard input and as the terminal of its session, which it
    /// leads.
    pub(crate) fn start(&self, command: &mut Command) -> Child {
        command.stdin(self.file());
        // SAFETY: between fork and exec, this makes system calls only.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        command.spawn().unwrap()
    }

    /// Types some keys.
    pub(crate) fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows `text`, after what was expected before.
    pub(crate) fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(LIMIT) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no {text:?} in {:?}", self.shown),
            }
        }
    }

    /// Waits until keys are passed on as they are, or no more.
    pub(crate) fn wait_until_raw(&self, raw: bool) {
        wait_until("the terminal is raw", || self.is_raw() == raw);
    }

    /// Whether keys are passed on as they are. Shells that edit lines do not go so far.
    pub(crate) fn is_raw(&self) -> bool {
        settings(self.slave.as_raw_fd()).c_lflag & (libc::ICANON | libc::ISIG) == 0
    }

    /// Whether its settings are those that it had at first.
    pub(crate) fn is_as_before(&self) -> bool {
        let now = settings(self.slave.as_raw_fd());
        let flags = |t: &libc::termios| (t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_cc);
        flags(&now) == flags(&self.before)
    }

    /// Makes it as it was at first, as shells do when a job stopped.
    pub(crate) fn make_as_before(&self) {
        // SAFETY: reads the structure only.
        let done = unsafe {
            libc::tcsetattr(self.master.as_raw_fd(), libc::TCSANOW, &raw const self.before)
        };
        assert_eq!(done, 0);
    }
}

/// Waits until something holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "waited for too long until: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn settings(fd: i32) -> libc::termios {
    let mut termios = std::mem::MaybeUninit::uninit();
    // SAFETY: fills the structure, which is used only if it did.
    unsafe {
        assert_eq!(libc::tcgetattr(fd, termios.as_mut_ptr()), 0);
        termios.assume_init()
    }
}
