//! The device.

use std::path::Path;

use arch_ppc64::platform::{StateError, StateValue};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestAddressSpace;

use super::backend::Backend;
use super::error::VsockError;
use crate::unix_listener::Listener;
use crate::virtio::saved::check_version;
use crate::virtio::{ActivateError, Activation, DeviceKind, VirtioDevice, Worker};

/// Which device it is (Virtio 1.2 §5.10), as a PCI function another controller for communications.
pub const KIND: DeviceKind = DeviceKind::new(19, 0x07_8000);

/// The sizes of the queues for packets to the guest, from it, and for events.
pub const QUEUE_SIZES: [u16; 3] = [256, 256, 64];

/// A virtio-vsock device in this process: the guest's sockets are Unix sockets of the host.
///
/// The connection between the two is made as Firecracker documents it. A process on the host
/// connects to `PATH`, writes `CONNECT 1234` and a newline for port 1234 of the guest, and reads `OK`, a number
/// and a newline once the guest has accepted. A guest that connects to port 1234 of the host
/// (address 2) gets to the process that listens at `PATH_1234`.
///
/// There are stream sockets only. Data goes between the host's sockets and guest memory without
/// being copied in between; of what the host does not read in time, 64 KiB for each of at most
/// 1024 connections are kept.
#[derive(Debug)]
pub struct Vsock {
    cid: u64,
    listener: Listener,
    /// Its driver has connections that are not here.
    is_new_here: bool,
}

impl Vsock {
    /// The device for the guest with the address `cid`, listening at `path`. A socket that is
    /// there already is replaced if nobody listens at it; it goes away with the device.
    ///
    /// # Errors
    /// [`VsockError`] if there can be no such address or socket.
    pub fn new(cid: u64, path: &Path) -> Result<Self, VsockError> {
        check_cid(cid)?;
        let listen = |source| VsockError::Listen { path: path.to_owned(), source };
        let listener = Listener::bind(path).map_err(listen)?;
        Ok(Self { cid, listener, is_new_here: false })
    }
}

impl<M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for Vsock {
    fn kind(&self) -> DeviceKind {
        KIND
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_cid(self.cid, offset, data);
    }

    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError> {
        let failed = |source| ActivateError::Host { what: "no socket for virtio-vsock", source };
        let socket = self.listener.socket().try_clone().map_err(failed)?;
        let path = self.listener.path().to_owned();
        let backend = Backend::new(self.cid, path, socket, activation, self.is_new_here)?;
        self.is_new_here = false;
        Ok(vec![Worker::Subscriber(Box::new(backend))])
    }

    fn reset(&mut self) {
        self.is_new_here = false;
    }

    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&VsockState {})
    }

    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        restore(version, state)?;
        self.is_new_here = true;
        Ok(())
    }
}

/// What is saved of such a device: nothing, as sockets of the host cannot go elsewhere. The driver
/// of one that takes it up is told that they are gone, and reads its address anew (§5.10.6.7).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VsockState {}

/// Whether there was such a device.
pub(super) fn restore(version: u32, state: &StateValue) -> Result<(), StateError> {
    check_version(version, 1)?;
    state.get().map(|VsockState {}| ())
}

/// Whether a guest can have this address.
pub(super) fn check_cid(cid: u64) -> Result<(), VsockError> {
    // Below are those of the hypervisor, this machine, and the host; the last is nobody's.
    if (3..u64::from(u32::MAX)).contains(&cid) { Ok(()) } else { Err(VsockError::Cid(cid)) }
}

/// Reads the configuration, which has the address and nothing else.
pub(super) fn read_cid(cid: u64, offset: u64, data: &mut [u8]) {
    let config = cid.to_le_bytes();
    if let Some(from) = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)) {
        let bytes = from.len().min(data.len());
        data[..bytes].copy_from_slice(&from[..bytes]);
    }
}
