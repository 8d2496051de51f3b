//! Virtio 1.2: devices, what works on their queues, and the PCI function that they are.

mod counters;
mod device;
#[cfg(any(test, feature = "test-utils"))]
pub mod driver;
mod interrupt;
#[cfg(any(test, feature = "test-utils"))]
pub mod mock;
mod notify;
mod pci;
#[cfg(any(test, feature = "test-utils"))]
pub mod pci_driver;
pub(crate) mod ring;
pub(crate) mod saved;
mod worker;

pub use counters::Counters;
pub use device::{ActivateError, Activation, ActiveQueue, DeviceKind, VirtioDevice};
pub use interrupt::{Interrupt, QueueInterrupt};
pub use notify::NotifyEvents;
pub use pci::{Connection, Execution, VirtioPci, VirtioPciError};
pub use worker::{QueueHandler, Worker};
