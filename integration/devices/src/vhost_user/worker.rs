//! What this process does while a daemon works.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vm_memory::GuestAddressSpace;

use crate::vhost::relay::{Relay, RelayError};
use crate::virtio::Interrupt;

/// What the data of an event says it is for: the socket, or one of a relay's two files.
const SOCKET: u32 = 0;
const FIRST_RELAY: u32 = 2;

/// A guest may have a daemon that fails as often as it resets its device.
static FAULTS: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("vhost-user");

/// Notices when the daemon goes away, and relays its queues.
pub(super) struct Watcher<M> {
    memory: M,
    socket: PathBuf,
    stream: UnixStream,
    relays: Vec<Relay>,
    interrupt: Arc<dyn Interrupt>,
    /// The queues are left alone.
    failed: bool,
}

impl<M: GuestAddressSpace> Watcher<M> {
    /// For the daemon at the other end of `stream`, which was connected to at `socket`.
    pub(super) fn new(
        memory: M,
        socket: PathBuf,
        stream: UnixStream,
        relays: Vec<Relay>,
        interrupt: Arc<dyn Interrupt>,
    ) -> Self {
        Self { memory, socket, stream, relays, interrupt, failed: false }
    }

    fn watch(&self, ops: &mut EventOps<'_>) -> Result<(), event_manager::Error> {
        ops.add(Events::with_data(&self.stream, SOCKET, EventSet::READ_HANG_UP))?;
        for (number, relay) in (0..).zip(&self.relays) {
            let data = FIRST_RELAY + 2 * number;
            ops.add(Events::with_data(relay.doorbell(), data, EventSet::IN))?;
            ops.add(Events::with_data(relay.call(), data + 1, EventSet::IN))?;
        }
        Ok(())
    }

    fn relay(&mut self, number: u32, is_call: bool) {
        let guard = self.memory.memory();
        let Some(relay) = self.relays.get_mut(number as usize) else { return };
        if self.failed {
            let _ = if is_call { relay.call().read() } else { relay.doorbell().read() };
            return;
        }
        let result = if is_call { relay.give_back(&*guard) } else { relay.forward(&*guard) };
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &RelayError) {
        let socket = self.socket.display();
        FAULTS.warn(format_args!("{socket}: {error}; the device needs a reset"));
        self.failed = true;
        self.interrupt.needs_reset();
    }
}

impl<M: GuestAddressSpace> MutEventSubscriber for Watcher<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = self.watch(ops) {
            log::error!("{}: the host does not watch its files: {error}", self.socket.display());
            self.failed = true;
            self.interrupt.needs_reset();
        }
        for number in 0..self.relays.len() as u32 {
            self.relay(number, false);
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        match events.data() {
            SOCKET => {
                // Once is enough.
                let _ = ops.remove(Events::empty(&self.stream));
                let socket = self.socket.display();
                FAULTS.error(format_args!(
                    "the daemon at {socket} is gone; the device needs a reset"
                ));
                self.failed = true;
                self.interrupt.needs_reset();
            }
            data => self.relay((data - FIRST_RELAY) / 2, data % 2 != FIRST_RELAY % 2),
        }
    }
}
