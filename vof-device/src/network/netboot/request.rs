//! What is wanted, and how much of it at most.

use std::net::Ipv4Addr;
use std::time::Duration;

/// The longest name of a file, in bytes: as long as one in a DHCP option can be.
const FILE_BYTES_MAX: usize = 255;

/// Which file is wanted, and of whom: by default, what the DHCP server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The name of the file.
    pub file: Option<String>,
    /// The server that has it.
    pub server: Option<Ipv4Addr>,
}

impl Request {
    /// With this file.
    #[must_use]
    pub fn with_file(self, file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    /// With this server.
    #[must_use]
    pub fn with_server(self, server: Ipv4Addr) -> Self {
        Self { server: Some(server), ..self }
    }

    /// What the arguments of a device path ask for: `[bootp,|dhcp,][server],[file],…`, as the package
    /// `obp-tftp` of other firmware has them, where `key=value` and all that follows the file means
    /// nothing here; or `\file`. In names, `\` is `/`, and one
    /// at the beginning is left out.
    pub fn from_arguments(arguments: &str) -> Self {
        const ROOT: [char; 2] = ['\\', '/'];
        let name = |text: &str| {
            let name = text.strip_prefix(ROOT).unwrap_or(text).replace('\\', "/");
            is_name(&name).then_some(name)
        };
        if arguments.starts_with(ROOT) {
            return Self { file: name(arguments), server: None };
        }
        let mut fields = arguments
            .split(',')
            .skip_while(|field| field.contains('=') || matches!(*field, "bootp" | "dhcp"));
        let server = fields.next().and_then(|text| text.parse().ok()).filter(is_unicast);
        Self { file: fields.next().and_then(name), server }
    }
}

/// How much is taken from the network, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest file, in bytes: 256 MiB by default.
    pub image_bytes: u64,
    /// How long nobody may answer: 30 s by default.
    pub silence: Duration,
    /// How long all of it may take: half an hour by default.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let total = Duration::from_secs(30 * 60);
        Self { image_bytes: 256 << 20, silence: Duration::from_secs(30), total }
    }
}

impl Limits {
    /// With files of so many bytes at most.
    #[must_use]
    pub fn with_image_bytes(self, image_bytes: u64) -> Self {
        Self { image_bytes, ..self }
    }

    /// With this as how long nobody may answer.
    #[must_use]
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// With this as how long all of it may take.
    #[must_use]
    pub fn with_total(self, total: Duration) -> Self {
        Self { total, ..self }
    }
}

/// Whether a name of a file can be sent, and shown to people.
pub(super) fn is_name(text: &str) -> bool {
    (1..=FILE_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Whether it can be the address of one station of a network.
pub(super) fn is_unicast(address: &Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_server_and_file() {
        let server = Ipv4Addr::new(10, 0, 2, 2);
        let both = Request::default().with_file("a/b").with_server(server);
        for (text, wanted) in [
            ("10.0.2.2,a/b,10.0.2.15,,5,5", both.clone()),
            ("bootp,10.0.2.2,a\\b", both.clone()),
            ("10.0.2.2,\\a\\b", both.clone()),
            ("10.0.2.2,/a/b", both.clone()),
            ("10.0.2.2,//a", Request::default().with_file("/a").with_server(server)),
            ("10.0.2.2,\\", Request::default().with_server(server)),
            ("speed=auto,duplex=auto,10.0.2.2,a/b", both),
            ("\\a\\b", Request::default().with_file("a/b")),
            ("/a,b", Request::default().with_file("a,b")),
            (",x", Request::default().with_file("x")),
            ("dhcp", Request::default()),
            ("", Request::default()),
            ("255.255.255.255,a\nb", Request::default()),
            (&format!(",{}", "x".repeat(256)), Request::default()),
        ] {
            assert_eq!(Request::from_arguments(text), wanted, "{text}");
        }
    }
}
