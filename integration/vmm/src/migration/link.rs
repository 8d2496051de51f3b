//! The connections of a migration: sockets on which nobody waits for ever, and nobody who is told to
//! stop waits at all.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pseries_devices::unix_socket;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::ram::BringRam;
use super::url::MigrationUrl;
use crate::ram::Ram;
use crate::ready;

/// How often it is looked whether somebody wants a wait to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a connection may take to be made: over a network, or to a socket whose owner is busy.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Tells whether somebody wants what is under way to end.
pub(crate) type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection. A read or a write that carries nothing for too long, or comes too late, fails with
/// `TimedOut`, and one that is not wanted any more with `ConnectionAborted`.
pub(crate) struct Link {
    socket: Socket,
    silence: Duration,
    /// When it is over, however much it carries.
    deadline: Option<Instant>,
    stop: Stop,
}

impl Link {
    /// Connects to the destination that listens there.
    ///
    /// # Errors
    /// What the host says.
    pub(crate) fn connect(url: &MigrationUrl, silence: Duration, stop: Stop) -> io::Result<Self> {
        let socket = match url {
            MigrationUrl::Unix(path) => Socket::Unix(connect_unix(path, &stop)?),
            MigrationUrl::Tcp(at) => Socket::Tcp(TcpStream::connect_timeout(at, CONNECT_LIMIT)?),
        };
        Self::new(socket, silence, stop)
    }

    fn new(socket: Socket, silence: Duration, stop: Stop) -> io::Result<Self> {
        match &socket {
            Socket::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(LOOK_EVERY))?;
                stream.set_write_timeout(Some(LOOK_EVERY))?;
            }
            Socket::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(LOOK_EVERY))?;
                stream.set_write_timeout(Some(LOOK_EVERY))?;
                stream.set_nodelay(true)?;
            }
        }
        Ok(Self { socket, silence, deadline: None, stop })
    }

    /// The same connection once more, with its own patience, and no deadline.
    pub(crate) fn again(&self, silence: Duration, stop: Stop) -> io::Result<Self> {
        let socket = match &self.socket {
            Socket::Unix(stream) => Socket::Unix(stream.try_clone()?),
            Socket::Tcp(stream) => Socket::Tcp(stream.try_clone()?),
        };
        Ok(Self { socket, silence, deadline: None, stop })
    }

    /// How long may nothing come or go from here on.
    pub(crate) fn set_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// How long all that comes and goes from here on may take, however steadily it does. `None` for as
    /// long as it likes.
    pub(crate) fn set_limit(&mut self, limit: Option<Duration>) {
        self.deadline = limit.map(|limit| Instant::now() + limit);
    }

    /// Whether it goes to another host, perhaps.
    pub(crate) const fn is_network(&self) -> bool {
        matches!(self.socket, Socket::Tcp(_))
    }

    /// Ends it for both sides, and for whoever has the same connection.
    pub(crate) fn close(&self) {
        // One that has ended is no error.
        let _ = match &self.socket {
            Socket::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
            Socket::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
        };
    }

    /// How this connection looks to the side that connected.
    fn seen_here(&self, url: &MigrationUrl) -> Option<String> {
        match (&self.socket, url) {
            (Socket::Unix(_), MigrationUrl::Unix(path)) => socket_file(path),
            (Socket::Tcp(stream), _) => {
                Some(pair(stream.local_addr().ok()?, stream.peer_addr().ok()?))
            }
            _ => None,
        }
    }

    /// Whether nobody is between the two sides: the other one has `seen` the same.
    pub(crate) fn is_direct(&self, url: &MigrationUrl, seen: &str) -> bool {
        self.seen_here(url).is_some_and(|here| here == seen)
    }

    /// Does it again until it carries something.
    fn patiently(
        &mut self,
        mut once: impl FnMut(&mut Socket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = Instant::now();
        loop {
            // Also where the other side never lets this one wait.
            if (self.stop)() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(ErrorKind::TimedOut.into());
            }
            match once(&mut self.socket) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if start.elapsed() >= self.silence {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                result => return result,
            }
        }
    }
}

impl Read for Link {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.patiently(|socket| match socket {
            Socket::Unix(stream) => stream.read(to),
            Socket::Tcp(stream) => stream.read(to),
        })
    }
}

/// The kernel writes it where it belongs.
impl BringRam for Link {
    fn bring(&mut self, ram: &Ram, at: GuestAddress, bytes: usize) -> io::Result<usize> {
        let result = |read| match read {
            Ok(count) => Ok(count),
            Err(GuestMemoryError::IOError(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        };
        self.patiently(|socket| match socket {
            Socket::Unix(stream) => result(ram.read_volatile_from(at, stream, bytes)),
            Socket::Tcp(stream) => result(ram.read_volatile_from(at, stream, bytes)),
        })
    }
}

impl Write for Link {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.patiently(|socket| match socket {
            Socket::Unix(stream) => stream.write(from),
            Socket::Tcp(stream) => stream.write(from),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Connects to a socket of this host, whose owner may have no time for long.
fn connect_unix(path: &Path, stop: &Stop) -> io::Result<UnixStream> {
    let start = Instant::now();
    loop {
        match unix_socket::connect(path) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            connected => return connected,
        }
        if stop() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        if start.elapsed() >= CONNECT_LIMIT {
            return Err(ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Two addresses, that of the source first.
fn pair(source: std::net::SocketAddr, destination: std::net::SocketAddr) -> String {
    format!("tcp:{source}:{destination}")
}

/// What tells one file of a socket from another, also from a later one of that name.
fn socket_file(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok()?;
    let (device, number, since) = (found.dev(), found.ino(), found.ctime_nsec());
    found
        .file_type()
        .is_socket()
        .then(|| format!("unix:{device}:{number}:{}.{since}", found.ctime()))
}

/// Whether whoever listened there, who has `seen` such a connection, is dead: it was reached without
/// anybody between, and nobody listens there any more. A socket's file that is gone says nothing: it goes
/// with its owner's door, which may close when the machine has run there. Nor does a port of another
/// host that refuses: a packet filter can do so as well.
pub(crate) fn is_dead(url: &MigrationUrl, seen: &str, error: &io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
        && match url {
            MigrationUrl::Unix(path) => socket_file(path).is_some_and(|file| file == seen),
            MigrationUrl::Tcp(at) => at.ip().is_loopback(),
        }
}

#[derive(Debug)]
enum Listening {
    /// The file is removed at the end.
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

/// Where a destination listens, until this is dropped.
#[derive(Debug)]
pub(crate) struct Door {
    listening: Listening,
    seen: Option<String>,
}

impl Door {
    /// Listens there. A file of a socket that nobody listens at is replaced.
    ///
    /// # Errors
    /// What the host says: somebody else listens there, or there is something else.
    pub(crate) fn open(url: &MigrationUrl) -> io::Result<Self> {
        let (listening, seen) = match url {
            MigrationUrl::Unix(path) => {
                if is_left_over(path) {
                    fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                (Listening::Unix(listener, path.clone()), socket_file(path))
            }
            MigrationUrl::Tcp(at) => {
                let listener = TcpListener::bind(at)?;
                listener.set_nonblocking(true)?;
                (Listening::Tcp(listener), None)
            }
        };
        Ok(Self { listening, seen })
    }

    /// Where it listens: the port is known by now.
    pub(crate) fn url(&self) -> io::Result<MigrationUrl> {
        Ok(match &self.listening {
            Listening::Unix(_, path) => MigrationUrl::Unix(path.clone()),
            Listening::Tcp(listener) => MigrationUrl::Tcp(listener.local_addr()?),
        })
    }

    /// Waits for the next connection, until somebody wants that to end.
    ///
    /// # Errors
    /// `ConnectionAborted` then; what the host says of a socket that nobody can connect to. Who cannot be
    /// accepted right now is no reason to close the door.
    pub(crate) fn next(&self, silence: Duration, stop: &Stop) -> io::Result<Link> {
        loop {
            if stop() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            ready::wait([self], Some(LOOK_EVERY));
            let socket = match &self.listening {
                Listening::Unix(listener, _) => {
                    listener.accept().map(|(stream, _)| Socket::Unix(stream))
                }
                Listening::Tcp(listener) => {
                    listener.accept().map(|(stream, _)| Socket::Tcp(stream))
                }
            };
            match socket {
                Ok(socket) => match Link::new(socket, silence, stop.clone()) {
                    Ok(link) => return Ok(link),
                    Err(error) => log::debug!("somebody came and is gone: {error}"),
                },
                Err(error) if is_nobody(&error) => {}
                Err(error) if is_of_the_door(&error) => return Err(error),
                // Such as of a host that has no memory or descriptor, or no network, right now.
                Err(error) => {
                    log::debug!("nobody can be accepted right now: {error}");
                    thread::sleep(LOOK_EVERY);
                }
            }
        }
    }

    /// How a connection looks from here, for the source to compare.
    pub(crate) fn seen(&self, link: &Link) -> String {
        let seen = match &link.socket {
            Socket::Unix(_) => self.seen.clone(),
            Socket::Tcp(stream) => match (stream.peer_addr(), stream.local_addr()) {
                (Ok(source), Ok(here)) => Some(pair(source, here)),
                _ => None,
            },
        };
        seen.unwrap_or_default()
    }
}

impl AsRawFd for Door {
    fn as_raw_fd(&self) -> RawFd {
        match &self.listening {
            Listening::Unix(listener, _) => listener.as_raw_fd(),
            Listening::Tcp(listener) => listener.as_raw_fd(),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Listening::Unix(_, path) = &self.listening {
            // Somebody may have put another one in its place.
            if socket_file(path) == self.seen {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Whether nobody has come, or who came has left again.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}

/// Whether nobody can ever be accepted there.
fn is_of_the_door(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK))
}

/// Whether a file is that of a socket which nobody listens at.
fn is_left_over(path: &Path) -> bool {
    let is_refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    socket_file(path).is_some() && unix_socket::connect(path).is_err_and(is_refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(600);

    fn never() -> Stop {
        Arc::new(|| false)
    }

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("migration-link-{}-{name}", std::process::id()))
    }

    fn pair_of(url: &MigrationUrl) -> (Door, Link, Link) {
        let door = Door::open(url).unwrap();
        let url = door.url().unwrap();
        let there = Link::connect(&url, SOON, never()).unwrap();
        let here = door.next(SOON, &never()).unwrap();
        (door, there, here)
    }

    #[test]
    fn who_is_between_the_two_is_noticed() {
        let path = file("direct");
        for url in
            [MigrationUrl::Unix(path.clone()), MigrationUrl::Tcp("127.0.0.1:0".parse().unwrap())]
        {
            let (door, there, here) = pair_of(&url);
            let (url, seen) = (door.url().unwrap(), door.seen(&here));
            assert!(there.is_direct(&url, &seen), "{seen}");
            assert!(!there.is_direct(&url, "") && !there.is_direct(&url, "unix:1:2:3.4"));
            // Another door with a line from it to this one.
            let other = match &url {
                MigrationUrl::Unix(_) => MigrationUrl::Unix(file("between")),
                _ => MigrationUrl::Tcp("127.0.0.1:0".parse().unwrap()),
            };
            let (between, source, _) = pair_of(&other);
            assert!(!source.is_direct(&between.url().unwrap(), &seen));
            // Who listens is alive, whoever it is.
            drop((there, here));
            let known = Link::connect(&url, SOON, never()).map(drop);
            assert!(known.is_ok());
            let refused = io::Error::from(ErrorKind::ConnectionRefused);
            assert!(is_dead(&url, &seen, &refused));
            assert!(!is_dead(&url, &seen, &ErrorKind::NotFound.into()));
            drop(door);
            if matches!(url, MigrationUrl::Unix(_)) {
                // Its file is gone, and another one's is another one.
                assert!(!path.exists());
                assert!(!is_dead(&url, &seen, &refused));
                let _other = Door::open(&url).unwrap();
                assert!(!is_dead(&url, &seen, &refused));
            }
        }
    }

    #[test]
    fn files_that_are_left_over_are_replaced_and_others_are_not() {
        let path = file("left");
        let url = MigrationUrl::Unix(path.clone());
        // As a process that was killed leaves it.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let door = Door::open(&url).unwrap();
        let error = Door::open(&url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(door);
        fs::write(&path, "mine").unwrap();
        assert!(Door::open(&url).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_port_of_another_host_that_refuses_is_not_dead() {
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        for (at, dead) in [("127.0.0.1:1", true), ("[::1]:1", true), ("192.0.2.1:1", false)] {
            let url = format!("tcp:{at}").parse().unwrap();
            assert_eq!(is_dead(&url, "any", &refused), dead, "{at}");
            assert!(!is_dead(&url, "any", &ErrorKind::TimedOut.into()));
        }
    }

    #[test]
    fn what_a_host_has_not_right_now_does_not_close_a_door() {
        for again in [libc::ENOMEM, libc::ENOBUFS, libc::EPROTO, libc::ENETDOWN, libc::EPERM] {
            assert!(!is_of_the_door(&io::Error::from_raw_os_error(again)));
        }
        assert!(is_of_the_door(&io::Error::from_raw_os_error(libc::EBADF)));
    }

    #[test]
    fn who_cannot_be_connected_to_is_left_when_that_is_wanted() {
        let path = file("busy");
        let listener = UnixListener::bind(&path).unwrap();
        // SAFETY: of a descriptor of ours: it has room for nobody but one from here on.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let mut waiting = Vec::new();
        while let Ok(stream) = unix_socket::connect(&path) {
            waiting.push(stream);
        }
        let url = MigrationUrl::Unix(path.clone());
        let error = Link::connect(&url, SOON, Arc::new(|| true)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        // Somebody listens there.
        assert!(!is_left_over(&path));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn who_says_little_for_long_is_cut() {
        let (_door, mut there, mut here) = pair_of(&MigrationUrl::Unix(file("slow")));
        there.write_all(&[1; 16]).unwrap();
        here.set_limit(Some(Duration::ZERO));
        let error = here.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        here.set_limit(None);
        here.read_exact(&mut [0; 16]).unwrap();
        // There is something to read, and nobody wants it.
        there.write_all(&[1]).unwrap();
        let mut here = here.again(SOON, Arc::new(|| true)).unwrap();
        assert_eq!(here.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let url = MigrationUrl::Unix(file("silent"));
        let (door, mut there, mut here) = pair_of(&url);
        here.set_silence(Duration::ZERO);
        let error = here.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // Nor does who writes to somebody who does not read.
        there.set_silence(Duration::ZERO);
        let error = loop {
            if let Err(error) = there.write(&[0; 65536]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let stopped: Stop = Arc::new(|| true);
        let mut stopping = there.again(SOON, stopped.clone()).unwrap();
        assert_eq!(stopping.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert!(door.next(SOON, &stopped).is_err());
        there.close();
        assert!(there.write(&[0]).is_err());
        let mut rest = Vec::new();
        here.set_silence(SOON);
        assert!(here.read_to_end(&mut rest).is_ok());
    }
}
