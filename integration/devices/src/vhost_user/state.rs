//! What a daemon knows of its guest, from one to another (the protocol feature DEVICE_STATE).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use event_manager::EventSet;
use vhost::vhost_user::message::{VhostTransferStateDirection, VhostTransferStatePhase};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent};

/// The most that a daemon may know.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 8 });

/// What is written at once: as much as there is room for in whatever says that there is some.
const PIECE_BYTES: usize = 4096;

/// Asks a daemon that has stopped for what it knows.
pub(super) fn save(frontend: &Frontend) -> io::Result<Vec<u8>> {
    let mut file = begin(frontend, VhostTransferStateDirection::SAVE)?;
    let until = Instant::now() + PATIENCE;
    let mut state = Vec::new();
    let mut buffer = [0; 0x4000];
    loop {
        wait(&file, EventSet::IN, until)?;
        match file.read(&mut buffer)? {
            0 => break,
            bytes => state.extend_from_slice(&buffer[..bytes]),
        }
        if state.len() > MAX_BYTES {
            return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
        }
    }
    frontend.check_device_state().map_err(io::Error::other)?;
    Ok(state)
}

/// Tells a daemon that has not begun what another one knew.
pub(super) fn restore(frontend: &Frontend, state: &[u8]) -> io::Result<()> {
    let mut file = begin(frontend, VhostTransferStateDirection::LOAD)?;
    let until = Instant::now() + PATIENCE;
    for piece in state.chunks(PIECE_BYTES) {
        wait(&file, EventSet::OUT, until)?;
        file.write_all(piece)?;
    }
    // It has all of it when there is nobody who could write more.
    drop(file);
    frontend.check_device_state().map_err(io::Error::other)
}

/// Gives the daemon one end of a connection, and this process the other, or a file of the daemon's
/// own.
fn begin(frontend: &Frontend, direction: VhostTransferStateDirection) -> io::Result<File> {
    let (ours, theirs) = UnixStream::pair()?;
    let phase = VhostTransferStatePhase::STOPPED;
    let file = frontend.set_device_state_fd(direction, phase, OwnedFd::from(theirs));
    Ok(file.map_err(io::Error::other)?.unwrap_or_else(|| File::from(OwnedFd::from(ours))))
}

/// Waits until the file can be read from, or written to.
fn wait(file: &File, what: EventSet, until: Instant) -> io::Result<()> {
    let epoll = Epoll::new()?;
    match epoll.ctl(ControlOperation::Add, file.as_raw_fd(), EpollEvent::new(what, 0)) {
        // One of a disk always can.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        other => other?,
    }
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        match epoll.wait(milliseconds, &mut [EpollEvent::default()]) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
