//! A virtio device as a PCI function (Virtio 1.2 §4.1).

mod activity;
mod common;
mod connection;
mod function;
mod layout;
mod pause;
mod port;
mod relay;
mod saved;
mod setup;
mod signals;
mod threads;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arch_ppc64::pci::PciWindows;
use virtio_bindings::virtio_config::{VIRTIO_F_ORDER_PLATFORM, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::Queue;
use vm_memory::{GuestAddress, GuestAddressSpace};

pub use self::connection::{Connection, Execution};

use self::activity::Activity;
use self::layout::{BAR, Layout, Places};
use self::port::Port;
use self::setup::{MISTAKES, NEEDS_RESET, Setup, Step};
use self::signals::Signals;
use self::threads::Wait;
use super::notify::NotifyEvents;
use super::{ActivateError, Activation, ActiveQueue, QueueHandler, VirtioDevice, Worker};
use crate::pci::{ConfigError, ConfigSpace, Identity, Msix};

/// Who has the numbers of virtio, and what they begin from (§4.1.2).
const VENDOR: u16 = 0x1af4;
const FIRST_DEVICE: u16 = 0x1040;

/// "Non-transitional devices SHOULD have a PCI Revision ID of 1 or higher" (§4.1.2.1).
const REVISION: u8 = 1;

/// Where message control is in the MSI-X capability.
const MESSAGE_CONTROL: u16 = 2;

/// The most queues of a device.
const QUEUES_MAX: usize = 1024;

/// Features that a device says by itself: its own, and of the others (§6) those that do not change
/// what the transport does.
const DEVICE_FEATURES: u64 = 0xff_ffff
    | 1 << VIRTIO_RING_F_INDIRECT_DESC
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << VIRTIO_F_ORDER_PLATFORM
    | u64::MAX << 50;

/// How long the driver's reset waits for workers that are at something. If that is not enough, the
/// driver sees in the status that the reset is not done yet.
const RESET_WAIT: Duration = Duration::from_millis(100);

/// A device that cannot be a PCI function.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VirtioPciError {
    /// A queue has a size that none can have.
    #[error(
        "queue {queue} of {id} has {size} descriptors: it has to be a power of two up to 32768"
    )]
    QueueSize {
        /// The device.
        id: String,
        /// The number of the queue.
        queue: usize,
        /// Its size.
        size: u16,
    },
    /// There are too many queues.
    #[error("{id} has {queues} queues: there are {QUEUES_MAX} at most")]
    Queues {
        /// The device.
        id: String,
        /// How many it has.
        queues: usize,
    },
    /// Its registers do not go into configuration space.
    #[error("{id} cannot be a PCI function")]
    Config {
        /// The device.
        id: String,
        /// What does not go.
        #[source]
        source: ConfigError,
    },
    /// The host fails.
    #[error("there are no files for the notifications of {id}")]
    Host {
        /// The device.
        id: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// A virtio device as a function of a PCI [bus](crate::pci::Bus).
///
/// It is a modern device: all of its registers are behind one 64-bit base address register. It has
/// a message (MSI-X) for each queue and one for its configuration, or its interrupt pin. When the
/// driver has set the device up, what [works](Worker) on its queues runs on threads, or on those of
/// the vCPUs that notify them ([`Execution`]); when the driver resets it, all of that ends before the
/// status says so.
///
/// Queues share no lock: a notification is a write to a file, and a message is a lock of its vector.
pub struct VirtioPci<M: GuestAddressSpace> {
    id: String,
    memory: M,
    offered: u64,
    layout: Layout,
    places: Places,
    windows: PciWindows,
    notify_events: Option<Arc<dyn NotifyEvents>>,
    execution: Execution,
    signals: Arc<Signals>,
    ports: Box<[Port]>,
    // Locks are taken in this order.
    state: Mutex<State>,
    device: Mutex<Box<dyn VirtioDevice<M>>>,
    config: Mutex<ConfigSpace>,
}

/// Why a device does not become active.
#[derive(Debug, thiserror::Error)]
enum Inactive {
    #[error("it may not access memory: its driver has not enabled it as a bus master")]
    NotMaster,
    #[error("queue {0} is not in memory, or not aligned")]
    Queue(u16),
    #[error("{0}")]
    Device(#[from] ActivateError),
}

/// What changes while the guest sets the device up.
struct State {
    setup: Setup,
    run: Run,
    /// The machine is paused: nothing works for the device until it goes on.
    rests: bool,
    /// Where the doorbells of queues are attached.
    attached: Box<[Option<GuestAddress>]>,
}

/// How far the device is.
enum Run {
    Idle,
    Active(Arc<Activity>),
    /// Its driver has set it up. What works for it is started when the machine goes on, behind so many
    /// buffers of each queue.
    Due(Vec<u16>),
    /// Its threads have been asked to end. If the driver asked for a reset, it is done when they
    /// have.
    Ending {
        activity: Arc<Activity>,
        reset: bool,
    },
}

impl<M: GuestAddressSpace> VirtioPci<M> {
    /// `device` with this id, such as `disk0`, for a driver in `memory`.
    ///
    /// # Errors
    /// [`VirtioPciError`] for queues that cannot be, and a host without files.
    pub fn new(
        id: impl Into<String>,
        device: Box<dyn VirtioDevice<M>>,
        memory: M,
        connection: Connection,
    ) -> Result<Self, VirtioPciError> {
        let id = id.into();
        let sizes = device.queue_sizes();
        let queues = match u16::try_from(sizes.len()) {
            Ok(queues) if sizes.len() <= QUEUES_MAX => queues,
            _ => return Err(VirtioPciError::Queues { id, queues: sizes.len() }),
        };
        if let Some(queue) = sizes.iter().position(|size| !size.is_power_of_two()) {
            return Err(VirtioPciError::QueueSize { id, queue, size: sizes[queue] });
        }
        let Connection { pin, doorbell, windows, notify_events, execution } = connection;
        let msix = Msix::new(queues + 1, doorbell);
        let layout = Layout::new(queues, &msix);
        let kind = device.kind();
        let mut identity = Identity::new(VENDOR, FIRST_DEVICE.wrapping_add(kind.id), kind.class);
        identity.revision = REVISION;
        identity.interrupt_pin = 1;
        let mut config = ConfigSpace::new(identity);
        let places = match layout.describe(&mut config, &msix) {
            Ok(places) => places,
            Err(source) => return Err(VirtioPciError::Config { id, source }),
        };
        let ports: io::Result<_> = (0..queues).map(|_| Port::new()).collect();
        let ports = match ports {
            Ok(ports) => ports,
            Err(source) => return Err(VirtioPciError::Host { id, source }),
        };
        let state = State {
            setup: Setup::new(sizes),
            run: Run::Idle,
            rests: false,
            attached: vec![None; queues.into()].into(),
        };
        Ok(Self {
            offered: device.features() & DEVICE_FEATURES | 1 << VIRTIO_F_VERSION_1,
            id,
            memory,
            layout,
            places,
            windows,
            // What handles a queue inline waits for no file.
            notify_events: notify_events.filter(|_| execution == Execution::Threads),
            execution,
            signals: Arc::new(Signals::new(queues, msix, pin)),
            ports,
            state: Mutex::new(state),
            device: Mutex::new(device),
            config: Mutex::new(config),
        })
    }

    /// What the driver reads of the status. After it has written 0, that is what it was before until
    /// the reset is done (§4.1.4.3.2: the driver waits for 0).
    fn status(&self, state: &State) -> u8 {
        let needs_reset = if self.signals.is_reset_needed() { NEEDS_RESET } else { 0 };
        state.setup.status | needs_reset
    }

    /// The driver writes the status.
    fn set_status(&self, state: &mut State, status: u8) {
        if status == 0 {
            self.reset_device(state, Wait::AtMost(RESET_WAIT));
            return;
        }
        let needs_reset = self.signals.is_reset_needed();
        if state.setup.set_status(status, self.offered, needs_reset) == Step::Activate {
            if let Err(error) = self.activate(state) {
                MISTAKES.warn(format_args!("{} cannot become active: {error}", self.id));
                self.signals.needs_reset(true);
            }
            self.follow(state);
        }
    }

    /// The driver has set the device up.
    fn activate(&self, state: &mut State) -> Result<(), Inactive> {
        if !self.config().is_bus_master() {
            return Err(Inactive::NotMaster);
        }
        if state.rests {
            state.run = Run::Due(Vec::new());
            return Ok(());
        }
        self.begin(state, &[])
    }

    /// Starts what works for the device, behind so many buffers of each queue.
    fn begin(&self, state: &mut State, used: &[u16]) -> Result<(), Inactive> {
        let setup = &state.setup;
        let queues = setup.active_queues(&*self.memory.memory(), used).map_err(Inactive::Queue)?;
        let features = setup.features;
        let device = self.device().kind().id;
        let activity = Activity::new(&self.id, device, &self.signals).map_err(files)?;
        state.run = Run::Active(Arc::clone(&activity));
        let started = self.start(queues, features, &activity);
        if started.is_err() {
            self.end(state, false, Wait::AtMost(RESET_WAIT));
        }
        Ok(started?)
    }

    /// Has the device say what works on its queues, and that do so.
    fn start(
        &self,
        queues: Vec<(u16, Queue)>,
        features: u64,
        activity: &Arc<Activity>,
    ) -> Result<(), ActivateError> {
        let ports: Vec<_> =
            queues.iter().map(|&(index, _)| &self.ports[usize::from(index)]).collect();
        let active: Result<Vec<_>, _> =
            queues.into_iter().map(|(index, queue)| self.queue(index, queue, activity)).collect();
        let activation =
            Activation::new(self.memory.clone(), features, active?, Arc::clone(activity) as _);
        let workers = self.device().activate(activation)?;
        for port in &ports {
            port.open();
        }
        for (number, worker) in workers.into_iter().enumerate() {
            match worker {
                Worker::Queue { index, handler } => self.run_queue(index, handler, activity)?,
                Worker::Subscriber(subscriber) => {
                    activity.run_subscriber(number, subscriber).map_err(threads)?;
                    // What is in queues already is found as if it came now.
                    ports.iter().for_each(|port| port.ring());
                }
            }
        }
        Ok(())
    }

    fn run_queue(
        &self,
        index: u16,
        handler: Box<dyn QueueHandler>,
        activity: &Arc<Activity>,
    ) -> Result<(), ActivateError> {
        let port = self.ports.get(usize::from(index)).ok_or(ActivateError::Queue(index))?;
        match self.execution {
            Execution::Inline => port.handle_inline(handler, Arc::clone(activity)),
            Execution::Threads => {
                let doorbell = port.doorbell().try_clone().map_err(files)?;
                activity.run_queue(index, handler, doorbell).map_err(threads)?;
            }
        }
        Ok(())
    }

    fn queue(
        &self,
        index: u16,
        queue: Queue,
        activity: &Arc<Activity>,
    ) -> Result<ActiveQueue, ActivateError> {
        let doorbell = self.ports[usize::from(index)].doorbell().try_clone().map_err(files)?;
        Ok(ActiveQueue::new(index, queue, doorbell, activity.queue_interrupt(index)))
    }

    /// Ends what works for the device, and resets it when that has ended.
    fn reset_device(&self, state: &mut State, wait: Wait) {
        match state.run {
            Run::Idle => self.forget(state),
            _ => self.end(state, true, wait),
        }
    }

    /// Asks what works for the device to end, and finishes that if it does in time.
    fn end(&self, state: &mut State, reset: bool, wait: Wait) {
        state.run = match std::mem::replace(&mut state.run, Run::Idle) {
            Run::Idle => return,
            Run::Due(_) if reset => return self.forget(state),
            Run::Due(_) => return,
            Run::Active(activity) => {
                activity.stop();
                Run::Ending { activity, reset }
            }
            Run::Ending { activity, reset: before } => {
                Run::Ending { activity, reset: before || reset }
            }
        };
        self.follow(state);
        for port in &self.ports {
            port.close();
        }
        self.finish(state, wait);
    }

    /// Finishes what was asked to end, if it has ended in time.
    fn finish(&self, state: &mut State, wait: Wait) {
        let Run::Ending { activity, reset } = &state.run else { return };
        if !activity.has_ended(wait) {
            return;
        }
        let reset = *reset;
        state.run = Run::Idle;
        if reset {
            self.forget(state);
        }
    }

    /// Nothing of what the driver set up is left.
    fn forget(&self, state: &mut State) {
        self.device().reset();
        state.setup.reset();
        self.signals.reset_device();
        for port in &self.ports {
            port.close();
        }
    }

    /// The guest has written configuration space: COMMAND, a base address, message control or
    /// something else.
    fn config_changed(&self) {
        let mut state = self.state();
        let is_master = {
            let config = self.config();
            let mut control = [0; 2];
            config.read(self.places.msix + MESSAGE_CONTROL, &mut control);
            self.signals.set_control(u16::from_le_bytes(control), config.is_intx_disabled());
            config.is_bus_master()
        };
        if !is_master && !matches!(state.run, Run::Idle) {
            // It may no longer access memory when this is done: a kernel that starts another one
            // relies on it, and does not ask.
            let was_active = matches!(state.run, Run::Active(_) | Run::Due(_));
            self.end(&mut state, false, Wait::ForEver);
            if was_active {
                self.signals.needs_reset(false);
            }
        }
        self.follow(&mut state);
        self.follow_messages(&state);
    }

    /// The guest has changed how it is told of used buffers.
    fn follow_messages(&self, state: &State) {
        if let Run::Active(activity) = &state.run {
            activity.follow_messages();
        }
    }

    /// Has the doorbells attached where the notification registers are, as long as the device is
    /// active.
    fn follow(&self, state: &mut State) {
        let Some(events) = &self.notify_events else { return };
        let base = match state.run {
            Run::Active(_) => self.config().bars().into_iter().find(|place| place.bar == BAR),
            _ => None,
        };
        let wanted = |queue: u16| {
            let enabled = state.setup.queues.get(usize::from(queue))?.enabled;
            let place = base.filter(|_| enabled)?;
            self.windows.real(place.start, place.bytes)?;
            self.windows.real(place.start + self.layout.notify(queue), 4)
        };
        let places: Vec<_> = (0..self.ports.len() as u16).map(wanted).collect();
        // All leave their old places before one takes its new one.
        for ((port, now), place) in self.ports.iter().zip(&mut state.attached).zip(&places) {
            if let Some(at) = now.take_if(|now| Some(*now) != *place) {
                if let Err(error) = events.detach(at, port.doorbell()) {
                    MISTAKES.error(format_args!("{}: no doorbell leaves {at:?}: {error}", self.id));
                }
            }
        }
        for ((port, now), place) in self.ports.iter().zip(&mut state.attached).zip(places) {
            let Some(at) = place.filter(|_| now.is_none()) else { continue };
            match events.attach(at, port.doorbell()) {
                Ok(true) => *now = Some(at),
                // Stores come here, as without it.
                Ok(false) => {}
                Err(error) => {
                    MISTAKES.warn(format_args!("{}: no doorbell at {at:?}: {error}", self.id));
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device(&self) -> MutexGuard<'_, Box<dyn VirtioDevice<M>>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: GuestAddressSpace> Drop for VirtioPci<M> {
    fn drop(&mut self) {
        let mut state = self.state();
        self.reset_device(&mut state, Wait::ForEver);
    }
}

impl<M: GuestAddressSpace> fmt::Debug for VirtioPci<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioPci")
            .field("id", &self.id)
            .field("signals", &self.signals)
            .finish_non_exhaustive()
    }
}

fn files(source: io::Error) -> ActivateError {
    ActivateError::Host { what: "there are no files for its queues", source }
}

fn threads(source: io::Error) -> ActivateError {
    ActivateError::Host { what: "there are no threads for its queues", source }
}

#[cfg(test)]
mod tests;
