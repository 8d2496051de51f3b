//! What programs on the host say to connect to the guest, and where the guest connects to.
//!
//! The protocol is Firecracker's: who connects to `PATH` says `CONNECT 1234` and a newline for port
//! 1234 of the guest, and reads `OK`, the port that he has on the host, and a newline when the guest
//! has accepted. A guest that connects to port 1234 of the host gets to who listens at `PATH_1234`.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::unix_socket;

/// The longest line that asks for a port.
const MAX_LINE_BYTES: usize = 32;

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
}
