//! Relays a queue on a thread.

use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::log_limit::LogLimit;
use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vm_memory::GuestAddressSpace;

use super::Session;
use super::relay::SharedRelay;
use crate::virtio::{Interrupt, Worker};

/// What the data of an event says it is for.
const DOORBELL: u32 = 0;
const CALL: u32 = 1;

/// A guest may cause them as often as it resets its device.
static FAULTS: LogLimit =
    LogLimit::new(8, Duration::from_secs(5)).with_target(module_path!()).with_topic("vhost");

/// Has a queue relayed for as long as driver and worker make sense.
struct RelayWorker<M: GuestAddressSpace> {
    memory: M,
    session: Arc<dyn Session>,
    relay: SharedRelay,
    interrupt: Arc<dyn Interrupt>,
    /// For whom, in messages.
    name: String,
    failed: bool,
}

/// Keeps a session going for as long as its device is active.
struct Keeper(Arc<dyn Session>);

/// Relays each of the queues, if they are, for what is called `name` in messages, and ends the
/// session when the device is not active any more.
pub(crate) fn workers<M: GuestAddressSpace + Send + 'static>(
    memory: &M,
    session: Arc<dyn Session>,
    relays: Vec<SharedRelay>,
    interrupt: &Arc<dyn Interrupt>,
    name: &str,
) -> Vec<Worker> {
    let worker = |relay| {
        Worker::Subscriber(Box::new(RelayWorker {
            memory: memory.clone(),
            session: session.clone(),
            relay,
            interrupt: interrupt.clone(),
            name: name.to_owned(),
            failed: false,
        }))
    };
    let mut workers: Vec<_> = relays.into_iter().map(worker).collect();
    if workers.is_empty() {
        workers.push(Worker::Subscriber(Box::new(Keeper(session))));
    }
    workers
}

impl<M: GuestAddressSpace> RelayWorker<M> {
    fn relay(&mut self, is_call: bool) {
        let guard = self.memory.memory();
        let mut relay = self.relay.lock();
        let result = if self.failed {
            let file = if is_call { relay.call() } else { relay.doorbell() };
            let _ = file.read();
            return;
        } else if let Some(refusal) = self.session.refusal() {
            relay.refuse(&*guard, refusal)
        } else if is_call {
            relay.give_back(&*guard)
        } else {
            relay.forward(&*guard)
        };
        drop(relay);
        if let Err(error) = result {
            self.fail(format_args!("{error}"));
        }
    }

    fn fail(&mut self, reason: std::fmt::Arguments<'_>) {
        FAULTS.warn(format_args!("{}: {reason}; the device needs a reset", self.name));
        self.failed = true;
        self.interrupt.needs_reset();
    }
}

impl<M: GuestAddressSpace> MutEventSubscriber for RelayWorker<M> {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let relay = self.relay.lock();
        let result = ops
            .add(Events::with_data(relay.doorbell(), DOORBELL, EventSet::IN))
            .and_then(|()| ops.add(Events::with_data(relay.call(), CALL, EventSet::IN)));
        drop(relay);
        match result {
            // The driver may have notified it before.
            Ok(()) => self.relay(false),
            Err(error) => self.fail(format_args!("a queue's files cannot be watched: {error}")),
        }
    }

    fn process(&mut self, events: Events, _: &mut EventOps<'_>) {
        self.relay(events.data() == CALL);
    }
}

impl<M: GuestAddressSpace> Drop for RelayWorker<M> {
    fn drop(&mut self) {
        self.session.stop();
        self.relay.lock().settle(&*self.memory.memory());
    }
}

impl MutEventSubscriber for Keeper {
    fn init(&mut self, _: &mut EventOps<'_>) {}

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {}
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.stop();
    }
}
