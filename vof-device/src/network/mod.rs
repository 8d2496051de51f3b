//! Networks for clients: what the host gives ([`NetworkDevice`]), and the package of a network
//! device's node ([`NetworkPackage`]).

mod device;
#[cfg(feature = "netboot")]
mod load;
#[cfg(feature = "netboot")]
pub mod netboot;
mod package;

pub use device::{FRAME_BYTES, FRAME_BYTES_MIN, NetworkDevice, NetworkError};
#[cfg(any(test, feature = "test-utils"))]
pub(crate) use package::METHODS;
pub use package::NetworkPackage;
