//! Devices in other processes, by the vhost-user protocol: virtiofsd, passt, and others.
//!
//! The daemon listens at a Unix socket. It gets guest memory and the queues, and works on them by
//! itself: a request costs this process nothing. What the device is, is in a [`DeviceSpec`]:
//! [`fs::spec`] for a file system that is shared with the host, [`DeviceSpec::block`] and
//! [`DeviceSpec::net`] for what has its configuration from the daemon.
//!
//! The daemon writes to guest memory without vm-memory's `Bitmap` being told. Where somebody relies
//! on that, [`VhostUser::with_relayed_queues`] has all writes marked before the driver can see
//! them.

mod connection;
mod daemon;
mod device;
mod error;
pub mod fs;
mod saved;
mod spec;
mod state;
#[cfg(test)]
mod tests;
mod watcher;

pub use device::VhostUser;
pub use error::VhostUserError;
pub use spec::{Configuration, DeviceSpec};
