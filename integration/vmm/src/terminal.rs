//! The terminal of the person at the VMM: raw while the guest has it, and given back as it was.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
        let fd = libc::STDIN_FILENO;
        // SAFETY: asks about a descriptor by its number.
        let ours = unsafe { libc::isatty(fd) == 1 && libc::tcgetpgrp(fd) == libc::getpgrp() };
        if !ours {
            return Ok(None);
        }
        let before = settings(fd)?;
        let mut raw = before;
        // SAFETY: changes the structure only.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        *saved() = Some((fd, before));
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        set(fd, &raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some((fd, before)) = saved().take() {
        // Nobody is left to tell when this fails.
        let _ = set(fd, &before);
    }
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
    // SAFETY: reads the structure only. TCSADRAIN: what the guest wrote is shown as it was meant.
    if unsafe { libc::tcsetattr(fd, libc::TCSADRAIN, termios) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
