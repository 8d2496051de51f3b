//! Queues that the host's kernel works on (vhost-net): frames go between the guest's buffers and a
//! tap interface, and this process has no part in it.

#![allow(unsafe_code)]

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arch_ppc64::platform::StateError;
use libc::Ioctl;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestAddressSpace;

use super::bits;
use crate::vhost::Session;
use crate::vhost::kernel::{KernelVhost, VHOST, VringFile};
use crate::vhost::kernel_session::KernelSession;
use crate::virtio::{Activation, Worker};

/// Where the kernel has it.
const FILE: &str = "/dev/vhost-net";

/// One for each direction.
const QUEUES: u32 = 2;

/// Has a queue carry the frames of an interface (`linux/vhost.h`).
pub(crate) const SET_BACKEND: Ioctl = libc::_IOW::<VringFile>(VHOST, 0x30);

/// Nobody's frames.
const NO_BACKEND: RawFd = -1;

const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

/// What is between the driver and the kernel. Checksums and segments are between the driver and the
/// interface.
const FEATURES: u64 =
    bits(&[VIRTIO_NET_F_MRG_RXBUF, VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_RING_F_EVENT_IDX]);

/// The host's kernel, to work on the queues of a network on a tap interface.
///
/// The kernel writes to guest memory without vm-memory's `Bitmap` being told: see
/// [`with_relayed_queues`](Self::with_relayed_queues).
pub struct KernelNet {
    session: Arc<KernelSession>,
    features: u64,
    is_relayed: bool,
}

impl KernelNet {
    /// Opens `/dev/vhost-net`.
    ///
    /// # Errors
    /// What the host says: it is not there, or nobody's business.
    pub fn open() -> io::Result<Self> {
        Self::open_at(Path::new(FILE))
    }

    fn open_at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let vhost = KernelVhost::new(file)?;
        let features = vhost.features()?;
        let session = KernelSession::new(vhost, FILE, halt);
        Ok(Self { session, features, is_relayed: false })
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

    /// What it can do of what is between the driver and the device.
    pub(super) fn features(&self) -> u64 {
        // Whoever relays notifications knows of events by himself.
        let own = if self.is_relayed { EVENT_IDX } else { 0 };
        self.features & FEATURES | own
    }

    /// Has the kernel carry frames between the queues, which are those of both directions, and `tap`.
    /// That has headers, of 12 bytes, and is open until this has [stopped](Self::stop).
    pub(super) fn start<M>(
        &self,
        activation: Activation<M>,
        tap: BorrowedFd<'_>,
    ) -> io::Result<Vec<Worker>>
    where
        M: GuestAddressSpace + Send + 'static,
        M::T: Send + 'static,
    {
        let own = if self.is_relayed { EVENT_IDX } else { 0 };
        let features = activation.features & FEATURES & !own | 1 << VIRTIO_F_VERSION_1;
        let activation = Activation { features, ..activation };
        self.session.start(activation, self.is_relayed, |vhost, vrings| {
            let mut indexes = vrings.iter().map(|vring| vring.index.into());
            indexes.try_for_each(|index| set_backend(vhost, index, tap.as_raw_fd()))
        })
    }

    /// Has the kernel leave guest memory and the interface alone for now.
    pub(super) fn pause<M: GuestAddressSpace>(
        &self,
        memory: &M,
        until: Instant,
    ) -> Result<(), StateError> {
        self.session.pause(memory, until)
    }

    /// Has it carry the frames of `tap` again.
    pub(super) fn resume(&self, tap: BorrowedFd<'_>) -> io::Result<()> {
        self.session.resume(|vhost| {
            (0..QUEUES).try_for_each(|index| set_backend(vhost, index, tap.as_raw_fd()))
        })
    }

    /// Tells the kernel where guest memory is now, if it uses it.
    pub(super) fn memory_changed<M>(&self, memory: &M)
    where
        M: GuestAddressSpace,
        M::T: Send + 'static,
    {
        self.session.memory_changed(memory);
    }

    /// Has the kernel leave guest memory and the interface alone.
    pub(super) fn stop(&self) {
        self.session.stop();
    }
}

/// Has the kernel leave guest memory and the interface alone. Returns when what is under way has ended.
fn halt(vhost: &KernelVhost) -> io::Result<()> {
    let stopped = (0..QUEUES).map(|index| set_backend(vhost, index, NO_BACKEND));
    stopped.fold(Ok(()), io::Result::and)
}

fn set_backend(vhost: &KernelVhost, index: u32, file: RawFd) -> io::Result<()> {
    // SAFETY: the call reads a structure of this type.
    unsafe { vhost.tell(SET_BACKEND, &VringFile { index, file }) }
}

impl fmt::Debug for KernelNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelNet")
            .field("is_running", &self.session.is_running())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::virtio::driver::CountedInterrupts;

    #[test]
    fn the_number_is_the_hosts() {
        let is_power = cfg!(any(target_arch = "powerpc64", target_arch = "powerpc"));
        assert_eq!(SET_BACKEND as u32, if is_power { 0x8008_af30 } else { 0x4008_af30 });
    }

    #[test]
    fn what_is_no_such_device_is_refused() {
        let error = KernelNet::open_at(Path::new("/nowhere")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = KernelNet::open_at(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }

    #[test]
    fn a_kernel_that_cannot_be_told_of_memory_does_not_go_on() {
        let interrupts = Arc::new(CountedInterrupts::default());
        let session = KernelSession::broken(FILE, halt, interrupts.clone());
        let net = KernelNet { session, features: 0, is_relayed: false };
        let ranges = [(GuestAddress(0), 0x1_0000)];
        let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap());
        net.memory_changed(&memory);
        assert_eq!(interrupts.reset_count(), 1);
        assert!(!net.session.is_running());
        // It uses none any more.
        net.memory_changed(&memory);
        assert_eq!(interrupts.reset_count(), 1);
    }
}
