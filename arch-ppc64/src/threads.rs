//! Threads that the crates of this project start by themselves, and what a VMM has each of them do
//! first.
//!
//! A VMM that confines its threads, each to what it needs (seccomp filters, say), knows when those
//! threads start that are its own. A device's and a disk's are the libraries'. Such a thread calls
//! [`starts`] before anything else, and that calls the VMM's function, if it has [one](on_start). As
//! with a logger, there is one for the process: such threads are started in many places, and what they
//! are confined to is the process's.
//!
//! ```
//! use arch_ppc64::threads::{self, Role};
//!
//! fn confine(role: Role) {
//!     // What a thread of this role needs is known here.
//!     # let _ = role;
//! }
//!
//! threads::on_start(confine).unwrap();
//! // As a library's thread does:
//! std::thread::spawn(|| threads::starts(Role::ClientDisk)).join().unwrap();
//! ```

use std::sync::OnceLock;

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It works for a virtio device of this number (Virtio 1.2 §5), such as 2 for a block device. It is
    /// started by the thread of a virtual CPU, or by another one of the same device.
    Device(u16),
    /// It reads and writes a disk for client programs. It is started by the thread of a virtual CPU.
    ClientDisk,
    /// It writes non-volatile memory to its file. It is started by whoever opens that.
    Nvram,
    /// It ends a connection to another process that does not answer. It is started by whoever waits
    /// for that.
    Patience,
}

static FIRST: OnceLock<fn(Role)> = OnceLock::new();

/// There is a function already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what threads do first has been said already")]
pub struct AlreadySet;

/// From here on `first` is what each thread of a library does first.
///
/// # Errors
/// [`AlreadySet`]; the first one stays.
pub fn on_start(first: fn(Role)) -> Result<(), AlreadySet> {
    FIRST.set(first).map_err(|_| AlreadySet)
}

/// Called by each thread of a library before anything else. Does nothing where nobody wants to know.
pub fn starts(role: Role) {
    if let Some(first) = FIRST.get() {
        first(role);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static SEEN: Mutex<Vec<Role>> = Mutex::new(Vec::new());

    #[test]
    fn there_is_one_function_and_it_hears_of_all() {
        starts(Role::Nvram);
        on_start(|role| SEEN.lock().unwrap().push(role)).unwrap();
        assert_eq!(on_start(|_| unreachable!()), Err(AlreadySet));
        starts(Role::Device(2));
        // Other tests of this process may start threads, too.
        assert!(SEEN.lock().unwrap().contains(&Role::Device(2)));
        assert!(!SEEN.lock().unwrap().contains(&Role::Nvram));
    }
}
