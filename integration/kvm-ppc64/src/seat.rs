//! What others than its own thread know of a virtual CPU.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arch_ppc64::{CpuIndex, ServerNumber};

use crate::run_area::RunArea;
use crate::sys;

/// A virtual CPU, as it is shared.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) index: CpuIndex,
    pub(crate) server: ServerNumber,
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) area: Arc<RunArea>,
    /// Held while the CPU is in the kernel's `KVM_RUN`.
    inside: Mutex<()>,
}

impl Seat {
    pub(crate) fn new(
        index: CpuIndex,
        server: ServerNumber,
        fd: Arc<OwnedFd>,
        area: Arc<RunArea>,
    ) -> Self {
        Self { index, server, fd, area, inside: Mutex::default() }
    }

    /// Waits until the CPU is in no run, and keeps it out of the next one.
    pub(crate) fn enter(&self) -> MutexGuard<'_, ()> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has KVM give the CPU something.
    pub(crate) fn enable(&self, capability: u32, first: u64, second: u64) -> io::Result<()> {
        let mut request = sys::EnableCap::new(capability, first, second);
        sys::with_struct(&self.fd, sys::ENABLE_CAP, &mut request)?;
        Ok(())
    }
}
