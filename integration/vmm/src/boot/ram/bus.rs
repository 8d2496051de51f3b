//! Files that are mapped as RAM and become shorter: what is not there any more is zero from then on, and
//! somebody is told, in place of SIGBUS, which would end the process.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::huge;
use crate::ready;

/// How many ranges of this process can be guarded at once.
const PLACES: usize = 256;

/// A range that is guarded, in terms of what a signal handler can use.
struct Place {
    is_taken: AtomicBool,
    start: AtomicUsize,
    /// 0 where nothing is guarded: the last that is set, and the first that is not any more.
    end: AtomicUsize,
    /// Whom to tell: an event.
    event: AtomicI32,
}

static GUARDED: [Place; PLACES] = [const {
    Place {
        is_taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        event: AtomicI32::new(-1),
    }
}; PLACES];

static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

/// What a process did about SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Tells when something of a guarded range was not there.
#[derive(Debug)]
pub(crate) struct Loss(EventFd);

impl Loss {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?))
    }

    /// Readable when there was a loss.
    pub(crate) const fn event(&self) -> &EventFd {
        &self.0
    }

    /// Whether there ever was one. Whoever asks takes it from nobody else.
    pub(crate) fn was(&self) -> bool {
        ready::wait([&self.0], Some(Duration::ZERO)) == [true]
    }
}

/// A range that is guarded, as long as this lives. Not longer than the mapping, nor than who is told.
#[derive(Debug)]
pub(super) struct Guard(usize);

impl Guard {
    /// Guards a range of this process. `None` when there are too many, or signals cannot be had.
    pub(super) fn new(start: usize, bytes: usize, loss: &Loss) -> Option<Self> {
        install().ok()?;
        let free = |place: &Place| !place.is_taken.swap(true, Ordering::AcqRel);
        let number = GUARDED.iter().position(free)?;
        let place = &GUARDED[number];
        place.start.store(start, Ordering::Relaxed);
        place.event.store(loss.0.as_raw_fd(), Ordering::Relaxed);
        place.end.store(start.saturating_add(bytes), Ordering::Release);
        Some(Self(number))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let place = &GUARDED[self.0];
        place.end.store(0, Ordering::Release);
        place.is_taken.store(false, Ordering::Release);
    }
}

/// Has the process look at SIGBUS from here on.
fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let done = INSTALLED.get_or_init(|| {
        PAGE_BYTES.store(huge::small_page_bytes() as usize, Ordering::Relaxed);
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: fills the structure.
        if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error().raw_os_error().unwrap_or_default());
        }
        // SAFETY: filled, or zero, which it can be as well.
        let before = unsafe { before.assume_init() };
        // There before the handler is.
        let _ = BEFORE.set(before);
        let mut action = before;
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler does only what a handler may.
        match unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or_default()),
        }
    });
    done.map_err(io::Error::from_raw_os_error)
}

/// Maps a page of zeros where there was none of a file; for any other address, it is as before.
///
/// Only what signal-safety(7) allows: atomics, and system calls.
extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel's, for this signal.
    let address = unsafe { (*info).si_addr() } as usize;
    let is_in = |place: &&Place| {
        let end = place.end.load(Ordering::Acquire);
        address < end && place.start.load(Ordering::Relaxed) <= address
    };
    if let Some(place) = GUARDED.iter().find(is_in) {
        // SAFETY: this thread's own.
        let before = unsafe { *libc::__errno_location() };
        let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
        let page = address & !(page_bytes - 1);
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a page of a mapping that is guarded, which has nothing there any more; it is memory
        // that others change at any time.
        let mapped = unsafe { libc::mmap(page as *mut _, page_bytes, protection, flags, -1, 0) };
        let one = 1_u64;
        // SAFETY: 8 bytes, to an event, or to nobody.
        unsafe {
            libc::write(place.event.load(Ordering::Relaxed), (&raw const one).cast(), 8);
            *libc::__errno_location() = before;
        }
        if mapped != libc::MAP_FAILED {
            return;
        }
    }
    as_before(signal, info, context);
}

/// What would have been without a guard.
fn as_before(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.get().filter(|before| before.sa_sigaction > libc::SIG_IGN);
    let Some(before) = before else {
        // The same instruction does it again, and that ends the process.
        // SAFETY: the default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    };
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: a handler of this kind, as it says itself.
        let handler = unsafe {
            std::mem::transmute::<
                usize,
                extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
            >(before.sa_sigaction)
        };
        handler(signal, info, context);
    } else {
        // SAFETY: as above.
        let handler = unsafe {
            std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(before.sa_sigaction)
        };
        handler(signal);
    }
}
