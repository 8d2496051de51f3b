//! Functions that cannot be behind a host bridge.

use super::PciAddress;
use crate::platform::InterruptError;

/// Why there is no such host bridge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostBridgeError {
    /// The bus has a function twice.
    #[error("the PCI bus has the function {function} twice")]
    Twice {
        /// The function.
        function: PciAddress,
    },
    /// The bus tells of a function that has no configuration space.
    #[error("the PCI bus has no function {function}, which it tells of")]
    Absent {
        /// The function.
        function: PciAddress,
    },
    /// A function is there already.
    #[error("the PCI function {function} is there already")]
    Present {
        /// The function.
        function: PciAddress,
    },
    /// A function is a bridge to another bus, or behind one: all are on bus 0.
    #[error("the PCI function {function} is a bridge, or behind one; there is bus 0 only")]
    Bridge {
        /// The function.
        function: PciAddress,
    },
    /// There are not enough interrupt sources for the messages of a function.
    #[error(transparent)]
    Interrupt(#[from] InterruptError),
}
