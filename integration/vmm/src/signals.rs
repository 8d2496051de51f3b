//! The signals that the process takes in order: those that ask it to end, and those of job control.
//! And those that end it at once, before which something has to be done.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Signals that end a process when nobody handles them, and that are taken in order.
const ENDING: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Signals that are taken in order, and [`READ_IN_BACKGROUND`].
pub(crate) const TAKEN: [libc::c_int; 7] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGTSTP,
    libc::SIGCONT,
    READ_IN_BACKGROUND,
];

/// Stops a job that reads the terminal in the background. Where it is blocked, the read fails.
const READ_IN_BACKGROUND: libc::c_int = libc::SIGTTIN;

/// Signals that end a process when nobody handles them, and that are not asked for in order; those
/// without a name are from SIGRTMIN to SIGRTMAX.
const DEADLY: [libc::c_int; 16] = [
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGSYS,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
];

/// Of those, the ones whose cause is there again when the instruction is executed again.
const FAULTS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

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
        let set = set(TAKEN.into_iter().filter(|&signal| !is_ignored(signal)));
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
        loop {
            let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
            let bytes = size_of::<libc::signalfd_siginfo>();
            // SAFETY: writes at most `bytes` bytes into the structure.
            let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), bytes) };
            if read != bytes as isize {
                return None;
            }
            // SAFETY: filled, as the length says.
            let signal = i32::try_from(unsafe { info.assume_init() }.ssi_signo).ok()?;
            return Some(match signal {
                READ_IN_BACKGROUND => continue,
                libc::SIGTSTP => Asked::Stop,
                libc::SIGCONT => Asked::GoOn,
                _ => Asked::End(signal),
            });
        }
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What is done before a signal ends the process.
struct Death {
    last_work: fn(),
    /// What would have handled the signals.
    before: Vec<(libc::c_int, libc::sigaction)>,
}

static DEATH: OnceLock<Death> = OnceLock::new();

/// From here on `last_work` is done before a signal ends the process that is not taken in order. It
/// may do only what is allowed anywhere (signal-safety(7)). The process still ends by the signal.
///
/// A signal that somebody ignores or handles stays as it is, but for those by which Rust finds
/// that a stack is full: that comes afterwards.
pub(crate) fn before_death(last_work: fn()) {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    let before = DEADLY.into_iter().chain(real_time).filter_map(|signal| {
        let action = action_of(signal)?;
        let is_default = action.sa_sigaction == libc::SIG_DFL;
        let is_rusts = FAULTS.contains(&signal) && action.sa_sigaction != libc::SIG_IGN;
        (is_default || is_rusts).then_some((signal, action))
    });
    if DEATH.set(Death { last_work, before: before.collect() }).is_err() {
        return;
    }
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = die;
    for &(signal, mut action) in DEATH.get().into_iter().flat_map(|death| &death.before) {
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // A job in the background would be stopped for changing the terminal.
        action.sa_mask = set([libc::SIGTTOU]);
        // SAFETY: the handler has the type that the flags say, and keeps to what a handler may do.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// Does what is done before a signal ends the process, in the handler of one.
pub(crate) fn last_work() {
    // Looking takes no lock.
    if let Some(death) = DEATH.get() {
        (death.last_work)();
    }
}

/// The handler of [`DEADLY`] signals, on the thread that the signal came to, anywhere.
extern "C" fn die(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // It was set before this could be called, and looking takes no lock.
    let Some(death) = DEATH.get() else { return };
    (death.last_work)();
    // SAFETY: the kernel gives a handler of this kind what happened.
    let is_fault = FAULTS.contains(&signal) && unsafe { (*info).si_code } > 0;
    if is_fault {
        if let Some((_, action)) = death.before.iter().find(|(number, _)| *number == signal) {
            // SAFETY: what was there before. The instruction comes again, and the signal with it.
            unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) };
            return;
        }
    }
    // SAFETY: gives the signal its default action, and sends it to this thread, which takes it now:
    // the handler does not block its own signal.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// From here on a file that grows beyond a limit of the process (`ulimit -f`) is an error of the
/// write, and not the end without a word (SIGXFSZ).
pub fn take_limits_as_errors() {
    // SAFETY: no code of ours is called.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Whether signals stay with whoever takes them in order, for as long as the process lives.
static HELD: AtomicBool = AtomicBool::new(false);

/// From here on the signals that end the process are taken in order, whether a machine runs or not.
/// For this thread, and for those that it starts.
pub(crate) fn hold() -> io::Result<()> {
    HELD.store(true, Ordering::SeqCst);
    mask(libc::SIG_BLOCK, &set(ENDING.into_iter().filter(|&signal| !is_ignored(signal))))
}

/// From here on the signals that end a process end this one at once, unless they are held.
pub(crate) fn end_at_once() {
    if !HELD.load(Ordering::SeqCst) {
        let_end();
    }
}

fn let_end() {
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

/// Does `work` while `signals` cannot come to this thread, nor to those that it starts.
pub(crate) fn without<T>(signals: &[libc::c_int], work: impl FnOnce() -> T) -> T {
    let mut before = set([]);
    let these = set(signals.iter().copied());
    // SAFETY: reads one set, fills the other, and changes the mask of this thread.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const these, &raw mut before) };
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
    let_end();
}

/// What is done before the process ends in a way that leaves no time for anything else.
static LAST_WORK: OnceLock<fn()> = OnceLock::new();

/// From here on `last_work` is done in [`end_now`].
pub(crate) fn before_end_now(last_work: fn()) {
    // Who was first stays.
    let _ = LAST_WORK.set(last_work);
}

/// Ends the process without waiting for anybody: by a signal, or with a status.
pub(crate) fn end_now(signal: Option<i32>, status: i32) -> ! {
    if let Some(last_work) = LAST_WORK.get() {
        last_work();
    }
    if let Some(signal) = signal {
        die_of(signal);
    }
    // SAFETY: always allowed. What is done at an ordinary exit may wait for others.
    unsafe { libc::_exit(status) }
}

fn is_ignored(signal: libc::c_int) -> bool {
    action_of(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

fn action_of(signal: libc::c_int) -> Option<libc::sigaction> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: changes nothing, and fills the structure where it succeeds.
    unsafe {
        let done = libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0;
        done.then(|| action.assume_init())
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
