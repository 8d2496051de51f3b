//! Sockets between the guest and its host (Virtio 1.2 §5.10).

mod backend;
mod connection;
mod device;
mod error;
mod header;
mod listener;
mod table;
#[cfg(test)]
mod tests;

pub use device::Vsock;
pub use error::VsockError;
