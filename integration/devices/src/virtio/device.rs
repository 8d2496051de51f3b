//! What a virtio device is, whatever it is connected by.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arch_ppc64::fdt::{FdtError, NodeBuilder};
use arch_ppc64::platform::{StateError, StateValue};
use virtio_queue::Queue;
use vm_memory::GuestAddressSpace;
use vmm_sys_util::eventfd::EventFd;

use super::counters::Counters;
use super::interrupt::{Interrupt, QueueInterrupt};
use super::worker::Worker;

/// Which device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceKind {
    /// Its number in virtio (Virtio 1.2 §5), such as 2 for a block device.
    pub id: u16,
    /// What it is as a PCI function: class, subclass and programming interface, 24 bits.
    pub class: u32,
}

impl DeviceKind {
    /// The virtio device of this number, of this PCI class.
    pub const fn new(id: u16, class: u32) -> Self {
        Self { id, class }
    }
}

/// A virtio device: what it has to say, and what works on its queues once a driver has set it up.
///
/// `M` is how guest memory is reached: `Arc<GuestMemoryMmap<B>>`, or another [`GuestAddressSpace`],
/// as `GuestMemoryAtomic<GuestMemoryMmap<B>>` is where memory comes and goes. Everything that is written there through it is noticed by whoever tracks
/// writes.
pub trait VirtioDevice<M: GuestAddressSpace>: Send {
    /// Which device it is.
    fn kind(&self) -> DeviceKind;

    /// The features that it offers of its own: those of the device, and of
    /// `VIRTIO_F_RING_EVENT_IDX` and `VIRTIO_F_INDIRECT_DESC` what it can do. The transport
    /// adds `VIRTIO_F_VERSION_1`.
    fn features(&self) -> u64;

    /// Its queues, by the most descriptors that each may have: powers of two, at most 32768.
    fn queue_sizes(&self) -> &[u16];

    /// Reads its configuration from `offset` on, little-endian as it is there. `data` is all zero
    /// before, and stays so behind the end.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes its configuration. What cannot be written is left alone.
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let _ = (offset, data);
    }

    /// What it has done, for whoever watches it: the same for all of its life. By default, nobody counts.
    fn counters(&self) -> Option<Arc<dyn Counters>> {
        None
    }

    /// The driver has set the device up (DRIVER_OK): gives what works on its queues from here on.
    ///
    /// # Errors
    /// [`ActivateError`] when it cannot work: then it needs a reset, and the driver is told.
    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError>;

    /// The driver resets the device, or the machine starts again. All that
    /// [`activate`](Self::activate) gave has ended and is dropped.
    fn reset(&mut self) {}

    /// Guest memory is not what it was: some was plugged, or taken out again. Workers that ask
    /// [`Activation::memory`] each time see that by themselves; whoever has told others where memory
    /// is tells them again. When it returns, nobody uses memory any more that is not there. By
    /// default, there is nothing to do.
    ///
    /// Called from any thread, while the device is active or not.
    fn memory_changed(&mut self, memory: &M) {
        let _ = memory;
    }

    /// The machine pauses. All that [`activate`](Self::activate) gave rests already; whoever else
    /// works for the device, such as another process, comes to rest, by `until` at the latest. When
    /// this returns, no buffer is with anybody: each is used, or still available in its queue.
    ///
    /// Called while the device is active only. By default, there is nothing to do.
    ///
    /// # Errors
    /// [`StateError`] when somebody does not come to rest; it is [told to go on](Self::resume) then.
    fn pause(&mut self, memory: &M, until: Instant) -> Result<(), StateError> {
        let _ = (memory, until);
        Ok(())
    }

    /// The machine goes on, and so do those who came to rest by [`pause`](Self::pause).
    ///
    /// # Errors
    /// [`ActivateError`] when they cannot: then the device needs a reset, and the driver is told.
    fn resume(&mut self, memory: &M) -> Result<(), ActivateError> {
        let _ = memory;
        Ok(())
    }

    /// The version of what [`save`](Self::save) gives. It grows with each change of the form.
    fn state_version(&self) -> u32 {
        1
    }

    /// What there is to be saved of the device itself, while the machine is paused. What its driver
    /// has set up, and how far its queues are, is saved for it.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be had. By default, the device cannot be saved.
    fn save(&self) -> Result<StateValue, StateError> {
        Err(StateError::Unsupported("a virtio device of this kind".to_owned()))
    }

    /// Takes up what was saved of another one in `version`, before it is
    /// [activated](Self::activate) with queues that have been in use. Nobody vouches for the state.
    ///
    /// # Errors
    /// [`StateError`] says what cannot be; nothing has changed then.
    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        let _ = (version, state);
        Err(StateError::Unsupported("a virtio device of this kind".to_owned()))
    }

    /// Adds to its node in the tree.
    ///
    /// # Errors
    /// [`FdtError`] for what the tree cannot have.
    fn describe(&self, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        let _ = node;
        Ok(())
    }
}

/// What a device is activated with.
#[non_exhaustive]
pub struct Activation<M> {
    /// Guest memory.
    pub memory: M,
    /// The features that the driver took of those that were offered.
    pub features: u64,
    /// The queues that it enabled, in the order of their numbers; all of them valid in the memory.
    pub queues: Vec<ActiveQueue>,
    /// The interrupt of the device as a whole.
    pub interrupt: Arc<dyn Interrupt>,
}

impl<M> Activation<M> {
    /// With these queues in `memory`.
    pub fn new(
        memory: M,
        features: u64,
        queues: Vec<ActiveQueue>,
        interrupt: Arc<dyn Interrupt>,
    ) -> Self {
        Self { memory, features, queues, interrupt }
    }

    /// Whether the driver took the feature of this bit number.
    pub const fn has(&self, feature: u32) -> bool {
        self.features >> feature & 1 != 0
    }
}

impl<M> fmt::Debug for Activation<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("features", &self.features)
            .field("queues", &self.queues.len())
            .finish_non_exhaustive()
    }
}

/// A queue that the driver enabled.
#[non_exhaustive]
pub struct ActiveQueue {
    /// Its number.
    pub index: u16,
    /// Where it is in guest memory, and how far it is worked on.
    pub queue: Queue,
    /// Becomes readable when the driver has notified the queue. Non-blocking.
    pub doorbell: EventFd,
    /// Tells the driver of used buffers.
    pub interrupt: Arc<dyn QueueInterrupt>,
}

impl ActiveQueue {
    /// The queue of this number.
    pub fn new(
        index: u16,
        queue: Queue,
        doorbell: EventFd,
        interrupt: Arc<dyn QueueInterrupt>,
    ) -> Self {
        Self { index, queue, doorbell, interrupt }
    }
}

impl fmt::Debug for ActiveQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveQueue").field("index", &self.index).finish_non_exhaustive()
    }
}

/// A device that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// The driver did not enable a queue that the device needs.
    #[error("the driver did not set up queue {0}")]
    Queue(u16),
    /// The host fails.
    #[error("{what}")]
    Host {
        /// What cannot be done.
        what: &'static str,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}
