//! How a device tells its driver.

use std::io;

use vmm_sys_util::eventfd::EventFd;

/// The interrupt of a device as a whole.
pub trait Interrupt: Send + Sync {
    /// The configuration of the device has changed (Virtio 1.2 §2.3).
    fn configuration_changed(&self);

    /// The device has met what it cannot go on from, such as a queue that makes no sense
    /// (DEVICE_NEEDS_RESET, §2.1.2). What works on its queues leaves them alone from here on.
    fn needs_reset(&self);
}

/// The interrupt of a queue.
pub trait QueueInterrupt: Send + Sync {
    /// Buffers have been used (§2.7.7). The caller has seen that the driver wants to know.
    fn used(&self);

    /// A file whose being written to does the same, for workers in other processes and in the
    /// kernel. It is the same file for as long as the device is active.
    ///
    /// # Errors
    /// What the host says.
    fn file(&self) -> io::Result<EventFd>;
}
