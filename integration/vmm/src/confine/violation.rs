//! The end of a process that does what it has no business with: who, what, and the signal.
//!
//! The kernel does not make the system call and sends SIGSYS; its handler says what it was, gives the
//! terminal back and has the signal end the process. A thread that holds signals back just ends the
//! process. Whoever runs code of
//! his own in this process can take the handler away, and gains nothing: the call is not made.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::sync::OnceLock;

use super::filter;
use crate::signals;

/// For the handler, which can look nothing up that takes memory.
static NAMES: OnceLock<BTreeMap<i64, &'static str>> = OnceLock::new();

/// `SYS_SECCOMP` of `asm-generic/siginfo.h`: a filter's signal.
const OF_A_FILTER: libc::c_int = 1;

/// `siginfo_t` of SIGSYS, as hosts of 64 bits have it.
#[repr(C)]
struct SystemCall {
    signal: libc::c_int,
    error: libc::c_int,
    code: libc::c_int,
    padding: libc::c_int,
    address: *mut libc::c_void,
    number: libc::c_int,
    arch: libc::c_uint,
}

/// From here on SIGSYS is said before it ends the process.
pub(super) fn tell() -> io::Result<()> {
    NAMES.get_or_init(filter::names);
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = end;
    // SAFETY: zeroes are such a structure, and an empty set of signals is in it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: the handler has the type that the flags say, and keeps to what a handler may do.
    let done = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The handler, on the thread that made the system call.
extern "C" fn end(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    signals::last_work();
    // SAFETY: the kernel gives a handler of this kind what happened, and it is as long.
    let call = unsafe { &*info.cast::<SystemCall>() };
    if call.code == OF_A_FILTER {
        say(call.number.into());
    }
    // SAFETY: gives the signal its default action, and sends it to this thread, which takes it now.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Says it on standard error, if that takes it at once.
fn say(number: i64) {
    let mut thread = [0_u8; 16];
    // SAFETY: writes at most 16 bytes, the last of them zero.
    unsafe { libc::prctl(libc::PR_GET_NAME, thread.as_mut_ptr()) };
    let end = thread.iter().position(|byte| *byte == 0).unwrap_or(thread.len());
    let thread = std::str::from_utf8(&thread[..end]).unwrap_or("?");
    let name = NAMES.get().and_then(|names| names.get(&number)).copied().unwrap_or("unknown");
    let mut line = Line { bytes: [0; 400], len: 0 };
    // What has no room is left out.
    let _ = writeln!(
        line,
        "pseries-vmm: the thread \"{thread}\" made the system call {number} ({name}), which it has no \
         business with: this is an error of pseries-vmm, or somebody has broken into it. It ends \
         (SIGSYS). --seccomp log has such calls written to the kernel's log instead"
    );
    let mut ready = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one structure, and a buffer of that length, borrowed for the calls.
    unsafe {
        if libc::poll(&raw mut ready, 1, 0) == 1 {
            libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len);
        }
    }
}

/// Text in a handler, where no memory can be had.
struct Line {
    bytes: [u8; 400],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}
