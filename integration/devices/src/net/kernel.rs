//! Queues that the host's kernel works on (vhost-net): frames go between the guest's buffers and a
//! tap interface, and this process has no part in it.

#![allow(unsafe_code)]

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libc::Ioctl;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{GuestAddressSpace, MmapRegion};

use super::bits;
use crate::vhost::kernel::{KernelVhost, VHOST, VringFile};
use crate::vhost::vring::Vrings;
use crate::vhost::worker::workers;
use crate::vhost::{Session, memory};
use crate::virtio::{Activation, Interrupt, Worker};

/// Where the kernel has it.
const FILE: &str = "/dev/vhost-net";

/// One for each direction.
const QUEUES: u32 = 2;

/// Has a queue carry the frames of an interface (`linux/vhost.h`).
const SET_BACKEND: Ioctl = libc::_IOW::<VringFile>(VHOST, 0x30);

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
    instance: Arc<Instance>,
    features: u64,
    is_relayed: bool,
}

/// What both the device and what works for it have.
struct Instance {
    vhost: KernelVhost,
    /// What the kernel accesses while it is running.
    accessed: Mutex<Option<Accessed>>,
}

/// Kept for the kernel.
struct Accessed {
    /// A guard of guest memory.
    memory: Box<dyn Send>,
    /// The rings that are not in it.
    _rings: Option<Arc<MmapRegion>>,
    /// Tells the driver that the kernel cannot go on.
    interrupt: Arc<dyn Interrupt>,
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
        let instance = Arc::new(Instance { vhost, accessed: Mutex::default() });
        Ok(Self { instance, features, is_relayed: false })
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
        let Activation { memory, features, queues, interrupt, .. } = activation;
        let own = if self.is_relayed { EVENT_IDX } else { 0 };
        let guard = memory.memory();
        let regions = memory::ranges(&*guard)?;
        let vrings = if self.is_relayed {
            Vrings::relayed(&*guard, queues, None)
        } else {
            Vrings::shared(&*guard, queues)
        }?;
        let vhost = &self.instance.vhost;
        vhost.set_features(features & FEATURES & !own | 1 << VIRTIO_F_VERSION_1)?;
        // SAFETY: they are kept below until the kernel has stopped, or the file is closed. They
        // are parts of guest memory, which all access as such.
        unsafe { vhost.set_memory(&regions) }?;
        for vring in &vrings.vrings {
            // SAFETY: likewise, and so are the rings that are not in guest memory.
            unsafe { vhost.set_vring(vring) }?;
        }
        let accessed = Accessed {
            memory: Box::new(guard),
            _rings: vrings.rings,
            interrupt: interrupt.clone(),
        };
        *self.instance.accessed() = Some(accessed);
        for vring in &vrings.vrings {
            self.instance.set_backend(vring.index.into(), tap.as_raw_fd())?;
        }
        Ok(workers(&memory, self.instance.clone(), vrings.relays, &interrupt, FILE))
    }

    /// Tells the kernel where guest memory is now, if it uses it.
    pub(super) fn memory_changed<M>(&self, memory: &M)
    where
        M: GuestAddressSpace,
        M::T: Send + 'static,
    {
        let mut accessed = self.instance.accessed();
        let Some(now) = &mut *accessed else { return };
        let guard = memory.memory();
        let told = memory::ranges(&*guard).and_then(|regions| {
            // SAFETY: kept below, or else what it had before is. They are parts of guest memory,
            // which all access as such.
            unsafe { self.instance.vhost.set_memory(&regions) }
        });
        match told {
            Ok(()) => now.memory = Box::new(guard),
            // It must not go on with what it had: that may be gone when this returns.
            Err(error) => {
                log::error!(
                    "{FILE} cannot be told of guest memory: {error}; the device needs a reset"
                );
                let interrupt = now.interrupt.clone();
                drop(accessed);
                self.instance.stop();
                interrupt.needs_reset();
            }
        }
    }

    /// Has the kernel leave guest memory and the interface alone.
    pub(super) fn stop(&self) {
        self.instance.stop();
    }
}

impl Instance {
    fn set_backend(&self, index: u32, file: RawFd) -> io::Result<()> {
        // SAFETY: the call reads a structure of this type.
        unsafe { self.vhost.tell(SET_BACKEND, &VringFile { index, file }) }
    }

    fn accessed(&self) -> MutexGuard<'_, Option<Accessed>> {
        self.accessed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session for Instance {
    fn stop(&self) {
        let mut accessed = self.accessed();
        if accessed.is_none() {
            return;
        }
        // Returns when what is under way has ended.
        let stopped = (0..QUEUES).map(|index| self.set_backend(index, NO_BACKEND));
        match stopped.fold(Ok(()), io::Result::and) {
            Ok(()) => *accessed = None,
            // It may go on with what it has, which so has to be there for ever.
            Err(error) => {
                log::error!("{FILE} cannot be stopped: {error}");
                std::mem::forget(accessed.take());
            }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for KernelNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelNet")
            .field("is_running", &self.instance.accessed().is_some())
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
        let accessed =
            Accessed { memory: Box::new(()), _rings: None, interrupt: interrupts.clone() };
        let (vhost, accessed) = (KernelVhost::broken(), Mutex::new(Some(accessed)));
        let instance = Arc::new(Instance { vhost, accessed });
        let net = KernelNet { instance, features: 0, is_relayed: false };
        let ranges = [(GuestAddress(0), 0x1_0000)];
        let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap());
        net.memory_changed(&memory);
        assert_eq!(interrupts.reset_count(), 1);
        assert!(net.instance.accessed().is_none());
        // It uses none any more.
        net.memory_changed(&memory);
        assert_eq!(interrupts.reset_count(), 1);
    }
}
