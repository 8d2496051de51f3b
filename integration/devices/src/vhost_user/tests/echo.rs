//! A daemon whose device gives back what it gets, in reverse.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use vhost::vhost_user::message::{VhostTransferStateDirection, VhostTransferStatePhase};
use vhost::vhost_user::{Listener, VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{
    ShutdownHandle, VhostUserBackendMut, VhostUserDaemon, VringRwLock, VringT,
};
use virtio_queue::QueueOwnedT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::chain::Chain;

/// Beyond those of virtio: of the device, and one that no device has.
pub(super) const FEATURES: u64 = 1 << 32
    | 1 << 29
    | 1 << 28
    | 1 << 27
    | 0b101
    | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

pub(super) struct Echo {
    pub(super) features: u64,
    pub(super) protocol: VhostUserProtocolFeatures,
    pub(super) configuration: Vec<u8>,
    pub(super) acknowledged: u64,
    /// Does nothing with what it is asked.
    pub(super) is_stuck: bool,
    /// Is at a request for some time, also after it was stopped.
    pub(super) is_slow: bool,
    pub(super) has_event_idx: bool,
    /// What goes to another one with the device.
    pub(super) known: Arc<Mutex<Vec<u8>>>,
    /// Says that it would tell what it knows, and does not.
    pub(super) withholds_state: bool,
    /// Takes what another one knew.
    pub(super) learns: Mutex<Option<JoinHandle<()>>>,
    pub(super) withheld: Option<File>,
    pub(super) memory: Option<GuestMemoryAtomic<GuestMemoryMmap>>,
}

impl Echo {
    pub(super) fn new() -> Self {
        Self {
            features: FEATURES,
            protocol: VhostUserProtocolFeatures::all(),
            configuration: (0..100).collect(),
            acknowledged: 0,
            is_stuck: false,
            is_slow: false,
            has_event_idx: false,
            known: Arc::default(),
            withholds_state: false,
            learns: Mutex::default(),
            withheld: None,
            memory: None,
        }
    }
}

impl VhostUserBackendMut for Echo {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        3
    }

    fn max_queue_size(&self) -> usize {
        1024
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn acked_features(&mut self, features: u64) {
        self.acknowledged = features;
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        self.protocol
    }

    fn set_event_idx(&mut self, enabled: bool) {
        self.has_event_idx = enabled;
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.configuration[offset as usize..][..size as usize].to_vec()
    }

    fn set_config(&mut self, offset: u32, data: &[u8]) -> io::Result<()> {
        self.configuration[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        self.memory = Some(memory);
        Ok(())
    }

    fn set_device_state_fd(
        &mut self,
        direction: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        mut file: File,
    ) -> io::Result<Option<File>> {
        let known = self.known.clone();
        match direction {
            _ if self.withholds_state => self.withheld = Some(file),
            VhostTransferStateDirection::SAVE => {
                std::thread::spawn(move || file.write_all(&known.lock().unwrap()).unwrap());
            }
            VhostTransferStateDirection::LOAD => {
                let learn = move || {
                    let mut known = known.lock().unwrap();
                    known.clear();
                    file.read_to_end(&mut known).unwrap();
                };
                *self.learns.lock().unwrap() = Some(std::thread::spawn(learn));
            }
        }
        Ok(None)
    }

    fn check_device_state(&self) -> io::Result<()> {
        let learns = self.learns.lock().unwrap().take();
        learns.into_iter().for_each(|thread| thread.join().unwrap());
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::empty()).ok()
    }

    fn handle_event(
        &mut self,
        queue: u16,
        _: EventSet,
        vrings: &[VringRwLock],
        _thread: usize,
    ) -> io::Result<()> {
        if self.is_stuck {
            return Ok(());
        }
        let guard = self.memory.as_ref().unwrap().memory();
        let vring = &vrings[usize::from(queue)];
        loop {
            loop {
                // It may have been stopped meanwhile.
                let chain = match vring.get_mut().get_queue_mut().iter(&*guard) {
                    Ok(mut chains) => chains.next(),
                    Err(_) => return Ok(()),
                };
                let Some(descriptors) = chain else { break };
                if self.is_slow {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let head = descriptors.head_index();
                let chain = Chain::new(&*guard, descriptors).unwrap();
                let mut data = vec![0; chain.readable.len()];
                chain.readable.copy_to(&mut data);
                data.reverse();
                let bytes = chain.writable.copy_from(&data);
                vring.add_used(head, bytes as u32).unwrap();
                if !self.has_event_idx || vring.needs_notification().unwrap() {
                    vring.signal_used_queue().unwrap();
                }
            }
            if !self.has_event_idx || !vring.enable_notification().unwrap() {
                return Ok(());
            }
        }
    }
}

/// The daemon on a thread of its own.
pub(super) struct Daemon {
    pub(super) echo: Arc<Mutex<Echo>>,
    socket: PathBuf,
    handle: Receiver<ShutdownHandle>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(super) fn start(socket: &Path, echo: Echo) -> Self {
        let mut listener = Listener::new(socket, true).unwrap();
        let echo = Arc::new(Mutex::new(echo));
        let (give, handle) = mpsc::channel();
        let shared = echo.clone();
        let thread = std::thread::spawn(move || {
            let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
            let mut daemon = VhostUserDaemon::new("echo".to_owned(), shared, memory).unwrap();
            daemon.start(&mut listener).unwrap();
            give.send(daemon.shutdown_handle().unwrap()).unwrap();
            let _ = daemon.wait();
        });
        Self { echo, socket: socket.to_owned(), handle, thread: Some(thread) }
    }

    /// Ends it, as if it had been killed.
    pub(super) fn kill(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // One that waits for somebody to connect is to end as well.
        let connection = std::os::unix::net::UnixStream::connect(&self.socket);
        if let Ok(handle) = self.handle.recv() {
            handle.shutdown();
        }
        drop(connection);
        thread.join().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
