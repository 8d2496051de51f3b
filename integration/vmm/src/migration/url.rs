//! Where a machine that moves goes to, or comes from.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::quoted;

/// Where the two sides of a migration meet: `unix:PATH` or `tcp:ADDRESS:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationUrl {
    /// A socket of this host.
    Unix(PathBuf),
    /// An address of an interface, and a port.
    Tcp(SocketAddr),
}

/// What is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationUrlError {
    /// It begins with neither.
    #[error("{0}: a migration goes over unix:PATH or tcp:ADDRESS:PORT")]
    Kind(String),
    /// There is no path.
    #[error("unix: needs a path, of at most {} bytes", PATH_BYTES_MAX)]
    Path,
    /// What is there is no address: names are not looked up.
    #[error(
        "{0}: an address and a port are needed, as 192.0.2.1:4444 or [2001:db8::1]:4444; an address is \
         numbers, no name, and a port is from 1 to 65535"
    )]
    Address(String),
}

/// The kernel's structure for it has 108 bytes, and there is a zero behind it (unix(7)).
const PATH_BYTES_MAX: usize = 107;

impl FromStr for MigrationUrl {
    type Err = MigrationUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            // As in a URL, with an authority of nothing.
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            return match path {
                "" => Err(MigrationUrlError::Path),
                _ if path.len() > PATH_BYTES_MAX || path.contains('\0') => {
                    Err(MigrationUrlError::Path)
                }
                _ => Ok(Self::Unix(Path::new(path).to_path_buf())),
            };
        }
        let Some(address) = text.strip_prefix("tcp:") else {
            return Err(MigrationUrlError::Kind(quoted::text(text)));
        };
        let address = address.strip_prefix("//").unwrap_or(address);
        match address.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Self::Tcp(address)),
            _ => Err(MigrationUrlError::Address(quoted::text(text))),
        }
    }
}

impl MigrationUrl {
    /// Whether others than this host's users may reach it.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Tcp(at) if !at.ip().is_loopback())
    }
}

impl fmt::Display for MigrationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", quoted::path(path)),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_sockets_and_addresses() {
        let unix = |path: &str| MigrationUrl::Unix(path.into());
        for (text, url) in [
            ("unix:/run/a b.sock", unix("/run/a b.sock")),
            ("unix:relative", unix("relative")),
            ("unix:///run/x", unix("/run/x")),
            ("tcp:192.0.2.1:4444", MigrationUrl::Tcp("192.0.2.1:4444".parse().unwrap())),
            ("tcp:[::1]:1", MigrationUrl::Tcp("[::1]:1".parse().unwrap())),
            ("tcp://127.0.0.1:80", MigrationUrl::Tcp("127.0.0.1:80".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(url), "{text}");
        }
    }

    #[test]
    fn places_of_this_host_are_not_open() {
        for (text, open) in [
            ("unix:/run/x", false),
            ("tcp:127.0.0.1:1", false),
            ("tcp:[::1]:1", false),
            ("tcp:0.0.0.0:1", true),
            ("tcp:192.0.2.1:1", true),
        ] {
            assert_eq!(text.parse::<MigrationUrl>().unwrap().is_open(), open, "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_named() {
        let long = format!("unix:/{}", "a".repeat(107));
        for (text, words) in [
            ("", "unix:PATH or tcp:"),
            ("/run/x", "unix:PATH or tcp:"),
            ("udp:192.0.2.1:1", "unix:PATH or tcp:"),
            ("unix:", "needs a path"),
            ("unix:/a\0b", "needs a path"),
            (&long, "107 bytes"),
            ("tcp:", "192.0.2.1:4444"),
            ("tcp:192.0.2.1", "192.0.2.1:4444"),
            ("tcp:host.example:4444", "tcp:host.example:4444"),
            ("tcp:192.0.2.1:65536", "from 1 to 65535"),
            ("tcp:192.0.2.1:0", "from 1 to 65535"),
            ("tcp:localhost:70", "no name"),
            ("tcp:\u{1b}[2J:1", "192.0.2.1:4444"),
        ] {
            let error = text.parse::<MigrationUrl>().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\u{1b}'), "{text}: {error}");
        }
    }
}
