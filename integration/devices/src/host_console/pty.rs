//! A console at a terminal of its own.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::timerfd::TimerFd;

use super::file::{is_full, uninterrupted};
use super::watch::Watch;
use super::{HostEnd, HostEndError};

const TERMINAL: u64 = 0;
const TIMER: u64 = 1;

/// How often it is looked whether somebody has come: the host's kernel tells only who leaves.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The longest name of a terminal, such as `/dev/pts/3`.
const NAME_BYTES_MAX: usize = 64;

/// A terminal that others open by its [path](Self::path). Text from while nobody has it open is
/// lost.
#[derive(Debug)]
pub struct PtyEnd {
    path: PathBuf,
    host: File,
    watch: Watch,
    timer: TimerFd,
    /// Somebody has it open.
    is_open: bool,
    input: bool,
    room: bool,
}

impl PtyEnd {
    /// Makes a terminal. It is raw: what comes from it and goes to it is left as it is.
    ///
    /// # Errors
    /// [`HostEndError::Pty`] says what the host has not got.
    pub fn new() -> Result<Self, HostEndError> {
        let failed = |what| move |source| HostEndError::Pty { what, source };
        let host = open_host().map_err(failed("make a terminal by /dev/ptmx"))?;
        let path = path_of(&host).map_err(failed("find the terminal that was made"))?;
        // It stays so, for as long as this side is open.
        make_raw(&path).map_err(failed("set up the terminal that was made in /dev/pts"))?;
        let wait = || Ok((Watch::new()?, TimerFd::new().map_err(io::Error::from)?));
        let (watch, timer) = wait().map_err(failed("wait for a terminal"))?;
        let watches = watch.add(&timer, TIMER, EventSet::IN);
        watches.map_err(failed("wait for a terminal"))?;
        let mut end = Self { path, host, watch, timer, is_open: false, input: false, room: false };
        end.look();
        Ok(end)
    }

    /// What others open it by, such as `/dev/pts/3`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody has it open, as far as has been [attended](HostEnd::attend) to.
    pub const fn is_connected(&self) -> bool {
        self.is_open
    }

    /// Looks whether somebody has come.
    fn look(&mut self) {
        let added = self.watch.add(&self.host, TERMINAL, self.events());
        let is_over =
            |(number, set): (u64, EventSet)| number == TERMINAL && set.contains(EventSet::HANG_UP);
        self.is_open = added.is_ok() && !self.watch.events().any(is_over);
        if !self.is_open {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.is_open = false;
        self.watch.remove(&self.host);
        if let Err(error) = self.timer.reset(LOOK_EVERY, None) {
            log::warn!("nobody can use {}: {error}", self.path.display());
        }
    }

    fn events(&self) -> EventSet {
        let mut set = EventSet::empty();
        set.set(EventSet::IN, self.input);
        set.set(EventSet::OUT, self.room);
        set
    }
}

impl HostEnd for PtyEnd {
    fn file(&self) -> Option<RawFd> {
        Some(self.watch.file())
    }

    fn wait_for(&mut self, input: bool, room: bool) {
        (self.input, self.room) = (input, room);
        if self.is_open {
            self.watch.change(&self.host, TERMINAL, self.events());
        }
    }

    fn attend(&mut self) {
        for (number, set) in self.watch.events() {
            if number == TIMER {
                // It may have been set anew: `wait` would wait for that.
                let _ = self.timer.clear();
                self.look();
            } else if set.contains(EventSet::HANG_UP) && !(set.contains(EventSet::IN)) {
                // Where there is something to read, that is read first.
                self.leave();
            }
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        if !self.is_open {
            return 0;
        }
        match uninterrupted(|| (&self.host).read(buf)) {
            Ok(bytes) => bytes,
            Err(error) if is_full(&error) => 0,
            // Nobody has it open any more, and all is read.
            Err(_) => {
                self.leave();
                0
            }
        }
    }

    fn write(&mut self, text: &[u8]) -> usize {
        if !self.is_open {
            return text.len();
        }
        match uninterrupted(|| (&self.host).write(text)) {
            Ok(bytes) => bytes,
            Err(error) if is_full(&error) => 0,
            Err(_) => text.len(),
        }
    }
}

fn open_host() -> io::Result<File> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: there are no pointers in it.
    let host = unsafe { libc::posix_openpt(flags) };
    if host < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new, and nobody else's.
    let host = unsafe { OwnedFd::from_raw_fd(host) };
    // SAFETY: likewise.
    if unsafe { libc::grantpt(host.as_raw_fd()) != 0 || libc::unlockpt(host.as_raw_fd()) != 0 } {
        return Err(io::Error::last_os_error());
    }
    Ok(host.into())
}

fn path_of(host: &File) -> io::Result<PathBuf> {
    let mut name = [0; NAME_BYTES_MAX];
    // SAFETY: the name is of that length, and borrowed for the call.
    let error = unsafe { libc::ptsname_r(host.as_raw_fd(), name.as_mut_ptr().cast(), name.len()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())))
}

fn make_raw(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let terminal = options.read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)?;
    // SAFETY: zeroes are such a structure, and it is borrowed for the calls.
    let result = unsafe {
        let mut modes: libc::termios = zeroed();
        let got = libc::tcgetattr(terminal.as_raw_fd(), &raw mut modes);
        libc::cfmakeraw(&raw mut modes);
        if got == 0 {
            libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const modes)
        } else {
            got
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
