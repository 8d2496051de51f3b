//! Unix sockets without waiting: what the standard library has no call for.
//!
//! Its [`UnixStream::connect`] waits for as long as the socket's owner accepts nobody: for ever, where
//! that one wants it so.

#![allow(unsafe_code)]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A stream that is connected to the socket at `path` and never waits.
///
/// # Errors
/// What the host says: [`WouldBlock`](io::ErrorKind::WouldBlock) where as many wait for the socket's
/// owner as may. Whoever has time tries it again then.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let name = path.as_os_str().as_bytes();
    // SAFETY: all zero is an address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    // With a zero behind it.
    if name.len() >= address.sun_path.len() || name.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    let bytes = offset_of!(libc::sockaddr_un, sun_path) + name.len() + 1;
    debug_assert!(bytes <= size_of::<libc::sockaddr_un>());

    let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let socket = unsafe { libc::socket(libc::AF_UNIX, flags, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let at = (&raw const address).cast::<libc::sockaddr>();
    // SAFETY: the address is there for the call, and has at least so many bytes.
    if unsafe { libc::connect(socket.as_raw_fd(), at, bytes as libc::socklen_t) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(UnixStream::from(socket))
}

/// What can be read from the stream, up to the length of `buffer`, and is left to be read.
///
/// # Errors
/// What the host says: `WouldBlock` where there is nothing.
pub(crate) fn peek(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let (at, bytes) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the buffer is there for the call, and has so many bytes.
    let count = unsafe { libc::recv(stream.as_raw_fd(), at, bytes, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Whether the other end is gone, and nothing that it sent is left to be read.
pub(crate) fn is_closed(stream: &UnixStream) -> bool {
    match peek(stream, &mut [0]) {
        Ok(bytes) => bytes == 0,
        // It went without having read all, which is told once, in the place of the end.
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn who_went_without_reading_is_gone() {
        for is_read in [true, false] {
            let (mut near, far) = UnixStream::pair().unwrap();
            assert!(!is_closed(&near));
            if !is_read {
                near.write_all(b"a request").unwrap();
            }
            (&far).write_all(b"x").unwrap();
            drop(far);
            assert!(!is_closed(&near));
            near.read_exact(&mut [0]).unwrap();
            assert!(is_closed(&near));
        }
    }
}
