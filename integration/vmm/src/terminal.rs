//! The terminal of the person at the VMM: raw while the guest has it, and given back as it was.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::signals;

/// The settings to go back to. One for the process: there is one terminal, and a panic hook has
/// to find them.
static SAVED: Mutex<Option<(RawFd, libc::termios)>> = Mutex::new(None);

/// Restores the terminal when dropped.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// Passes every key of standard input to the guest, if standard input is a terminal that
    /// belongs to this job. From here on a panic restores it, too.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !is_ours() {
            return Ok(None);
        }
        make_raw()?;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        Ok(Some(Self(())))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether standard input is a terminal.
pub(crate) fn is_there() -> bool {
    // SAFETY: asks about a descriptor by its number.
    unsafe { libc::isatty(libc::STDIN_FILENO) == 1 }
}

/// Makes the terminal raw, and remembers how it was.
pub(crate) fn make_raw() -> io::Result<()> {
    let fd = libc::STDIN_FILENO;
    let mut saved = saved();
    if saved.is_some() || !is_ours() {
        return Ok(());
    }
    let before = settings(fd)?;
    let mut raw = before;
    // SAFETY: changes the structure only.
    unsafe { libc::cfmakeraw(&raw mut raw) };
    set(fd, &raw)?;
    *saved = Some((fd, before));
    Ok(())
}

/// Puts the terminal back as it was.
pub(crate) fn restore() {
    if let Some((fd, before)) = saved().take() {
        // Nobody is left to tell when this fails.
        let _ = set(fd, &before);
    }
}

/// Whether standard input is a terminal, and this job is the one in its foreground.
fn is_ours() -> bool {
    // SAFETY: asks about a descriptor by its number.
    is_there() && unsafe { libc::tcgetpgrp(libc::STDIN_FILENO) == libc::getpgrp() }
}

fn saved() -> MutexGuard<'static, Option<(RawFd, libc::termios)>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings(fd: RawFd) -> io::Result<libc::termios> {
    let mut termios = std::mem::MaybeUninit::uninit();
    // SAFETY: fills the structure.
    if unsafe { libc::tcgetattr(fd, termios.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled, as the call succeeded.
    Ok(unsafe { termios.assume_init() })
}

fn set(fd: RawFd, termios: &libc::termios) -> io::Result<()> {
    // A job that is not in the foreground any more would be stopped for it.
    let done = signals::without(libc::SIGTTOU, || {
        // SAFETY: reads the structure only. TCSADRAIN: what the guest wrote is shown as it was
        // meant.
        unsafe { libc::tcsetattr(fd, libc::TCSADRAIN, termios) }
    });
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
