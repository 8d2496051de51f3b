//! Where the API's socket is.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use pseries_devices::unix_socket;

use crate::locks::lock;
use crate::{host_file, quoted, signals};

/// How long somebody else's lock of the socket's folder is waited for, and how often it is tried.
const FOLDER_LIMIT: Duration = Duration::from_secs(1);
const FOLDER_PAUSE: Duration = Duration::from_millis(10);

/// Where the API is served: `path=PATH`, `PATH` or `fd=N` on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiSocket {
    /// At a new socket.
    Path(PathBuf),
    /// At one that listens already.
    Descriptor(RawFd),
}

impl FromStr for ApiSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("path", "")) => Err("the path is empty".to_owned()),
            Some(("path", path)) => Ok(Self::Path(path.into())),
            Some(("fd", fd)) => host_file::descriptor(fd).map(Self::Descriptor),
            _ if text.is_empty() => Err("the API is at path=PATH or fd=N".to_owned()),
            _ => Ok(Self::Path(text.into())),
        }
    }
}

/// A socket that cannot be had, named as on the command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another process has it.
    #[error("--api-socket {}: another process listens there", quoted::path(.path))]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("--api-socket {}: there is something that is no socket", quoted::path(.path))]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("--api-socket {}", quoted::path(.path))]
    Path {
        /// Where.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is none that listens.
    #[error("--api-socket fd={fd}")]
    Descriptor {
        /// Which one.
        fd: RawFd,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// No thread can be had.
    #[error("cannot serve the API")]
    Thread(#[source] io::Error),
}

impl SocketError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        !matches!(self, Self::Thread(_))
    }
}

/// The socket. One that was made for it is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    _made: Option<Made>,
}

impl Listener {
    /// Makes the socket, or takes the one that is there. A socket whose process is gone is replaced.
    ///
    /// # Errors
    /// [`SocketError`] says what is there instead.
    pub(crate) fn open(place: &ApiSocket) -> Result<Self, SocketError> {
        let (socket, made) = match place {
            ApiSocket::Path(path) => {
                let (socket, made) = listen(path)?;
                (socket, Some(made))
            }
            &ApiSocket::Descriptor(fd) => {
                (take(fd).map_err(|source| SocketError::Descriptor { fd, source })?, None)
            }
        };
        socket.set_nonblocking(true).map_err(SocketError::Thread)?;
        Ok(Self { socket, _made: made })
    }

    /// The same socket.
    pub(super) fn duplicate(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }
}

fn listen(path: &Path) -> Result<(UnixListener, Made), SocketError> {
    let failed = |source| SocketError::Path { path: path.to_owned(), source };
    // Of two that begin at once, one comes after the other.
    let _turn = lock_folder(path);
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(SocketError::NoSocket { path: path.to_owned() });
        }
        // Without waiting: it may have no room for one more.
        Ok(_) => match unix_socket::connect(path) {
            // Nobody is at the other end.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(failed(error)),
            // One who has no time to answer is there as well.
            _ => return Err(SocketError::InUse { path: path.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let socket = UnixListener::bind(path).map_err(failed)?;
    let made = Made::note(path).map_err(failed)?;
    Ok((socket, made))
}

/// Keeps others that do the same away for as long as what is returned is there; as far as that can be:
/// whoever may read the folder can have its lock, and keep it.
fn lock_folder(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = File::open(parent.unwrap_or(Path::new("."))).ok()?;
    let start = Instant::now();
    // SAFETY: takes the lock of an open descriptor, without waiting.
    while unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        if start.elapsed() >= FOLDER_LIMIT {
            break;
        }
        thread::sleep(FOLDER_PAUSE);
    }
    Some(folder)
}

/// Takes a socket that whoever started this program has made.
fn take(fd: RawFd) -> io::Result<UnixListener> {
    let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if option(fd, libc::SO_DOMAIN)? != libc::AF_UNIX {
        return wrong("it is no Unix socket");
    }
    if option(fd, libc::SO_TYPE)? != libc::SOCK_STREAM || option(fd, libc::SO_ACCEPTCONN)? == 0 {
        return wrong("it is no socket that listens");
    }
    // SAFETY: changes whether programs that this one starts would have it.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: it is open, and the command line says that it is for this.
    Ok(unsafe { UnixListener::from_raw_fd(fd) })
}

fn option(fd: RawFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: writes at most so many bytes into the number.
    let done = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut bytes)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// The file of the socket, for as long as it is this process's: whoever ends the process in a hurry
/// removes it as well.
static MADE: Mutex<Option<SocketFile>> = Mutex::new(None);

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// A socket file, until it is dropped.
#[derive(Debug)]
struct Made(());

impl Made {
    fn note(path: &Path) -> io::Result<Self> {
        let there = fs::symlink_metadata(path)?;
        let path = std::path::absolute(path)?;
        let file = SocketFile { path, identity: (there.dev(), there.ino()) };
        *lock(&MADE) = Some(file);
        signals::before_end_now(remove);
        Ok(Self(()))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        remove();
    }
}

/// Removes the file, unless it is another one by now.
fn remove() {
    let file = match MADE.try_lock() {
        Ok(mut file) => file.take(),
        Err(TryLockError::Poisoned(file)) => file.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    };
    let Some(SocketFile { path, identity }) = file else { return };
    let there = fs::symlink_metadata(&path);
    if there.is_ok_and(|there| (there.dev(), there.ino()) == identity) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_paths_or_descriptors() {
        for (text, place) in [
            ("path=/run/a", ApiSocket::Path("/run/a".into())),
            ("/run/a", ApiSocket::Path("/run/a".into())),
            ("a=b", ApiSocket::Path("a=b".into())),
            ("fd=3", ApiSocket::Descriptor(3)),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        for (text, words) in [
            ("", "path=PATH"),
            ("path=", "empty"),
            ("fd=2", "from 3 on"),
            ("fd=a", "no descriptor"),
        ] {
            let error = text.parse::<ApiSocket>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn descriptors_have_to_be_sockets_that_listen() {
        use std::os::fd::IntoRawFd;
        use std::os::unix::net::UnixStream;
        let (one, _other) = UnixStream::pair().unwrap();
        let error = take(one.as_raw_fd()).unwrap_err();
        assert!(error.to_string().contains("listens"), "{error}");
        let file = File::open("/dev/null").unwrap();
        assert!(take(file.as_raw_fd()).is_err());
        let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let error = take(tcp.as_raw_fd()).unwrap_err();
        assert!(error.to_string().contains("Unix"), "{error}");
        let path = std::env::temp_dir().join(format!("api-fd-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        take(listener.into_raw_fd()).unwrap();
        fs::remove_file(path).unwrap();
    }

    /// A folder that somebody else has locked for good, and a socket that nobody answers at.
    #[test]
    fn nobody_else_holds_up_the_start() {
        let folder = std::env::temp_dir().join(format!("api-place-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let path = folder.join("api");
        let _held = lock_folder(&path).unwrap();
        drop(listen(&path).unwrap());
        let busy = UnixListener::bind(&path).unwrap();
        // SAFETY: of a socket of ours, which nobody connects to beyond one.
        assert_eq!(unsafe { libc::listen(busy.as_raw_fd(), 0) }, 0);
        let mut waiting = Vec::new();
        while let Ok(stream) = unix_socket::connect(&path) {
            waiting.push(stream);
        }
        assert!(matches!(listen(&path), Err(SocketError::InUse { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
