//! A console at a Unix socket.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::RawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use vmm_sys_util::epoll::EventSet;

use super::file::{is_full, uninterrupted};
use super::watch::Watch;
use super::{HostEnd, HostEndError};
use crate::unix_listener::Listener;
use crate::unix_socket;

const LISTENER: u64 = 0;
const CLIENT: u64 = 1;

/// A socket that one client at a time connects to. Others wait until it leaves; text from while
/// there is none is lost. What it typed before it left is kept for the guest until another comes.
#[derive(Debug)]
pub struct SocketEnd {
    listener: Listener,
    watch: Watch,
    client: Option<Client>,
    input: bool,
    room: bool,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// It will not type any more, but may still read.
    is_silent: bool,
    /// It is gone, and out of the watch: what it typed is still to be read.
    has_left: bool,
}

impl SocketEnd {
    /// Makes a socket of this path, and listens. One that is there and that nobody listens at is
    /// taken away: a program that was killed left it.
    ///
    /// # Errors
    /// [`HostEndError`] names the path and the reason.
    pub fn listen(path: &Path) -> Result<Self, HostEndError> {
        let make = || {
            let listener = Listener::bind(path)?;
            let watch = Watch::new()?;
            // Each time that somebody comes, and not as long as somebody waits: where no more files
            // can be opened, that would be all the time.
            watch.add(listener.socket(), LISTENER, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
            Ok((listener, watch))
        };
        let (listener, watch) = make().map_err(|error| no_socket(path, error))?;
        Ok(Self { listener, watch, client: None, input: false, room: false })
    }

    /// Whether there is a client, as far as has been [attended](HostEnd::attend) to.
    pub const fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// Takes the next client, where one waits, in the place of the last.
    fn accept(&mut self) {
        let accepted = self.listener.socket().accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            self.watch.add(&stream, CLIENT, EventSet::empty())?;
            Ok(stream)
        });
        match accepted {
            Ok(stream) => {
                self.client = Some(Client { stream, is_silent: false, has_left: false });
                self.wait_for(self.input, self.room);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                log::warn!("nobody can connect to {}: {error}", self.listener.path().display());
            }
        }
    }

    fn leave(&mut self) {
        // It goes out of the watch as it is closed.
        self.client = None;
        self.accept();
    }
}

impl HostEnd for SocketEnd {
    fn file(&self) -> Option<RawFd> {
        Some(self.watch.file())
    }

    fn wait_for(&mut self, input: bool, room: bool) {
        (self.input, self.room) = (input, room);
        let Some(client) = &mut self.client else { return };
        let mut set = EventSet::empty();
        set.set(EventSet::IN, input && !client.is_silent);
        set.set(EventSet::OUT, room);
        if !client.has_left {
            self.watch.change(&client.stream, CLIENT, set);
        } else if input && self.watch.add(&client.stream, CLIENT, set).is_ok() {
            client.has_left = false;
        }
    }

    fn attend(&mut self) {
        for (number, set) in self.watch.events() {
            let is_over = set.intersects(EventSet::HANG_UP | EventSet::ERROR);
            match &mut self.client {
                None => self.accept(),
                Some(client) if client.has_left => self.accept(),
                Some(client) if number == CLIENT && is_over => {
                    // What it typed before it left is read first.
                    let typed = unix_socket::peek(&client.stream, &mut [0]);
                    if !typed.is_ok_and(|bytes| bytes > 0) {
                        self.leave();
                    } else if !self.input {
                        // It would be told of all the time.
                        self.watch.remove(&client.stream);
                        client.has_left = true;
                        self.accept();
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        let Some(client) = self.client.as_mut().filter(|client| !client.is_silent) else {
            return 0;
        };
        match uninterrupted(|| client.stream.read(buf)) {
            Ok(0) if !buf.is_empty() => {
                client.is_silent = true;
                self.wait_for(self.input, self.room);
                0
            }
            Ok(bytes) => bytes,
            Err(error) if is_full(&error) => 0,
            Err(_) => {
                self.leave();
                0
            }
        }
    }

    fn write(&mut self, text: &[u8]) -> usize {
        let Some(client) = &mut self.client else {
            return text.len();
        };
        match uninterrupted(|| client.stream.write(text)) {
            Ok(bytes) => bytes,
            Err(error) if is_full(&error) => 0,
            // It may have typed before it left: that is read, and then it is let go.
            Err(_) => text.len(),
        }
    }
}

/// Why there is none of this path.
fn no_socket(path: &Path, error: io::Error) -> HostEndError {
    let is_socket =
        || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let path_buf = path.to_owned();
    match error.kind() {
        ErrorKind::AddrInUse if is_socket() => HostEndError::InUse { path: path_buf },
        ErrorKind::AddrInUse => HostEndError::NoSocket { path: path_buf },
        _ => HostEndError::Open { what: "make the socket", path: path_buf, source: error },
    }
}
