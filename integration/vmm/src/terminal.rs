//! The terminal of the person at the VMM: raw while the guest has it, and given back as it was.
//!
//! It may be another job's: one that was started in the background has no terminal until it comes
//! to the foreground, and one that was stopped may go on without. Nothing here waits for output
//! that is not read.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, Once};

use crate::locks::lock;
use crate::signals;

const TERMINAL: RawFd = libc::STDIN_FILENO;

/// The settings to go back to, as long as the terminal may be raw: whoever finds them, be it the
/// handler of a signal, puts them back, and twice does no harm. They are never freed, as a handler
/// may be reading them. One for the process, as there is one terminal.
static BEFORE: AtomicPtr<libc::termios> = AtomicPtr::new(ptr::null_mut());

/// Held by who changes the terminal, except in a handler.
static CHANGES: Mutex<Wanted> = Mutex::new(Wanted::AsItWas);

/// What is to become of the terminal when it is this job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    AsItWas,
    Raw,
}

/// Whose the terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Standard input is no terminal.
    NoTerminal,
    /// It is that of another session, or was hung up.
    Foreign,
    /// Another job has it.
    Background,
    /// This job has it.
    Foreground,
}

/// Where this job is.
pub(crate) fn place() -> Place {
    // SAFETY: asks about a descriptor by its number.
    if unsafe { libc::isatty(TERMINAL) } != 1 {
        return Place::NoTerminal;
    }
    // SAFETY: as above, and about this process.
    let (owner, own) = unsafe { (libc::tcgetpgrp(TERMINAL), libc::getpgrp()) };
    match owner {
        -1 => Place::Foreign,
        _ if owner == own => Place::Foreground,
        _ => Place::Background,
    }
}

/// Restores the terminal when dropped.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// Passes every key of standard input to the guest, if standard input is a terminal, and while
    /// that belongs to this job: [`look`] finds out. From here on a panic, a signal that ends the
    /// process, and `exit` restore it.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if matches!(place(), Place::NoTerminal | Place::Foreign) {
            return Ok(None);
        }
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                hook(panic);
            }));
            signals::before_death(restore_anywhere);
            // SAFETY: the function takes no lock that an exit may find taken. Fails when there is no
            // memory for it: this program does not call `exit` itself.
            unsafe { libc::atexit(at_exit) };
        });
        *changes() = Wanted::Raw;
        let this = Self(());
        look()?;
        Ok(Some(this))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        *changes() = Wanted::AsItWas;
        restore();
    }
}

/// Makes the terminal raw if it is this job's and is to be, and gives it up if it is another's.
/// Gives where this job is.
pub(crate) fn look() -> io::Result<Place> {
    let wanted = changes();
    let place = place();
    match (place, *wanted) {
        (Place::Foreground, Wanted::Raw) => make_raw()?,
        (Place::Foreground, Wanted::AsItWas) => {}
        _ => restore_with(&wanted),
    }
    Ok(place)
}

fn make_raw() -> io::Result<()> {
    let now = settings()?;
    let raw = raw_of(&now);
    if same(&raw, &now) && is_raw() {
        return Ok(());
    }
    // First: who comes in between restores too much, not too little. If this job was stopped without
    // a word, the shell made the terminal as it likes it, and other settings were here.
    BEFORE.store(Box::into_raw(Box::new(now)), Ordering::SeqCst);
    signals::without(&[libc::SIGTTOU], || set(&raw))
}

/// Puts the terminal back as it was.
pub(crate) fn restore() {
    restore_with(&changes());
}

fn restore_with(_changes: &MutexGuard<'_, Wanted>) {
    restore_anywhere();
}

/// Whether this process has made the terminal raw.
pub(crate) fn is_raw() -> bool {
    !BEFORE.load(Ordering::SeqCst).is_null()
}

/// Whether a file is a terminal.
pub(crate) fn is_one(file: &File) -> bool {
    // SAFETY: asks about an open descriptor.
    unsafe { libc::isatty(file.as_raw_fd()) == 1 }
}

/// Whether a terminal is the one of standard input.
pub(crate) fn is_ours(file: &File) -> bool {
    let input = std::fs::metadata("/proc/self/fd/0");
    matches!((file.metadata(), input), (Ok(one), Ok(other))
        if (one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// As [`restore`], in the handler of a signal, where no lock and no memory can be had.
fn restore_anywhere() {
    let before = BEFORE.load(Ordering::SeqCst);
    // SAFETY: null, or points to settings, which are not changed and never freed.
    let Some(settings) = (unsafe { before.as_ref() }) else { return };
    signals::without(&[libc::SIGTTOU], || give_back(settings));
    // Only now: who ends the process meanwhile has to find them. If there are others, they stay.
    let _ = BEFORE.compare_exchange(before, ptr::null_mut(), Ordering::SeqCst, Ordering::SeqCst);
}

/// Makes the terminal as it was, unless another job has it and made it what it likes. Does only
/// what is allowed in the handler of a signal (signal-safety(7)).
fn give_back(before: &libc::termios) {
    // SAFETY: asks about a descriptor by its number, and about this process.
    let is_this_jobs = unsafe { libc::tcgetpgrp(TERMINAL) == libc::getpgrp() };
    if is_this_jobs || settings().is_ok_and(|now| same(&now, &raw_of(before))) {
        // Nobody is left to tell when this fails.
        let _ = set(before);
    }
}

/// What settings become when keys are passed on as they are, and text is shown as it is.
fn raw_of(settings: &libc::termios) -> libc::termios {
    let mut raw = *settings;
    // SAFETY: changes the structure only.
    unsafe { libc::cfmakeraw(&raw mut raw) };
    raw
}

extern "C" fn at_exit() {
    restore_anywhere();
}

fn changes() -> MutexGuard<'static, Wanted> {
    lock(&CHANGES)
}

fn settings() -> io::Result<libc::termios> {
    let mut termios = std::mem::MaybeUninit::uninit();
    // SAFETY: fills the structure.
    if unsafe { libc::tcgetattr(TERMINAL, termios.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled, as the call succeeded.
    Ok(unsafe { termios.assume_init() })
}

/// A job that is not in the foreground any more would be stopped for it (SIGTTOU).
fn set(termios: &libc::termios) -> io::Result<()> {
    // SAFETY: reads the structure only. TCSANOW: what is waited for otherwise is that somebody
    // reads what was written.
    let done = unsafe { libc::tcsetattr(TERMINAL, libc::TCSANOW, termios) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn same(one: &libc::termios, other: &libc::termios) -> bool {
    let flags = |t: &libc::termios| (t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_cc);
    flags(one) == flags(other)
}
