//! Messages of functions (MSI and MSI-X) as interrupts.

use std::fmt;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::PciWindows;
use crate::platform::{InterruptController, InterruptError, Signal, SourceNumber};

/// Takes the messages that functions write, and pulses the interrupt sources that they are for.
///
/// The host bridge programs each function, at the guest's request, to write the number of a source
/// to [`PciWindows::doorbell`]. A bus calls [`ring`](Self::ring) for what a function writes, or has
/// the back end do it by an [irqfd](Self::irqfd).
#[derive(Clone)]
pub struct Doorbell {
    controller: Arc<dyn InterruptController>,
    address: u64,
}

impl Doorbell {
    /// That of the bridge with these windows.
    pub fn new(controller: Arc<dyn InterruptController>, windows: &PciWindows) -> Self {
        Self { controller, address: windows.doorbell }
    }

    /// A function writes `data` to `address`: an interrupt if that is the doorbell, else nothing.
    pub fn ring(&self, address: u64, data: u32) {
        if address == self.address {
            self.controller.signal(SourceNumber(data), Signal::Pulse);
        }
    }

    /// A file whose being written to is this message; `None` where the back end has none, and for
    /// what is no message to the doorbell.
    ///
    /// # Errors
    /// [`InterruptError::Controller`] when the host fails, or has no such source.
    pub fn irqfd(&self, address: u64, data: u32) -> Result<Option<EventFd>, InterruptError> {
        if address != self.address {
            return Ok(None);
        }
        self.controller.irqfd(SourceNumber(data))
    }

    /// Has each write to `file` be this message, until it is [detached](Self::detach). False where
    /// the back end cannot, and for what is no message to the doorbell.
    ///
    /// # Errors
    /// [`InterruptError::Controller`] when the host fails, or has no such source.
    pub fn attach(&self, address: u64, data: u32, file: &EventFd) -> Result<bool, InterruptError> {
        if address != self.address {
            return Ok(false);
        }
        self.controller.attach(SourceNumber(data), file)
    }

    /// No longer; as it was [attached](Self::attach).
    ///
    /// # Errors
    /// [`InterruptError::Controller`] when the host fails.
    pub fn detach(&self, address: u64, data: u32, file: &EventFd) -> Result<(), InterruptError> {
        if address != self.address {
            return Ok(());
        }
        self.controller.detach(SourceNumber(data), file)
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("address", &self.address).finish_non_exhaustive()
    }
}
