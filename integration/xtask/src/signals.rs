//! Signals that end a process: taken as an event, so that what has to be put back is put back
//! first.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// The handler's end of the stream.
static STREAM: AtomicI32 = AtomicI32::new(-1);

/// From its making to its end, the signals that end a process are bytes to be read.
#[derive(Debug)]
pub(crate) struct Signals {
    stream: UnixStream,
}

impl Signals {
    /// Takes the signals over. One at a time.
    pub(crate) fn take() -> io::Result<Self> {
        let (stream, handlers_end) = UnixStream::pair()?;
        handlers_end.set_nonblocking(true)?;
        STREAM.store(handlers_end.into_raw_fd(), Ordering::SeqCst);
        for signal in ENDING {
            set(signal, tell as extern "C" fn(i32) as libc::sighandler_t);
        }
        Ok(Self { stream })
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
        for signal in ENDING {
            set(signal, libc::SIG_DFL);
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

fn set(signal: i32, action: libc::sighandler_t) {
    // SAFETY: the action is the default one or `tell`, which does only what a handler may do.
    unsafe { libc::signal(signal, action) };
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
