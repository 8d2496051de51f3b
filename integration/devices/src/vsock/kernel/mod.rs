//! The device whose sockets are the host's of family `AF_VSOCK`: the kernel works on its queues.

pub(crate) mod calls;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arch_ppc64::platform::{StateError, StateValue};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestAddressSpace;

use self::calls::{set_cid, set_running};
use super::device::{KIND, QUEUE_SIZES, VsockState, check_cid, read_cid, restore};
use super::error::VsockError;
use super::event::{EventQueue, EventWorker};
use crate::vhost::Session;
use crate::vhost::kernel::KernelVhost;
use crate::vhost::kernel_session::KernelSession;
use crate::vhost::vring::Vring;
use crate::virtio::{ActivateError, Activation, DeviceKind, VirtioDevice, Worker};

/// Where the kernel has it.
const FILE: &str = "/dev/vhost-vsock";

const KERNEL_FAILS: &str = "the kernel's vhost-vsock cannot be used";

const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// `VIRTIO_VSOCK_F_STREAM` and `_SEQPACKET` (Virtio 1.2 §5.10.3), and those of queues.
const FEATURES: u64 = 0b11 | EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// A virtio-vsock device in the host's kernel: processes on the host reach the guest, and are
/// reached, by `AF_VSOCK`.
///
/// The kernel writes to guest memory without vm-memory's `Bitmap` being told: see
/// [`with_relayed_queues`](Self::with_relayed_queues).
pub struct KernelVsock {
    cid: u64,
    session: Arc<KernelSession>,
    features: u64,
    is_relayed: bool,
    /// Its driver has connections that are not here.
    is_new_here: bool,
}

impl KernelVsock {
    /// The device for the guest with the address `cid`, in the host's kernel.
    ///
    /// # Errors
    /// [`VsockError`] if there can be no such address, a guest of this host has it, or the kernel
    /// has no such device.
    pub fn new(cid: u64) -> Result<Self, VsockError> {
        Self::open(Path::new(FILE), cid)
    }

    fn open(path: &Path, cid: u64) -> Result<Self, VsockError> {
        check_cid(cid)?;
        let failed = |source| VsockError::Kernel { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let vhost = KernelVhost::new(file).map_err(failed)?;
        let features = vhost.features().map_err(failed)?;
        set_cid(&vhost, cid).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => VsockError::Taken(cid),
            _ => failed(source),
        })?;
        let session = KernelSession::new(vhost, FILE, halt);
        Ok(Self::of(cid, session, features))
    }

    fn of(cid: u64, session: Arc<KernelSession>, features: u64) -> Self {
        Self { cid, session, features, is_relayed: false, is_new_here: false }
    }

    /// Has buffers marked as written in the `Bitmap` of guest memory once the kernel has used them,
    /// and before the driver sees that. It costs two more wakes of a thread for each notification.
    ///
    /// Needed where processors keep decoded code, as in software, or writes to memory are logged
    /// while the device is in use.
    #[must_use]
    pub fn with_relayed_queues(mut self, is_relayed: bool) -> Self {
        self.is_relayed = is_relayed;
        self
    }

    fn start<M>(&mut self, mut activation: Activation<M>) -> io::Result<Vec<Worker>>
    where
        M: GuestAddressSpace + Send + 'static,
        M::T: Send + 'static,
    {
        // The kernel has no part in events.
        let events = activation.queues.split_off(2).into_iter().find(|queue| queue.index == 2);
        let memory = activation.memory.clone();
        let own = if self.is_relayed { EVENT_IDX } else { 0 };
        activation.features = activation.features & FEATURES & !own | 1 << VIRTIO_F_VERSION_1;
        let begin = |vhost: &KernelVhost, _: &[Vring]| set_running(vhost, true);
        let mut workers = self.session.start(activation, self.is_relayed, begin)?;
        if let (Some(queue), true) = (events, std::mem::take(&mut self.is_new_here)) {
            let events = EventQueue::new(queue, true);
            workers.push(Worker::Subscriber(Box::new(EventWorker { memory, events })));
        }
        Ok(workers)
    }
}

fn halt(vhost: &KernelVhost) -> io::Result<()> {
    set_running(vhost, false)
}

impl<M> VirtioDevice<M> for KernelVsock
where
    M: GuestAddressSpace + Send + 'static,
    M::T: Send + 'static,
{
    fn kind(&self) -> DeviceKind {
        KIND
    }

    fn features(&self) -> u64 {
        let own = if self.is_relayed { EVENT_IDX } else { 0 };
        self.features & FEATURES | own
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_cid(self.cid, offset, data);
    }

    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError> {
        for (index, queue) in (0..2).zip(activation.queues.iter().map(Some).chain([None, None])) {
            if queue.is_none_or(|queue| queue.index != index) {
                return Err(ActivateError::Queue(index));
            }
        }
        self.start(activation).map_err(|source| {
            self.session.stop();
            ActivateError::Host { what: KERNEL_FAILS, source }
        })
    }

    fn reset(&mut self) {
        self.is_new_here = false;
        self.session.stop();
    }

    fn pause(&mut self, memory: &M, until: Instant) -> Result<(), StateError> {
        self.session.pause(memory, until)
    }

    fn resume(&mut self, _: &M) -> Result<(), ActivateError> {
        let resumed = self.session.resume(|vhost| set_running(vhost, true));
        resumed.map_err(|source| ActivateError::Host { what: KERNEL_FAILS, source })
    }

    fn save(&self) -> Result<StateValue, StateError> {
        StateValue::of(&VsockState {})
    }

    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        restore(version, state)?;
        self.is_new_here = true;
        Ok(())
    }

    fn memory_changed(&mut self, memory: &M) {
        self.session.memory_changed(memory);
    }
}

impl fmt::Debug for KernelVsock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelVsock")
            .field("cid", &self.cid)
            .field("is_running", &self.session.is_running())
            .finish_non_exhaustive()
    }
}
