//! Entering the guest, and keeping what that destroys.
//!
//! A thread that is switched out inside `KVM_RUN` comes back with the *guest's* values in the
//! floating-point and vector registers that belong to a function's caller (f14 to f31, v20 to v31),
//! and in FPSCR and VSCR. Compiled code may have values there over a call. Stable Rust has no
//! `asm!` for PowerPC with which they could be named as clobbered; but glibc's `swapcontext`
//! stores all of them, and loads them when that context is gone back to. So the ioctl is made in a
//! context of its own, on a stack of its own.

pub(crate) use implementation::Entrance;

#[cfg(all(target_arch = "powerpc64", target_endian = "little", target_env = "gnu"))]
mod implementation {
    use std::ffi::c_void;
    use std::io;
    use std::mem::offset_of;
    use std::os::fd::OwnedFd;
    use std::ptr::NonNull;

    use crate::sys;

    /// Handlers of signals that interrupt a run are called on it, too.
    const STACK_BYTES: usize = 256 << 10;

    /// glibc's `ucontext_t` of 64-bit POWER, as far as it has to be known.
    #[repr(C, align(16))]
    struct Context {
        flags: u64,
        link: *mut Context,
        stack: *mut c_void,
        stack_flags: i32,
        stack_bytes: usize,
        rest: [u64; 175],
    }

    const _: () = {
        assert!(size_of::<Context>() == 1440);
        assert!(offset_of!(Context, link) == 8 && offset_of!(Context, stack) == 16);
        assert!(offset_of!(Context, stack_flags) == 24 && offset_of!(Context, stack_bytes) == 32);
    };

    impl Context {
        const fn new() -> Self {
            Self {
                flags: 0,
                link: std::ptr::null_mut(),
                stack: std::ptr::null_mut(),
                stack_flags: 0,
                stack_bytes: 0,
                rest: [0; 175],
            }
        }
    }

    unsafe extern "C" {
        fn getcontext(context: *mut Context) -> libc::c_int;
        fn makecontext(
            context: *mut Context,
            function: extern "C" fn(usize),
            count: libc::c_int,
            ...
        );
        fn swapcontext(old: *mut Context, new: *const Context) -> libc::c_int;
    }

    /// The stack that a CPU enters the guest from.
    #[derive(Debug)]
    pub(crate) struct Entrance {
        /// Its lowest page cannot be accessed.
        mapping: NonNull<c_void>,
        bytes: usize,
    }

    // SAFETY: memory of the process, used by `run` only, which borrows it exclusively.
    unsafe impl Send for Entrance {}
    // SAFETY: as above.
    unsafe impl Sync for Entrance {}

    /// What `enter` is told and tells.
    struct Entry<'a> {
        vcpu: &'a OwnedFd,
        result: io::Result<i32>,
    }

    impl Entrance {
        pub(crate) fn new() -> io::Result<Self> {
            let guard = crate::memory::host_page_bytes() as usize;
            let bytes = STACK_BYTES + guard;
            // SAFETY: a new mapping at an address of the kernel's choice.
            let mapping = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    bytes,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if mapping == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let mapping = NonNull::new(mapping).ok_or_else(|| io::Error::other("mapped at 0"))?;
            let entrance = Self { mapping, bytes };
            // SAFETY: the first page of the mapping, which nobody uses yet.
            if unsafe { libc::mprotect(mapping.as_ptr(), guard, libc::PROT_NONE) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(entrance)
        }

        /// `KVM_RUN`, after which all registers of the calling thread that a function keeps are as
        /// before.
        #[inline(never)]
        pub(crate) fn run(&mut self, vcpu: &OwnedFd) -> io::Result<i32> {
            let mut entry = Entry { vcpu, result: Ok(0) };
            let mut here = Context::new();
            let mut inside = Context::new();
            // SAFETY: both contexts are as large as glibc's; `enter` takes the one argument, the
            // address of `entry`, which lives until this returns, and this returns when `enter`
            // has: its end leads to `here` (`link`). The stack is nobody else's, as `self` is
            // borrowed exclusively. Nothing unwinds out of `enter`.
            let swapped = unsafe {
                if getcontext(&raw mut inside) != 0 {
                    return Err(io::Error::last_os_error());
                }
                inside.link = &raw mut here;
                inside.stack = self.mapping.as_ptr();
                inside.stack_bytes = self.bytes;
                let argument = (&raw mut entry).expose_provenance();
                makecontext(&raw mut inside, enter, 1, argument);
                swapcontext(&raw mut here, &raw const inside)
            };
            if swapped != 0 {
                return Err(io::Error::last_os_error());
            }
            entry.result
        }
    }

    extern "C" fn enter(entry: usize) {
        // SAFETY: the address that `run` exposed of its `entry`, which it does not use meanwhile.
        let entry = unsafe { &mut *std::ptr::with_exposed_provenance_mut::<Entry<'_>>(entry) };
        entry.result = sys::with_value(entry.vcpu, sys::RUN, 0);
    }

    impl Drop for Entrance {
        fn drop(&mut self) {
            // SAFETY: mapped by `new`, and no context is on it.
            unsafe { libc::munmap(self.mapping.as_ptr(), self.bytes) };
        }
    }
}

#[cfg(not(all(target_arch = "powerpc64", target_endian = "little", target_env = "gnu")))]
mod implementation {
    use std::io;
    use std::os::fd::OwnedFd;

    use crate::sys;

    /// Here, nothing is kept: hosts that cannot run guests need nothing, and other C libraries of
    /// POWER hosts have no `swapcontext`.
    #[derive(Debug)]
    pub(crate) struct Entrance(());

    impl Entrance {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self(()))
        }

        /// `KVM_RUN`.
        #[inline(never)]
        pub(crate) fn run(&mut self, vcpu: &OwnedFd) -> io::Result<i32> {
            sys::with_value(vcpu, sys::RUN, 0)
        }
    }
}
