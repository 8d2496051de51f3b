//! The memory that a CPU and the kernel share, and how other threads stop the CPU.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};

use arch_ppc64::Kick;

use crate::sys;

/// The memory that a CPU and the kernel share, and what other threads need to stop the CPU.
#[derive(Debug)]
pub(crate) struct RunArea {
    run: NonNull<sys::Run>,
    bytes: usize,
    /// Kernel's number of the thread that runs the CPU; 0 when none did yet.
    thread: AtomicI32,
    /// Somebody kicked the CPU, and no run was interrupted by it yet.
    kicked: AtomicBool,
    signal: libc::c_int,
}

// SAFETY: other threads use only `immediate_exit`, atomically, and the fields beside `run`. The
// rest of the area is reached through methods that only the CPU's own thread calls.
unsafe impl Send for RunArea {}
// SAFETY: as above.
unsafe impl Sync for RunArea {}

impl RunArea {
    pub(crate) fn map(vcpu: &OwnedFd, bytes: usize, signal: libc::c_int) -> io::Result<Self> {
        if bytes < size_of::<sys::Run>() {
            return Err(io::Error::other(format!("KVM's run area has only {bytes} bytes")));
        }
        // SAFETY: a new mapping at an address of the kernel's choice; nothing is overwritten.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                vcpu.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let run = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { run, bytes, thread: AtomicI32::new(0), kicked: AtomicBool::new(false), signal })
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        // SAFETY: in bounds and aligned (one byte), mapped as long as `self`; both sides, this
        // and the kernel, access it as a single byte.
        unsafe { AtomicU8::from_ptr(&raw mut (*self.run.as_ptr()).immediate_exit) }
    }

    pub(crate) fn set_immediate_exit(&self, on: bool) {
        self.immediate_exit().store(on.into(), Ordering::SeqCst);
    }

    /// A run was interrupted: whoever kicked the CPU has had that.
    pub(crate) fn take_kick(&self) {
        self.kicked.store(false, Ordering::SeqCst);
        self.set_immediate_exit(false);
    }

    /// Takes back an immediate exit that was not for a kick.
    pub(crate) fn end_immediate_exit(&self) {
        self.set_immediate_exit(false);
        // In this order: a kick that is not seen here sets the byte after it was cleared.
        if self.kicked.load(Ordering::SeqCst) {
            self.set_immediate_exit(true);
        }
    }

    pub(crate) fn exit_reason(&self) -> u32 {
        // SAFETY: in bounds and aligned; written by the kernel only inside RUN.
        unsafe { (&raw const (*self.run.as_ptr()).exit_reason).read_volatile() }
    }

    /// # Safety
    /// Only by the CPU's own thread, outside of RUN, and one reference at a time.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn exit(&self) -> &mut sys::Exit {
        // SAFETY: in bounds and aligned; the caller vouches for the rest.
        unsafe { &mut (*self.run.as_ptr()).exit }
    }

    /// Notes that the calling thread is the one that runs the CPU.
    pub(crate) fn runs_here(&self) {
        // SAFETY: takes nothing and cannot fail.
        self.thread.store(unsafe { libc::gettid() }, Ordering::SeqCst);
    }
}

impl Drop for RunArea {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nobody has a reference any more.
        unsafe { libc::munmap(self.run.as_ptr().cast(), self.bytes) };
    }
}

impl Kick for RunArea {
    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        // Then the byte, so that a run that begins before the signal comes ends at once.
        self.set_immediate_exit(true);
        let thread = self.thread.load(Ordering::SeqCst);
        if thread != 0 {
            // SAFETY: names a thread of this process; one that has ended gives ESRCH. The VMM has
            // a handler for the signal.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, self.signal) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// An area without a KVM: any mapping will do.
    fn area() -> RunArea {
        let file = File::options().read(true).write(true).open("/dev/zero").unwrap();
        RunArea::map(&file.into(), 65536, libc::SIGRTMIN()).unwrap()
    }

    #[test]
    fn a_kick_outlives_an_immediate_exit_that_is_not_for_it() {
        let area = area();
        area.set_immediate_exit(true);
        area.end_immediate_exit();
        assert_eq!(area.immediate_exit().load(Ordering::SeqCst), 0);
        area.set_immediate_exit(true);
        area.kick();
        area.end_immediate_exit();
        assert_eq!(area.immediate_exit().load(Ordering::SeqCst), 1);
        area.take_kick();
        assert_eq!(area.immediate_exit().load(Ordering::SeqCst), 0);
    }

    #[test]
    fn an_area_has_room_for_what_is_in_it() {
        let file = File::open("/dev/zero").unwrap();
        assert!(RunArea::map(&file.into(), 100, 1).is_err());
    }
}
