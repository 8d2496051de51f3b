//! Notifications without an exit to the VMM.

use std::io;

use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

/// What a back end can do for notifications: have a store of the guest written to a file, without
/// the VMM seeing it (ioeventfd).
///
/// Called while the guest runs, from vCPU threads.
pub trait NotifyEvents: Send + Sync {
    /// Has each store of whatever width to `at` be a write to `file`, and nothing else. False where
    /// that cannot be: then the VMM is told of stores as of any other.
    ///
    /// # Errors
    /// What the host says, for instance of a place that has a file already.
    fn attach(&self, at: GuestAddress, file: &EventFd) -> io::Result<bool>;

    /// No longer; as it was [attached](Self::attach).
    ///
    /// # Errors
    /// What the host says.
    fn detach(&self, at: GuestAddress, file: &EventFd) -> io::Result<()>;
}
