//! Events of the device (Virtio 1.2 §5.10.6.7). There is one: the transport was reset.

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vm_memory::{GuestAddressSpace, GuestMemory};
use vmm_sys_util::eventfd::EventFd;

use crate::virtio::ActiveQueue;
use crate::virtio::ring::{Ring, RingError, Taken};

/// `struct virtio_vsock_event`, and the one that there is: `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET`.
const TRANSPORT_RESET: [u8; 4] = 0_u32.to_le_bytes();

/// The queue of events.
pub(super) struct EventQueue {
    ring: Ring,
    /// The driver is to be told that no connection of before is left.
    resets: bool,
}

impl EventQueue {
    pub(super) fn new(queue: ActiveQueue, resets: bool) -> Self {
        Self { ring: Ring::new(queue), resets }
    }

    pub(super) fn doorbell(&self) -> &EventFd {
        self.ring.doorbell()
    }

    /// Tells the driver what it has not been told, if there is a buffer for it.
    pub(super) fn tell<M: GuestMemory>(&mut self, memory: &M) -> Result<(), RingError> {
        while self.resets {
            let Some(Taken { head, chain }) = self.ring.take(memory)? else {
                if self.ring.listen(memory)? {
                    continue;
                }
                break;
            };
            let bytes = chain.writable.len();
            if bytes < TRANSPORT_RESET.len() {
                return Err(RingError::Small { bytes, least: TRANSPORT_RESET.len() });
            }
            chain.writable.copy_from(&TRANSPORT_RESET);
            self.ring.give(memory, head, TRANSPORT_RESET.len() as u32)?;
            self.resets = false;
        }
        self.ring.tell(memory)
    }
}

/// Tells of the reset, where nobody else in this process works for the device.
pub(super) struct EventWorker<M> {
    pub(super) memory: M,
    pub(super) events: EventQueue,
}

impl<M: GuestAddressSpace> EventWorker<M> {
    fn tell(&mut self, ops: &mut EventOps<'_>) {
        let _ = self.events.doorbell().read();
        let told = self.events.tell(&*self.memory.memory());
        if let Err(error) = told {
            log::warn!("virtio-vsock: no event reaches the guest: {error}");
            self.events.resets = false;
        }
        if !self.events.resets {
            let _ = ops.remove(Events::empty(self.events.doorbell()));
        }
    }
}

impl<M: GuestAddressSpace> MutEventSubscriber for EventWorker<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        match ops.add(Events::new(self.events.doorbell(), EventSet::IN)) {
            Ok(()) => self.tell(ops),
            Err(error) => log::error!("virtio-vsock: the host does not watch its files: {error}"),
        }
    }

    fn process(&mut self, _: Events, ops: &mut EventOps<'_>) {
        self.tell(ops);
    }
}
