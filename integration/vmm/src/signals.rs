//! The signals that the process takes in order: those that ask it to end, and those of job control.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Signals that end a process when nobody handles them.
const ENDING: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Signals that stop a process, and that let it go on.
const JOB_CONTROL: [libc::c_int; 2] = [libc::SIGTSTP, libc::SIGCONT];

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To end, as this signal does it.
    End(i32),
    /// To stop until somebody continues the job.
    Stop,
    /// The job goes on.
    GoOn,
}

/// Receives signals that the process would otherwise just end or stop by.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals for this thread, and for those it starts, and receives them here. A
    /// signal that is ignored already stays ignored: whoever started the process wants that.
    pub(crate) fn block() -> io::Result<Self> {
        let wanted = ENDING.iter().chain(&JOB_CONTROL).filter(|&&signal| !is_ignored(signal));
        let set = set(wanted.copied());
        mask(libc::SIG_BLOCK, &set)?;
        // SAFETY: reads the set; makes a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fresh, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// What the next signal that came asks for, if one did.
    pub(crate) fn next(&self) -> Option<Asked> {
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let bytes = size_of::<libc::signalfd_siginfo>();
        // SAFETY: writes at most `bytes` bytes into the structure.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), bytes) };
        if read != bytes as isize {
            return None;
        }
        // SAFETY: filled, as the length says.
        let signal = i32::try_from(unsafe { info.assume_init() }.ssi_signo).ok()?;
        Some(match signal {
            libc::SIGTSTP => Asked::Stop,
            libc::SIGCONT => Asked::GoOn,
            _ => Asked::End(signal),
        })
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// From here on the signals that end a process end this one at once: when what is left to do may
/// take long, who asks again is in earnest.
pub(crate) fn end_at_once() {
    // Nobody is left to tell when this fails.
    let _ = mask(libc::SIG_UNBLOCK, &set(ENDING));
}

/// Lets the signal that stops virtual CPUs reach this thread, whatever mask it inherited.
pub(crate) fn let_through(signal: libc::c_int) -> io::Result<()> {
    mask(libc::SIG_UNBLOCK, &set([signal]))
}

/// Stops the process until somebody continues it.
pub(crate) fn stop_here() {
    // SAFETY: sends a signal to this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

/// Does `work` while `signal` cannot come.
pub(crate) fn without<T>(signal: libc::c_int, work: impl FnOnce() -> T) -> T {
    let mut before = set([]);
    let only = set([signal]);
    // SAFETY: reads one set, fills the other, and changes the mask of this thread.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const only, &raw mut before) };
    let result = work();
    // SAFETY: reads the set that was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    result
}

/// Ends the process as `signal` does when nobody handles it, so that whoever waits for it sees
/// why. Comes back only if that is not possible.
pub fn die_of(signal: i32) {
    // SAFETY: gives the signal its default action and sends it to this thread.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    end_at_once();
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: changes nothing, and fills the structure where it succeeds.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: reads the set and changes the mask of this thread.
    match unsafe { libc::pthread_sigmask(how, set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn set(signals: impl IntoIterator<Item = libc::c_int>) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` fills the set, `sigaddset` adds valid signals to it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
