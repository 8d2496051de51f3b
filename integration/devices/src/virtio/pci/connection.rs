//! What a function is connected to.

use std::fmt;
use std::sync::Arc;

use arch_ppc64::pci::{Doorbell, PciPin, PciWindows};

use crate::virtio::notify::NotifyEvents;

/// Who handles queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Execution {
    /// Each queue has a thread of its own.
    #[default]
    Threads,
    /// The thread of the vCPU that notifies a queue, before its store is done: so a machine that
    /// runs the same each time does so with its devices. What waits for files has threads all the
    /// same. There are no [notifications without the VMM](NotifyEvents) then.
    Inline,
}

/// The wires of a function: its interrupts, and its notifications.
#[non_exhaustive]
pub struct Connection {
    /// Its interrupt pin, INTA.
    pub pin: PciPin,
    /// Where it writes its messages.
    pub doorbell: Doorbell,
    /// The windows of the host bridge.
    pub windows: PciWindows,
    /// What the back end does for notifications.
    pub notify_events: Option<Arc<dyn NotifyEvents>>,
    /// Who handles its queues.
    pub execution: Execution,
}

impl Connection {
    /// With these interrupts, behind a bridge with these windows; queues have threads, and each
    /// notification is a store that the VMM sees.
    pub fn new(pin: PciPin, doorbell: Doorbell, windows: PciWindows) -> Self {
        Self { pin, doorbell, windows, notify_events: None, execution: Execution::Threads }
    }

    /// The same, with notifications that the back end has written to files.
    #[must_use]
    pub fn with_notify_events(mut self, events: Arc<dyn NotifyEvents>) -> Self {
        self.notify_events = Some(events);
        self
    }

    /// The same, with queues handled there.
    #[must_use]
    pub fn with_execution(mut self, execution: Execution) -> Self {
        self.execution = execution;
        self
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("pin", &self.pin)
            .field("execution", &self.execution)
            .finish_non_exhaustive()
    }
}
