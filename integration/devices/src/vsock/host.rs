//! The socket on the host by which others connect to the guest, and those by which it connects.
//!
//! The protocol is Firecracker's: who connects to `PATH` says `CONNECT 1234` and a newline for port
//! 1234 of the guest, and reads `OK`, the port that he has on the host, and a newline when the guest
//! has accepted. A guest that connects to port 1234 of the host gets to who listens at `PATH_1234`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::unix_socket;

/// The longest line that asks for a port.
const MAX_LINE_BYTES: usize = 32;

/// The socket at a path, which goes when this does.
#[derive(Debug)]
pub(super) struct Listener {
    path: PathBuf,
    socket: UnixListener,
    /// Device and inode: what is removed is what was made.
    file: (u64, u64),
}

/// What somebody on the host has said so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Not enough.
    Unfinished,
    /// That it is this port of the guest.
    Port(u32),
    /// Nothing that makes sense, or he is gone.
    Refused,
}

impl Listener {
    /// Listens at `path`. A socket that is there is taken over if nobody listens any more.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_dead(path) => {
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            result => result?,
        };
        socket.set_nonblocking(true)?;
        let metadata = fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), socket, file: (metadata.dev(), metadata.ino()) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same socket, for who works with it.
    pub(super) fn socket(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let is_ours = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether there is a socket that nobody listens at, such as one of a VMM that was killed.
fn is_dead(path: &Path) -> bool {
    let is_socket =
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket
        && unix_socket::connect(path)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Connects to who listens for connections to this port of the host.
pub(super) fn connect(path: &Path, port: u32) -> io::Result<UnixStream> {
    let mut name = OsString::from(path);
    name.push(format!("_{port}"));
    unix_socket::connect(Path::new(&name))
}

/// Takes the line that says what port it is to be, if it is there. What follows is left.
pub(super) fn greeting(mut stream: &UnixStream) -> Greeting {
    let mut line = [0; MAX_LINE_BYTES];
    let bytes = match unix_socket::peek(stream, &mut line) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Greeting::Unfinished,
        Err(_) => return Greeting::Refused,
    };
    match line[..bytes].iter().position(|&byte| byte == b'\n') {
        Some(end) => match (stream.read_exact(&mut line[..=end]), port(&line[..end])) {
            (Ok(()), Some(port)) => Greeting::Port(port),
            _ => Greeting::Refused,
        },
        // 0: there comes nothing any more.
        None if bytes == 0 || bytes == MAX_LINE_BYTES => Greeting::Refused,
        None => Greeting::Unfinished,
    }
}

/// The port of `CONNECT port`.
fn port(line: &[u8]) -> Option<u32> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let is_connect = words.next()?.eq_ignore_ascii_case("connect");
    let port = words.next()?.parse().ok()?;
    (is_connect && words.next().is_none() && port != u32::MAX).then_some(port)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use vmm_sys_util::tempdir::TempDir;

    use super::*;

    fn said(text: &[u8]) -> Greeting {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.write_all(text).unwrap();
        greeting(&near)
    }

    #[test]
    fn a_line_asks_for_a_port() {
        assert_eq!(said(b"CONNECT 1234\n"), Greeting::Port(1234));
        assert_eq!(said(b"connect 0\r\nGET"), Greeting::Port(0));
        assert_eq!(said(b"CONNECT 12"), Greeting::Unfinished);
        let longest = format!("CONNECT {:023}\n", 5);
        assert_eq!(said(longest.as_bytes()), Greeting::Port(5));
        for wrong in [
            "\n",
            "CONNECT\n",
            "CONNECT -1\n",
            "CONNECT 4294967295\n",
            "CONNECT 4294967296\n",
            "CONNECT 1 2\n",
            "GET / HTTP/1.1\r\n",
            "0123456789abcdef0123456789abcdef",
            "\u{b5}\u{b5}\n",
        ] {
            assert_eq!(said(wrong.as_bytes()), Greeting::Refused, "{wrong:?}");
        }
        assert_eq!(said(b"CONNECT \xff\n"), Greeting::Refused);
    }

    #[test]
    fn what_follows_the_line_is_left() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.write_all(b"CONNECT 1\nhello").unwrap();
        assert_eq!(greeting(&near), Greeting::Port(1));
        let mut rest = [0; 16];
        assert_eq!(near.read(&mut rest).unwrap(), 5);
        assert_eq!(&rest[..5], b"hello");
        drop(far);
        assert_eq!(greeting(&near), Greeting::Refused);
    }

    #[test]
    fn sockets_are_taken_over_from_the_dead_only() {
        let folder = TempDir::new().unwrap();
        let path = folder.as_path().join("socket");
        let first = Listener::bind(&path).unwrap();
        assert_eq!(Listener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = Listener::bind(&path).unwrap();
        // Who made it anew is left alone.
        fs::remove_file(&path).unwrap();
        let third = Listener::bind(&path).unwrap();
        drop(second);
        assert!(path.exists());
        drop(third);
        fs::write(&path, "a file").unwrap();
        assert_eq!(Listener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}
