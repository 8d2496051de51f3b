//! The network for the client interface, while the guest's driver does not have the device.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vof_device::network::{NetworkDevice, NetworkError};

use super::backend::{
    Backend, Expected, FRAME_BYTES_MAX, FRAME_BYTES_MIN, HEADER_BYTES, Lost, Received, Sent,
};
use super::counts::Counts;
use super::worker::RECONNECT;
use super::{COMPLAINTS, FRAMES_AT_ONCE, NetConfig, lock};
use crate::iovec::{Gather, Scatter};

/// The back end of the device, for clients. They get frames that are whole: neither checksums nor
/// segments are left to them.
pub(super) struct ForClients {
    config: Mutex<NetConfig>,
    backend: Arc<Mutex<Box<dyn Backend>>>,
    link: Arc<AtomicBool>,
    counts: Arc<Counts>,
    /// Locked before the back end.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The guest's driver has the device.
    is_taken: bool,
    /// The back end knows that its frames are for clients.
    is_started: bool,
    /// A connection that is lost is not tried again before.
    retry_at: Option<Instant>,
    /// The frame that is being received, with its header; empty until clients want one.
    frame: Vec<u8>,
    /// How much of it has come.
    placed: usize,
}

impl ForClients {
    pub(super) fn new(
        config: NetConfig,
        backend: Arc<Mutex<Box<dyn Backend>>>,
        link: Arc<AtomicBool>,
        counts: Arc<Counts>,
    ) -> Self {
        Self { config: Mutex::new(config), backend, link, counts, state: Mutex::default() }
    }

    /// The station is another one from here on.
    pub(super) fn set_config(&self, config: NetConfig) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn config(&self) -> NetConfig {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver has the device from here on: no frame goes to clients any more, or comes from
    /// them.
    pub(super) fn take(&self) {
        *self.state() = State { is_taken: true, ..State::default() };
    }

    /// The driver does not have the device any more, and nothing works for it.
    pub(super) fn give_back(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a back end that is connected, and knows that its frames are for clients.
    fn with<T>(
        &self,
        act: impl FnOnce(&mut State, &mut dyn Backend) -> Result<T, Lost>,
    ) -> Result<T, NetworkError> {
        let mut state = self.state();
        if state.is_taken {
            return Err(NetworkError::Taken);
        }
        let mut backend = lock(&self.backend);
        if backend.file().is_none() && !self.reconnect(&mut state, &mut **backend) {
            return Err(NetworkError::Down);
        }
        let result = state.start(&mut **backend).and_then(|()| {
            // What is left of a frame that went.
            backend.flush()?;
            act(&mut state, &mut **backend)
        });
        result.map_err(|lost| {
            COMPLAINTS.warn(format_args!("the link is down: {lost}"));
            backend.disconnect();
            self.link.store(false, Ordering::SeqCst);
            *state = State { retry_at: Some(Instant::now() + RECONNECT), ..State::default() };
            NetworkError::Down
        })
    }

    fn reconnect(&self, state: &mut State, backend: &mut dyn Backend) -> bool {
        let now = Instant::now();
        if !backend.can_reconnect() || state.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        let is_connected = backend.reconnect();
        self.link.store(is_connected, Ordering::SeqCst);
        *state = State { retry_at: Some(now + RECONNECT), ..State::default() };
        is_connected
    }

    /// What becomes readable when a frame comes.
    fn file(&self) -> Option<OwnedFd> {
        if self.state().is_taken {
            return None;
        }
        lock(&self.backend).file()?.try_clone_to_owned().ok()
    }
}

impl NetworkDevice for ForClients {
    fn mac_address(&self) -> [u8; 6] {
        self.config().mac.bytes()
    }

    fn max_frame_bytes(&self) -> usize {
        self.config().frame_bytes() as usize
    }

    fn receive(&self, frame: &mut [u8]) -> Result<Option<usize>, NetworkError> {
        self.with(|state, backend| {
            // Those that are left out are not to keep anybody here for ever.
            for _ in 0..FRAMES_AT_ONCE {
                let Some(came) = state.receive(backend)? else { return Ok(None) };
                let most = frame.len().min(self.max_frame_bytes());
                if (FRAME_BYTES_MIN..=most).contains(&came.len()) {
                    frame[..came.len()].copy_from_slice(came);
                    self.counts.received.add(1);
                    self.counts.received_bytes.add(came.len() as u64);
                    return Ok(Some(came.len()));
                }
                self.counts.received_dropped.add(1);
            }
            Ok(None)
        })
    }

    fn send(&self, frame: &[u8]) -> Result<bool, NetworkError> {
        self.with(|_, backend| {
            let mut all = Gather::from(&[0; HEADER_BYTES][..]);
            all.append(Gather::from(frame));
            match backend.send(all)? {
                Sent::Full => return Ok(false),
                Sent::Taken => {
                    self.counts.sent.add(1);
                    self.counts.sent_bytes.add(frame.len() as u64);
                }
                Sent::LeftOut => self.counts.sent_dropped.add(1),
            }
            Ok(true)
        })
    }

    /// No lock is held meanwhile.
    fn wait(&self, limit: Duration) {
        let waited = self.file().map(|file| readable(&file, limit));
        if !matches!(waited, Some(Ok(()))) {
            thread::sleep(limit);
        }
    }
}

impl State {
    /// Tells the back end who its frames are for, once.
    fn start(&mut self, backend: &mut dyn Backend) -> Result<(), Lost> {
        if !self.is_started {
            backend.start(0)?;
            self.is_started = true;
        }
        Ok(())
    }

    /// The next frame, without its header, if it has come as a whole.
    fn receive(&mut self, backend: &mut dyn Backend) -> Result<Option<&[u8]>, Lost> {
        self.frame.resize(HEADER_BYTES + FRAME_BYTES_MAX, 0);
        loop {
            let Some(expected) = backend.expected()? else { return Ok(None) };
            // What is at most so much may be more, and is then to be seen as what it is.
            let end = match expected {
                Expected::Exactly(bytes) => self.frame.len().min(self.placed + bytes),
                Expected::AtMost(_) => self.frame.len(),
            };
            let mut room = Scatter::from(&mut self.frame[self.placed..end]);
            match backend.receive(&mut room)? {
                Received::Nothing => return Ok(None),
                Received::Part(bytes) => self.placed += bytes,
                Received::End(bytes) => {
                    let end = std::mem::take(&mut self.placed) + bytes;
                    return Ok(Some(self.frame.get(HEADER_BYTES..end).unwrap_or_default()));
                }
            }
        }
    }
}

/// Waits until there is something to be read, for so long at most.
fn readable(file: &OwnedFd, limit: Duration) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.ctl(ControlOperation::Add, file.as_raw_fd(), EpollEvent::new(EventSet::IN, 0))?;
    let milliseconds = i32::try_from(limit.as_millis().max(1)).unwrap_or(i32::MAX);
    epoll.wait(milliseconds, &mut [EpollEvent::default()]).map(drop)
}
