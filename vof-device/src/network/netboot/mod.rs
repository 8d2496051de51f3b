//! Programs from the network: an address by DHCP (RFC 2131), a file by TFTP (RFC 1350, with the
//! options of RFC 2348 and 2349). (Feature `netboot`.)
//!
//! Servers are not trusted, nor is anybody else on the network: what comes is checked, what has no
//! place in the exchange is left out, and size and time have [`Limits`].
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! use vof_device::network::NetworkDevice;
//! use vof_device::network::netboot::{Limits, NetbootError, Request, fetch};
//!
//! fn load(network: Arc<dyn NetworkDevice>) -> Result<Vec<u8>, NetbootError> {
//!     let limits = Limits::default();
//!     let image = fetch(network, &Request::default(), &limits, &mut |event| {
//!         if let Some(line) = event.line() {
//!             eprintln!("{line}");
//!         }
//!         ControlFlow::Continue(()) // or Break, and it ends
//!     })?;
//!     Ok(image.bytes)
//! }
//! ```

mod dhcp;
mod error;
mod link;
#[cfg(any(test, feature = "test-utils"))]
pub mod mock;
mod reply;
mod request;
mod session;
#[cfg(test)]
mod tests;
mod tftp;
mod transfer;

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::NetworkDevice;

pub use error::NetbootError;
pub use request::{Limits, Request};
pub use session::Netboot;

/// How long [`fetch`] waits at most before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A file from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Where it came from.
    pub loaded: Loaded,
}

/// Where a file came from, and what the network has told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// The guest's address.
    pub client: Ipv4Addr,
    /// Which part of it is that of the network.
    pub netmask: Ipv4Addr,
    /// Who gave the file.
    pub server: Ipv4Addr,
    /// What leads to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// The name of the file.
    pub file: String,
    /// The last reply of the DHCP server, as a BOOTP message: `bootp-response` of `/chosen`, by which
    /// a boot loader gets at the same address and server.
    pub reply: Vec<u8>,
}

impl Loaded {
    /// What stands behind the colon of the path in `bootpath` of `/chosen`, as other firmware of such
    /// machines has it: `server,file,client,gateway,tries,tries,netmask`. Nothing where the file has
    /// a comma in its name.
    pub fn arguments(&self) -> String {
        if self.file.contains(',') {
            return String::new();
        }
        let Self { client, netmask, server, file, .. } = self;
        let gateway = self.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED);
        format!("{server},{file},{client},{gateway},5,5,{netmask}")
    }
}

/// What goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Servers are asked for an address, for so many times by now.
    Asking(u32),
    /// There is an address, and this file of this server is asked for.
    Loading {
        /// The guest's address.
        client: Ipv4Addr,
        /// Who has the file.
        server: Ipv4Addr,
        /// The name of the file.
        file: String,
    },
    /// So much of the file has come.
    Progress {
        /// In bytes.
        bytes: u64,
        /// How many there will be, where the server tells.
        of: Option<u64>,
    },
}

impl Event {
    /// A line for people, of what begins: how far it comes is no line.
    pub fn line(&self) -> Option<String> {
        match self {
            Self::Progress { .. } => None,
            other => Some(other.to_string()),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking(1) => f.write_str("asking for an address (DHCP)"),
            Self::Asking(tries) => write!(f, "asking for an address again ({tries})"),
            Self::Loading { client, server, file } => {
                write!(f, "address {client}; loading {file} from {server} (TFTP)")
            }
            Self::Progress { bytes, of: Some(of) } => write!(f, "{bytes} of {of} bytes"),
            Self::Progress { bytes, of: None } => write!(f, "{bytes} bytes"),
        }
    }
}

/// Fetches a file, and waits for it. `watch` is told of what goes on, and called some twenty times a
/// second at the least with what is going on still; when it breaks, that is the end.
///
/// # Errors
/// [`NetbootError`] says what was tried, and why it failed.
pub fn fetch(
    device: Arc<dyn NetworkDevice>,
    request: &Request,
    limits: &Limits,
    watch: &mut dyn FnMut(&Event) -> ControlFlow<()>,
) -> Result<Image, NetbootError> {
    let mut session = Netboot::new(device.clone(), request, limits);
    let mut bytes = Vec::new();
    loop {
        let loaded = session.poll(&mut |data| {
            bytes.extend_from_slice(data);
            Ok(())
        })?;
        if let Some(loaded) = loaded {
            return Ok(Image { bytes, loaded });
        }
        if watch(&session.event()).is_break() {
            return Err(NetbootError::Cancelled);
        }
        device.wait(LOOK);
    }
}
