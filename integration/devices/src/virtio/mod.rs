//! Virtio 1.2: devices, what works on their queues, and the PCI function that they are.

mod device;
#[cfg(any(test, feature = "test-utils"))]
pub mod driver;
mod interrupt;
pub(crate) mod ring;
mod worker;

pub use device::{ActivateError, Activation, ActiveQueue, DeviceKind, VirtioDevice};
pub use interrupt::{Interrupt, QueueInterrupt};
pub use worker::{QueueHandler, Worker};
