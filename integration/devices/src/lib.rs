#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![deny(unsafe_code)]

#[cfg(test)]
mod active;
pub mod blk;
pub mod chain;
pub mod console;
pub mod disk;
pub mod host_console;
pub mod ioctls;
pub mod iovec;
pub mod net;
pub mod nvram;
pub mod pci;
pub mod rng;
mod unix_listener;
pub mod unix_socket;
mod vhost;
pub mod vhost_user;
pub mod virtio;
pub mod vsock;
