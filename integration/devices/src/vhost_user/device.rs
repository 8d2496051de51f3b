//! The device.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arch_ppc64::platform::{StateError, StateValue};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestAddressSpace;

use super::connection::{Connection, give_up};
use super::daemon::Daemon;
use super::error::VhostUserError;
use super::spec::{Configuration, DeviceSpec};
use super::watcher::{Heirs, Watcher};
use crate::vhost::vring::Vrings;
use crate::vhost::worker::workers;
use crate::vhost::{Session, memory};
use crate::virtio::{ActivateError, Activation, DeviceKind, VirtioDevice, Worker};

const DAEMON_FAILS: &str = "the daemon of a vhost-user device cannot be used";

const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
const INDIRECT_DESC: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
/// Those that say something about the kind of device (Virtio 1.2 §2.2).
const DEVICE_FEATURES: u64 = 0xff_ffff | !0 << 50;

/// A virtio device that a daemon works for.
///
/// A daemon that goes away leaves a device that needs a reset; when its driver has reset it and sets
/// it up again, or the machine starts again, there has to be a daemon at the same socket that has at least the features that
/// the driver takes.
#[derive(Debug)]
pub struct VhostUser {
    pub(super) socket: PathBuf,
    pub(super) spec: DeviceSpec,
    is_relayed: bool,
    /// None after it failed.
    pub(super) daemon: Option<Arc<Connection>>,
    /// The features that the daemon had when it was first met.
    offered: u64,
    pub(super) configuration: Vec<u8>,
}

impl VhostUser {
    /// Connects to the daemon that listens at `socket`, for a device of this kind.
    ///
    /// # Errors
    /// [`VhostUserError`] if there is none, or none of this kind.
    pub fn connect(socket: &Path, spec: DeviceSpec) -> Result<Self, VhostUserError> {
        let mut device = Self {
            socket: socket.to_owned(),
            spec,
            is_relayed: false,
            daemon: None,
            offered: 0,
            configuration: Vec::new(),
        };
        device.offered = device.meet()?.daemon().features();
        Ok(device)
    }

    /// Has buffers marked as written in the `Bitmap` of guest memory once the daemon has used them,
    /// and before the driver sees that. It costs two more wakes of a thread for each notification.
    ///
    /// Needed where processors keep decoded code, as in software, or writes to memory are logged
    /// while the device is in use.
    #[must_use]
    pub const fn with_relayed_queues(mut self, is_relayed: bool) -> Self {
        self.is_relayed = is_relayed;
        self
    }

    /// The daemon, which is connected to if it is not.
    pub(super) fn meet(&mut self) -> Result<Arc<Connection>, VhostUserError> {
        let connection = match self.daemon.take() {
            Some(connection) if !connection.daemon().is_gone() => connection,
            _ => {
                let has_configuration = matches!(self.spec.configuration, Configuration::Daemon(_));
                let queues = self.spec.queue_sizes.len();
                let mut daemon = Daemon::connect(&self.socket, queues, has_configuration)?;
                self.configuration = match &self.spec.configuration {
                    Configuration::Fixed(bytes) => bytes.clone(),
                    Configuration::Daemon(bytes) => daemon.configuration(*bytes)?,
                };
                Arc::new(Connection::new(daemon, self.spec.requests))
            }
        };
        Ok(self.daemon.insert(connection).clone())
    }

    /// The features that a daemon of these features gives the guest.
    const fn offer(&self, daemon: u64) -> u64 {
        let of_daemon = daemon & (DEVICE_FEATURES & self.spec.features | INDIRECT_DESC | EVENT_IDX);
        // The driver's queues are then this process's.
        if self.is_relayed { of_daemon | EVENT_IDX } else { of_daemon }
    }

    fn start<M: GuestAddressSpace + Send + 'static>(
        &mut self,
        activation: Activation<M>,
    ) -> Result<Vec<Worker>, VhostUserError> {
        let Activation { memory, features, queues, interrupt, .. } = activation;
        let (is_relayed, requests) = (self.is_relayed, self.spec.requests);
        let socket = self.socket.clone();
        let failed = |source| {
            let (socket, request) = (socket.clone(), "take guest memory");
            VhostUserError::Talk { socket, request, source }
        };
        let connection = self.meet()?;
        let mut daemon = connection.daemon();
        let own = if is_relayed { EVENT_IDX } else { 0 };
        let features = features & !own | 1 << VIRTIO_F_VERSION_1;
        let missing = features & !daemon.features();
        if missing != 0 {
            let what = format!("the features {missing:#x} that the driver takes");
            return Err(VhostUserError::Lacks { socket, what });
        }
        let guard = memory.memory();
        let regions = memory::regions(&*guard).map_err(failed)?;
        let (vrings, heirs) = if is_relayed {
            let vrings = Vrings::relayed(&*guard, queues, requests).map_err(failed)?;
            let heirs = Heirs::of_relays(&vrings.relays);
            (vrings, heirs)
        } else {
            let heirs = Heirs::of_queues(&queues);
            (Vrings::shared(&*guard, queues).map_err(failed)?, heirs)
        };
        let heirs = heirs.map_err(failed)?;
        let Vrings { vrings, relays, rings } = vrings;
        daemon.start(features, &regions, vrings, rings)?;
        let stream = daemon.stream().map_err(failed)?;
        drop((guard, daemon));
        let name = socket.display().to_string();
        let session = connection.clone();
        let mut workers = workers(&memory, session, relays, &interrupt, &name);
        let watcher = Watcher::new(memory, connection, socket, stream, interrupt, heirs);
        workers.push(Worker::Subscriber(Box::new(watcher)));
        Ok(workers)
    }
}

impl<M: GuestAddressSpace + Send + 'static> VirtioDevice<M> for VhostUser {
    fn kind(&self) -> DeviceKind {
        self.spec.kind
    }

    fn features(&self) -> u64 {
        self.offer(self.offered)
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.spec.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let from = usize::try_from(offset).ok().and_then(|offset| self.configuration.get(offset..));
        if let Some(from) = from {
            let bytes = from.len().min(data.len());
            data[..bytes].copy_from_slice(&from[..bytes]);
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let Configuration::Daemon(bytes) = self.spec.configuration else { return };
        let Ok(offset) = u32::try_from(offset) else { return };
        let end = offset.checked_add(data.len() as u32).filter(|&end| end <= bytes);
        let (Some(_), Some(connection)) = (end, &self.daemon) else { return };
        let mut daemon = connection.daemon();
        let result = daemon.set_configuration(offset, data);
        match result.and_then(|()| daemon.configuration(bytes)) {
            Ok(configuration) => self.configuration = configuration,
            Err(error) => give_up(&daemon, &error),
        }
    }

    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError> {
        match self.start(activation) {
            Ok(workers) => Ok(workers),
            Err(error) => {
                // What it knows of the queues is not known.
                if let Some(connection) = self.daemon.take() {
                    connection.daemon().leave();
                }
                Err(ActivateError::Host { what: DAEMON_FAILS, source: io::Error::other(error) })
            }
        }
    }

    fn reset(&mut self) {
        if let Some(connection) = &self.daemon {
            connection.stop();
        }
    }

    fn pause(&mut self, memory: &M, until: Instant) -> Result<(), StateError> {
        let Some(connection) = &self.daemon else { return Ok(()) };
        let mut daemon = connection.daemon();
        // One that is gone writes nothing.
        if daemon.is_gone() {
            return Ok(());
        }
        if let Err(error) = daemon.pause(until) {
            // There is no telling what it is at.
            daemon.leave();
            return Err(error.into());
        }
        let memory = memory.memory();
        daemon.queues().iter().try_for_each(|queue| queue.await_rest(&*memory, until))
    }

    fn resume(&mut self, _: &M) -> Result<(), ActivateError> {
        let Some(connection) = &self.daemon else { return Ok(()) };
        let mut daemon = connection.daemon();
        // That is noticed by whoever watches it.
        if daemon.is_gone() {
            return Ok(());
        }
        daemon.resume().map_err(|error| {
            daemon.leave();
            ActivateError::Host { what: DAEMON_FAILS, source: io::Error::other(error) }
        })
    }

    fn save(&self) -> Result<StateValue, StateError> {
        self.state()
    }

    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        self.take_up(version, state)
    }

    fn memory_changed(&mut self, memory: &M) {
        let Some(connection) = &self.daemon else { return };
        let mut daemon = connection.daemon();
        let failed = |source| {
            let (socket, request) = (self.socket.clone(), "take guest memory");
            VhostUserError::Talk { socket, request, source }
        };
        let regions = memory::regions(&*memory.memory()).map_err(failed);
        // A daemon that is gone is noticed by whoever watches it.
        if daemon.is_gone() {
            return;
        }
        if let Err(error) = regions.and_then(|regions| daemon.change_memory(&regions)) {
            give_up(&daemon, &error);
        }
    }
}
