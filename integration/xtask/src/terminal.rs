//! The terminal of the person at the keyboard: raw while the emulated host has it, and given back
//! as it was.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The settings to go back to. One for the process: there is one terminal, and a panic hook has
/// to find them.
static SAVED: Mutex<Option<libc::termios>> = Mutex::new(None);

const KEYBOARD: RawFd = libc::STDIN_FILENO;

/// Restores the terminal when dropped.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// Passes every key on from here, Ctrl-C included. From now on a panic restores it, too.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = settings(KEYBOARD)?;
        let mut raw = before;
        // SAFETY: changes the structure only.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        *saved() = Some(before);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        set(&raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether standard input is a terminal whose keys are meant for this job.
pub(crate) fn is_ours() -> bool {
    // SAFETY: asks about a descriptor by its number.
    unsafe { libc::isatty(KEYBOARD) == 1 && libc::tcgetpgrp(KEYBOARD) == libc::getpgrp() }
}

/// Whether standard output is a terminal.
pub(crate) fn shows_output() -> bool {
    // SAFETY: asks about a descriptor by its number.
    unsafe { libc::isatty(libc::STDOUT_FILENO) == 1 }
}

/// Rows and columns of the terminal on standard output, if it is one that knows.
pub(crate) fn size() -> Option<(u16, u16)> {
    let mut size = MaybeUninit::<libc::winsize>::uninit();
    // SAFETY: fills the structure.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: filled, as the call succeeded.
    let size = unsafe { size.assume_init() };
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The settings of a terminal.
pub(crate) fn settings(fd: RawFd) -> io::Result<libc::termios> {
    let mut termios = MaybeUninit::uninit();
    // SAFETY: fills the structure.
    if unsafe { libc::tcgetattr(fd, termios.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled, as the call succeeded.
    Ok(unsafe { termios.assume_init() })
}

fn restore() {
    if let Some(before) = saved().take() {
        // Nobody is left to tell when this fails.
        let _ = set(&before);
    }
}

fn set(termios: &libc::termios) -> io::Result<()> {
    // SAFETY: reads the structure only. TCSADRAIN: what was printed is shown as it was meant.
    if unsafe { libc::tcsetattr(KEYBOARD, libc::TCSADRAIN, termios) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn saved() -> MutexGuard<'static, Option<libc::termios>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}
