//! Connections to Unix sockets that nobody waits for.
#![allow(unsafe_code)]

use std::io;
use std::mem::{offset_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects to the socket of this path; the stream is non-blocking.
///
/// `UnixStream::connect` waits where somebody listens and does not accept.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let (address, address_bytes) = address_of(path)?;
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: there are no pointers in it.
    let socket = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: the address is of that length, and borrowed for the call.
    let result =
        unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), address_bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket.into()) }
}

fn address_of(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    let path = path.as_os_str().as_bytes();
    // SAFETY: zeroes are an address of nothing.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    // There is a zero behind it.
    if path.len() >= address.sun_path.len() || path.contains(&0) {
        let most = address.sun_path.len() - 1;
        let message = format!("the path of a socket has at most {most} bytes, and no zeroes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as libc::c_char;
    }
    let bytes = offset_of!(libc::sockaddr_un, sun_path) + path.len() + 1;
    Ok((address, bytes as libc::socklen_t))
}
