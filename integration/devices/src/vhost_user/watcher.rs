//! Notices when a daemon goes away.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use virtio_queue::Queue;
use vm_memory::GuestAddressSpace;
use vmm_sys_util::eventfd::EventFd;

use super::connection::Connection;
use crate::vhost::Session;
use crate::vhost::relay::SharedRelay;
use crate::virtio::ring::Ring;
use crate::virtio::{ActiveQueue, Interrupt};

/// What the data of an event says it is for.
const SOCKET: u32 = 0;
/// From here on: the number of a ring.
const FIRST_RING: u32 = 1;

/// A guest may have a daemon that fails as often as it resets its device.
static FAULTS: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("vhost-user");

/// Tells the driver when the daemon is gone, and has its requests refused from then on, if that is
/// known to be done.
pub(super) struct Watcher<M> {
    memory: M,
    connection: Arc<Connection>,
    socket: PathBuf,
    stream: UnixStream,
    interrupt: Arc<dyn Interrupt>,
    heirs: Heirs,
}

/// Who answers when the daemon does not.
#[derive(Default)]
pub(super) struct Heirs {
    /// The queues that it shared with the driver.
    rings: Vec<Ring>,
    /// Wake those who relay the others.
    wakes: Vec<EventFd>,
}

impl Heirs {
    /// For queues that the daemon is going to share.
    pub(super) fn of_queues(queues: &[ActiveQueue]) -> io::Result<Self> {
        let copy = |active: &ActiveQueue| {
            let queue = Queue::try_from(active.queue.state()).map_err(io::Error::other)?;
            let (doorbell, interrupt) = (active.doorbell.try_clone()?, active.interrupt.clone());
            Ok(Ring::new(ActiveQueue::new(active.index, queue, doorbell, interrupt)))
        };
        let rings = queues.iter().map(copy).collect::<io::Result<_>>()?;
        Ok(Self { rings, wakes: Vec::new() })
    }

    /// Of queues that are relayed.
    pub(super) fn of_relays(relays: &[SharedRelay]) -> io::Result<Self> {
        let wakes = relays.iter().map(|relay| relay.lock().call().try_clone());
        Ok(Self { rings: Vec::new(), wakes: wakes.collect::<io::Result<_>>()? })
    }
}

impl<M: GuestAddressSpace> Watcher<M> {
    /// For the daemon at the other end of `stream`, which was connected to at `socket`.
    pub(super) fn new(
        memory: M,
        connection: Arc<Connection>,
        socket: PathBuf,
        stream: UnixStream,
        interrupt: Arc<dyn Interrupt>,
        heirs: Heirs,
    ) -> Self {
        Self { memory, connection, socket, stream, interrupt, heirs }
    }

    fn fail(&self, reason: std::fmt::Arguments<'_>) {
        let socket = self.socket.display();
        FAULTS.error(format_args!("the daemon at {socket} {reason}; the device needs a reset"));
        self.interrupt.needs_reset();
    }

    /// Takes the daemon's place. What it had of a shared queue is not known, and never answered.
    fn succeed(&mut self, ops: &mut EventOps<'_>) {
        self.connection.set_gone();
        if self.connection.refusal().is_none() {
            return;
        }
        for wake in &self.heirs.wakes {
            let _ = wake.write(1);
        }
        let guard = self.memory.memory();
        for (number, ring) in (FIRST_RING..).zip(&mut self.heirs.rings) {
            let data = Events::with_data(ring.doorbell(), number, EventSet::IN);
            if ring.take_over(&*guard).is_ok() && ops.add(data).is_ok() {
                // Who was not listened to is.
                let _ = ring.doorbell().write(1);
            }
        }
    }

    fn refuse(&mut self, number: u32, ops: &mut EventOps<'_>) {
        let guard = self.memory.memory();
        let Some(ring) = self.heirs.rings.get_mut((number - FIRST_RING) as usize) else { return };
        let result = self.connection.refusal().map(|refusal| refusal.answer_all(ring, &*guard));
        if let Some(Err(error)) = result {
            FAULTS.warn(format_args!("{}: {error}", self.socket.display()));
            let _ = ops.remove(Events::empty(ring.doorbell()));
        }
    }
}

impl<M: GuestAddressSpace> MutEventSubscriber for Watcher<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.stream, EventSet::READ_HANG_UP)) {
            self.fail(format_args!("cannot be watched ({error})"));
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        match events.data() {
            SOCKET => {
                // Once is enough.
                let _ = ops.remove(Events::empty(&self.stream));
                self.fail(format_args!("is gone"));
                self.succeed(ops);
            }
            number => self.refuse(number, ops),
        }
    }
}
