//! Sockets between the guest and its host (Virtio 1.2 §5.10).
//!
//! [`Vsock`] works on any host, and connects the guest to Unix sockets; [`KernelVsock`] is the
//! kernel's, and connects it to the host's sockets of the family `AF_VSOCK`.

mod backend;
mod connection;
mod device;
mod error;
mod event;
mod header;
mod host;
pub(crate) mod kernel;
mod table;
#[cfg(test)]
mod tests;

pub use device::{KIND, QUEUE_SIZES, Vsock};
pub use error::VsockError;
pub use kernel::KernelVsock;
