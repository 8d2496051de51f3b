//! A connection to a daemon.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use arch_ppc64::threads::{self, Role};
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserHeaderFlag};
use vhost::vhost_user::{
    Frontend, VhostUserFrontend, VhostUserProtocolFeatures as Protocol, VhostUserVirtioFeatures,
};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use vm_memory::{GuestAddress, MmapRegion};

use super::error::VhostUserError;
use super::state;
use crate::unix_socket;
use crate::vhost::memory::{self, Region};
use crate::vhost::vring::Vring;

/// How long a daemon may take for all that it is asked at once: a virtual CPU may wait for it.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });

/// What it has at least, however short a pause is to be: after that, the device is lost.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// A daemon that has said what it can do.
pub(super) struct Daemon {
    frontend: Frontend,
    /// The same connection, to end it by, and to notice its end.
    stream: UnixStream,
    socket: PathBuf,
    features: u64,
    protocol: Protocol,
    /// The queues that it works on.
    started: Vec<Vring>,
    /// It has stopped until it is told to go on.
    rests: bool,
    /// The rings that they have beside guest memory.
    rings: Option<Arc<MmapRegion>>,
}

impl Daemon {
    /// Connects to the daemon at `socket`, and asks what it can do. It has to have so many queues
    /// and, if `has_configuration`, a configuration.
    pub(super) fn connect(
        socket: &Path,
        queues: usize,
        has_configuration: bool,
    ) -> Result<Self, VhostUserError> {
        let failed = |source| VhostUserError::Connect { socket: socket.to_owned(), source };
        let stream = unix_socket::connect(socket).map_err(failed)?;
        stream.set_nonblocking(false).map_err(failed)?;
        let frontend = Frontend::from_stream(stream.try_clone().map_err(failed)?, queues as u64);
        let mut daemon = Self {
            frontend,
            stream,
            socket: socket.to_owned(),
            features: 0,
            protocol: Protocol::empty(),
            started: Vec::new(),
            rests: false,
            rings: None,
        };
        daemon.talk(|daemon| daemon.negotiate(queues, has_configuration))?;
        Ok(daemon)
    }

    /// The virtio features that it has.
    pub(super) const fn features(&self) -> u64 {
        self.features
    }

    /// The connection, to notice its end.
    pub(super) fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// Reads the first bytes of the device's configuration.
    pub(super) fn configuration(&mut self, bytes: u32) -> Result<Vec<u8>, VhostUserError> {
        self.talk(|daemon| {
            let (flags, room) = (VhostUserConfigFlags::empty(), vec![0; bytes as usize]);
            let result = daemon.frontend.get_config(0, bytes, flags, &room);
            Ok(result.map_err(|error| daemon.failed("get the configuration", error))?.1)
        })
    }

    /// Writes to the device's configuration.
    pub(super) fn set_configuration(
        &mut self,
        offset: u32,
        data: &[u8],
    ) -> Result<(), VhostUserError> {
        self.talk(|daemon| {
            let result = daemon.frontend.set_config(offset, VhostUserConfigFlags::WRITABLE, data);
            result.map_err(|error| daemon.failed("set the configuration", error))
        })
    }

    /// Has it work on these queues, with these virtio features.
    pub(super) fn start(
        &mut self,
        features: u64,
        regions: &[Region],
        vrings: Vec<Vring>,
        rings: Option<Arc<MmapRegion>>,
    ) -> Result<(), VhostUserError> {
        (self.rings, self.rests) = (rings, false);
        self.talk(|daemon| daemon.hand_over(features, regions, vrings))
    }

    /// Has it leave its queues, and guest memory with them, alone until it [goes on](Self::resume): by
    /// `until`, or a moment later.
    pub(super) fn pause(&mut self, until: Instant) -> Result<(), VhostUserError> {
        let left = until.saturating_duration_since(Instant::now());
        self.talk_for(left.clamp(PATIENCE_MIN, PATIENCE), |daemon| {
            for number in 0..daemon.started.len() {
                daemon.started[number].base = daemon.stop_queue(daemon.started[number].index)?;
            }
            daemon.rests = true;
            Ok(())
        })
    }

    /// Has it go on where it has stopped.
    pub(super) fn resume(&mut self) -> Result<(), VhostUserError> {
        if !std::mem::take(&mut self.rests) {
            return Ok(());
        }
        let vrings = std::mem::take(&mut self.started);
        self.talk(|daemon| daemon.start_queues(vrings))
    }

    /// The queues that it works on, and before which buffer of each it has stopped if it has.
    pub(super) fn queues(&self) -> &[Vring] {
        &self.started
    }

    /// Whether it can give what it knows to another one.
    pub(super) const fn has_state(&self) -> bool {
        self.protocol.contains(Protocol::DEVICE_STATE)
    }

    /// What it knows, while it rests.
    pub(super) fn save(&mut self) -> Result<Vec<u8>, VhostUserError> {
        self.talk(|daemon| {
            let result = state::save(&daemon.frontend);
            result.map_err(|error| daemon.failed("give its state", error))
        })
    }

    /// It is to know what another one knew, before it is started.
    pub(super) fn restore(&mut self, known: &[u8]) -> Result<(), VhostUserError> {
        self.talk(|daemon| {
            let result = state::restore(&daemon.frontend, known);
            result.map_err(|error| daemon.failed("take a state", error))
        })
    }

    /// Guest memory is this from here on. A daemon that works on no queue is told when it does.
    pub(super) fn change_memory(&mut self, regions: &[Region]) -> Result<(), VhostUserError> {
        if self.started.is_empty() {
            return Ok(());
        }
        self.talk(|daemon| {
            daemon.tell_of_memory(regions)?;
            // Who does not say when it has done that has when it answers something else.
            if !daemon.protocol.contains(Protocol::REPLY_ACK) {
                let result = daemon.frontend.get_features();
                result.map_err(|error| daemon.failed("get features", error))?;
            }
            Ok(())
        })
    }

    /// Has it leave its queues, and guest memory with them, alone. It is not asked twice.
    pub(super) fn stop(&mut self) -> Result<(), VhostUserError> {
        let queues = std::mem::take(&mut self.started);
        if std::mem::take(&mut self.rests) || queues.is_empty() {
            return Ok(());
        }
        self.talk(|daemon| {
            for queue in queues {
                daemon.stop_queue(queue.index)?;
            }
            Ok(())
        })
    }

    /// Whether it has ended the connection.
    pub(super) fn is_gone(&self) -> bool {
        unix_socket::is_closed(&self.stream)
    }

    /// Ends the connection, as there is no telling what the daemon is at: it leaves guest memory
    /// alone when it notices.
    pub(super) fn leave(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn has_protocol(&self) -> bool {
        self.features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0
    }

    fn negotiate(&mut self, queues: usize, has_configuration: bool) -> Result<(), VhostUserError> {
        let frontend = &mut self.frontend;
        let result = frontend.set_owner().and_then(|()| frontend.get_features());
        self.features = result.map_err(|error| self.failed("get features", error))?;
        if self.features >> VIRTIO_F_VERSION_1 & 1 == 0 {
            return Err(self.lacks("virtio 1 (VIRTIO_F_VERSION_1)".to_owned()));
        }
        if self.has_protocol() {
            let offered = self.frontend.get_protocol_features();
            let offered = offered.map_err(|error| self.failed("get protocol features", error))?;
            let wanted = if has_configuration { Protocol::CONFIG } else { Protocol::empty() };
            self.protocol =
                offered & (Protocol::MQ | Protocol::REPLY_ACK | Protocol::DEVICE_STATE | wanted);
            let result = self.frontend.set_protocol_features(self.protocol);
            result.map_err(|error| self.failed("set protocol features", error))?;
        }
        if self.protocol.contains(Protocol::REPLY_ACK) {
            self.frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        if has_configuration && !self.protocol.contains(Protocol::CONFIG) {
            return Err(self.lacks("the protocol feature CONFIG".to_owned()));
        }
        // Two are a pair, which all have, and some count as one.
        if queues > 2 {
            let most = if self.protocol.contains(Protocol::MQ) {
                let result = self.frontend.get_queue_num();
                result.map_err(|error| self.failed("get the number of queues", error))?
            } else {
                2
            };
            if most < queues as u64 {
                return Err(self.lacks(format!("{queues} queues, but {most}")));
            }
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        features: u64,
        regions: &[Region],
        vrings: Vec<Vring>,
    ) -> Result<(), VhostUserError> {
        let acknowledged = if self.has_protocol() {
            features | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
        } else {
            features
        };
        let result = self.frontend.set_features(acknowledged);
        result.map_err(|error| self.failed("set features", error))?;

        self.tell_of_memory(regions)?;
        self.start_queues(vrings)
    }

    fn start_queues(&mut self, vrings: Vec<Vring>) -> Result<(), VhostUserError> {
        for vring in vrings {
            self.set_up(&vring).map_err(|error| self.failed("take a queue", error))?;
            self.started.push(vring);
        }
        if self.has_protocol() {
            for number in 0..self.started.len() {
                let index = self.started[number].index.into();
                let result = self.frontend.set_vring_enable(index, true);
                result.map_err(|error| self.failed("enable a queue", error))?;
            }
        }
        Ok(())
    }

    /// Gives before which buffer it has stopped.
    fn stop_queue(&mut self, queue: u16) -> Result<u16, VhostUserError> {
        let queue = usize::from(queue);
        if self.has_protocol() {
            let result = self.frontend.set_vring_enable(queue, false);
            result.map_err(|error| self.failed("disable a queue", error))?;
        }
        // It answers when it has stopped.
        let result = self.frontend.get_vring_base(queue);
        Ok(result.map_err(|error| self.failed("stop a queue", error))? as u16)
    }

    /// Has it map guest memory and the rings beside it, and nothing else.
    fn tell_of_memory(&mut self, regions: &[Region]) -> Result<(), VhostUserError> {
        let mut table = Vec::with_capacity(regions.len() + 1);
        for region in regions {
            let Some((file, offset)) = region.file else {
                let socket = self.socket.clone();
                return Err(VhostUserError::Memory { socket, at: GuestAddress(region.guest) });
            };
            table.push(VhostUserMemoryRegionInfo {
                guest_phys_addr: region.guest,
                memory_size: region.bytes,
                userspace_addr: region.host,
                mmap_offset: offset,
                mmap_handle: file,
            });
        }
        if let Some((rings, file)) =
            self.rings.as_ref().and_then(|rings| Some((rings, rings.file_offset()?)))
        {
            table.push(VhostUserMemoryRegionInfo {
                // A guest that has buffers there disturbs its own queues.
                guest_phys_addr: memory::BEHIND,
                memory_size: rings.size() as u64,
                userspace_addr: rings.as_ptr().addr() as u64,
                mmap_offset: file.start(),
                mmap_handle: file.file().as_raw_fd(),
            });
        }
        let result = self.frontend.set_mem_table(&table);
        result.map_err(|error| self.failed("take guest memory", error))?;
        Ok(())
    }

    fn set_up(&mut self, vring: &Vring) -> vhost::Result<()> {
        let index = usize::from(vring.index);
        let addresses = VringConfigData {
            queue_max_size: vring.size,
            queue_size: vring.size,
            flags: 0,
            desc_table_addr: vring.descriptors,
            used_ring_addr: vring.used,
            avail_ring_addr: vring.available,
            log_addr: None,
        };
        self.frontend.set_vring_num(index, vring.size)?;
        self.frontend.set_vring_base(index, vring.base)?;
        self.frontend.set_vring_addr(index, &addresses)?;
        self.frontend.set_vring_call(index, &vring.call)?;
        self.frontend.set_vring_kick(index, &vring.kick)
    }

    /// Does what talks to the daemon, and ends the connection if that takes too long: the protocol
    /// itself has no end to waiting.
    fn talk<T>(
        &mut self,
        with: impl FnOnce(&mut Self) -> Result<T, VhostUserError>,
    ) -> Result<T, VhostUserError> {
        self.talk_for(PATIENCE, with)
    }

    fn talk_for<T>(
        &mut self,
        patience: Duration,
        with: impl FnOnce(&mut Self) -> Result<T, VhostUserError>,
    ) -> Result<T, VhostUserError> {
        let (done, is_done) = mpsc::channel::<()>();
        let stream = self.stream().map_err(|error| self.failed("listen", error))?;
        let too_late = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            let too_late = &too_late;
            let watch = move || {
                threads::starts(Role::Patience);
                if is_done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                    too_late.store(true, Ordering::SeqCst);
                    let _ = stream.shutdown(Shutdown::Both);
                }
            };
            let thread = thread::Builder::new().name("patience".to_owned());
            if let Err(error) = thread.spawn_scoped(scope, watch) {
                return Err(self.failed("wait for an answer", error));
            }
            let result = with(self);
            drop(done);
            result
        });
        match result {
            Err(VhostUserError::Talk { socket, request, .. })
                if too_late.load(Ordering::SeqCst) =>
            {
                let source = io::ErrorKind::TimedOut.into();
                Err(VhostUserError::Talk { socket, request, source })
            }
            result => result,
        }
    }

    fn failed(
        &self,
        request: &'static str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> VhostUserError {
        let source = io::Error::other(error);
        VhostUserError::Talk { socket: self.socket.clone(), request, source }
    }

    fn lacks(&self, what: String) -> VhostUserError {
        VhostUserError::Lacks { socket: self.socket.clone(), what }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Whoever else has the connection notices.
        self.leave();
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("features", &self.features)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}
