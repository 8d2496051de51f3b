//! The two halves of a machine that stands still: CPUs and devices; and its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arch_ppc64::platform::{Platform, PlatformError};
use arch_ppc64::smp::{Mailboxes, StillRunning};

use crate::devices::HeldError;
use crate::vcpu::Vm;

/// Why a machine does not stand still, or does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// There is no machine yet, or none any more.
    #[error("no machine is running")]
    NotRunning,
    /// Somebody else changes it at the moment.
    #[error("another request has the machine at the moment")]
    Busy,
    /// It starts at the moment, which takes longer.
    #[error("the machine is about to start")]
    Starting,
    /// A CPU is at something that does not end.
    #[error("the machine cannot be paused")]
    Cpu(#[from] StillRunning),
    /// A device is, or cannot go on.
    #[error(transparent)]
    Device(#[from] PlatformError),
    /// A file that it has let go of, as it was to move, is another one's.
    #[error("the machine has let go of its files, and cannot have them back")]
    Files(#[from] HeldError),
}

/// What of a machine stands still.
#[derive(Clone)]
pub(crate) struct Halves {
    mailboxes: Arc<Mailboxes>,
    platform: Arc<Platform>,
    /// Whose clock stands still.
    vm: Option<Arc<dyn Vm>>,
}

impl Halves {
    pub(crate) fn new(
        mailboxes: Arc<Mailboxes>,
        platform: Arc<Platform>,
        vm: Option<Arc<dyn Vm>>,
    ) -> Self {
        Self { mailboxes, platform, vm }
    }

    /// Whether it stands still; false for one that ends instead, and does nothing more.
    pub(crate) fn pause(&self, limit: Duration) -> Result<bool, PauseError> {
        let start = Instant::now();
        self.mailboxes.pause();
        if !self.mailboxes.await_paused_for(limit)? {
            return Ok(false);
        }
        // What devices still have to do takes the guest no time.
        self.pause_clock();
        self.platform.pause(limit.saturating_sub(start.elapsed()))?;
        Ok(true)
    }

    /// Whether they are those of the same start.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.platform, &other.platform)
    }

    /// What is about to start stands still from then on: its devices do nothing yet.
    pub(crate) fn hold(&self) {
        self.mailboxes.pause();
        self.pause_clock();
        let _ = self.platform.pause(Duration::ZERO);
    }

    fn pause_clock(&self) {
        if let Some(vm) = &self.vm {
            vm.pause_clock();
        }
    }

    /// The time of a machine that goes on goes on: a clock may be older than the machine.
    pub(crate) fn resume_clock(&self) {
        if let Some(vm) = &self.vm {
            vm.resume_clock();
        }
    }

    /// The CPUs go on in any case: one of their devices that does not needs a reset.
    pub(crate) fn resume(&self) -> Result<(), PlatformError> {
        let resumed = self.platform.resume();
        self.resume_clock();
        self.mailboxes.resume();
        resumed
    }
}

impl std::fmt::Debug for Halves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Halves").field("cpus", &self.mailboxes).finish_non_exhaustive()
    }
}
