//! Signals that end a process: taken as an event, so that what has to be put back is put back
//! first.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// The handler's end of the stream.
static STREAM: AtomicI32 = AtomicI32::new(-1);

/// Held by whoever has taken the signals over.
static TAKEN: Mutex<()> = Mutex::new(());

/// From its making to its end, the signals that end a process are bytes to be read. What is not
/// read ends the process then.
#[derive(Debug)]
pub(crate) struct Signals {
    stream: UnixStream,
    /// Those that were not ignored, as `nohup` ignores one.
    taken: Vec<i32>,
    /// Let go of last.
    _only_one: MutexGuard<'static, ()>,
}

impl Signals {
    /// Takes the signals over. One at a time: others wait.
    pub(crate) fn take() -> io::Result<Self> {
        let only_one = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let (stream, handlers_end) = UnixStream::pair()?;
        handlers_end.set_nonblocking(true)?;
        STREAM.store(handlers_end.into_raw_fd(), Ordering::SeqCst);
        let mut taken = Vec::new();
        for signal in ENDING {
            match set(signal, tell as extern "C" fn(i32) as libc::sighandler_t) {
                libc::SIG_IGN => drop(set(signal, libc::SIG_IGN)),
                _ => taken.push(signal),
            }
        }
        Ok(Self { stream, taken, _only_one: only_one })
    }

    /// Waits a moment for a signal.
    pub(crate) fn within(&mut self, time: Duration) -> io::Result<Option<i32>> {
        let mut wait =
            libc::pollfd { fd: self.stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        let ready = unsafe { libc::poll(&raw mut wait, 1, time.as_millis() as i32) };
        // Interrupted, it is asked again soon.
        if ready <= 0 { Ok(None) } else { self.next().map(Some) }
    }

    /// The signal that came. Waits for one.
    pub(crate) fn next(&mut self) -> io::Result<i32> {
        let mut signal = [0];
        self.stream.read_exact(&mut signal)?;
        Ok(signal[0].into())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for &signal in &self.taken {
            set(signal, libc::SIG_DFL);
        }
        if let Ok(Some(signal)) = self.within(Duration::ZERO) {
            die_of(signal);
        }
        let fd = STREAM.swap(-1, Ordering::SeqCst);
        // SAFETY: the descriptor was given to STREAM by `take`, and nobody else has it.
        unsafe { libc::close(fd) };
    }
}

/// Ends this process by a signal, so that its parent sees what happened.
pub(crate) fn die_of(signal: i32) {
    set(signal, libc::SIG_DFL);
    // SAFETY: has no memory to go wrong with.
    unsafe { libc::raise(signal) };
}

/// Sets what a signal does; gives what it did before.
fn set(signal: i32, action: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: the action is a usual one or `tell`, which does only what a handler may do.
    unsafe { libc::signal(signal, action) }
}

extern "C" fn tell(signal: i32) {
    let byte = signal as u8;
    // SAFETY: write(2) may be called in a handler; the byte outlives the call. A full stream, or
    // one that is closed, means that others have told already.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(STREAM.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        *errno = before;
    }
}
