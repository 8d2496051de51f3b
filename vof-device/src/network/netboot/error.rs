//! Why there is nothing from the network.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::network::NetworkError;

/// Why a file cannot be had from the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetbootError {
    /// There is no network, or not for us.
    #[error("there is no network")]
    Network(#[source] NetworkError),
    /// No server gives an address.
    #[error("no DHCP server offers an address ({tries} tries in {seconds} s)", seconds = after.as_secs())]
    NoAddress {
        /// How often they were asked.
        tries: u32,
        /// How long.
        after: Duration,
    },
    /// Nobody says which file.
    #[error("the DHCP server {server} names no file (option 67, or the field of BOOTP)")]
    NoFile {
        /// Who gave the address.
        server: Ipv4Addr,
    },
    /// The server of the file is silent.
    #[error("{server} does not answer (TFTP, {file}; {bytes} bytes came before)")]
    NoAnswer {
        /// Who was asked.
        server: Ipv4Addr,
        /// For which file.
        file: String,
        /// How much of it came.
        bytes: u64,
    },
    /// The server does not give the file.
    #[error("{server} does not give {file}: error {code} of TFTP, \"{message}\"")]
    Refused {
        /// Who was asked.
        server: Ipv4Addr,
        /// For which file.
        file: String,
        /// A number of RFC 1350, or of a later one.
        code: u16,
        /// What the server says.
        message: String,
    },
    /// The server does what makes no sense.
    #[error("{server} breaks the protocol (TFTP, {file}): {what}")]
    Protocol {
        /// Who.
        server: Ipv4Addr,
        /// With which file.
        file: String,
        /// What it does.
        what: &'static str,
    },
    /// The file is too large.
    #[error("{file} of {server} is larger than {most} bytes")]
    TooLarge {
        /// Who has it.
        server: Ipv4Addr,
        /// Which file.
        file: String,
        /// As large as it may be.
        most: u64,
    },
    /// There is no room where it was to go.
    #[error("there is no room for {file} in memory, behind its first {bytes} bytes")]
    NoRoom {
        /// Which file.
        file: String,
        /// How much of it there was room for.
        bytes: u64,
    },
    /// It takes too long.
    #[error("it was not done in {seconds} s", seconds = .0.as_secs())]
    TooLong(Duration),
    /// Who wanted it does not want it any more.
    #[error("it was broken off")]
    Cancelled,
}
