//! Devices that cannot be one machine.

use super::interrupts::InterruptError;
use super::state_error::StateError;
use crate::rtas::DuplicateCall;

/// Why a list of devices is no machine, or a saved state not that of this one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// A device cannot have an interrupt.
    #[error(transparent)]
    Interrupt(#[from] InterruptError),
    /// Two devices have the same id.
    #[error("there are two devices {id}")]
    DuplicateDevice {
        /// The [id](super::Device::id).
        id: String,
    },
    /// Two devices answer the same hypercall.
    #[error("both {first} and {second} answer hypercall {token:#x}")]
    DuplicateHypercall {
        /// The token.
        token: u64,
        /// The id of the one.
        first: String,
        /// The id of the other.
        second: String,
    },
    /// Two devices answer the same RTAS call.
    #[error(transparent)]
    DuplicateCall(#[from] DuplicateCall),
    /// A device that was plugged in late has RTAS calls, which the tree does not have.
    #[error("{id} comes too late to have RTAS calls")]
    Late {
        /// The id of the device.
        id: String,
    },
    /// Two devices have registers at the same address.
    #[error("both {first} and {second} have registers at {at:#x}")]
    DuplicateMmio {
        /// An address that both have.
        at: u64,
        /// The id of the one.
        first: String,
        /// The id of the other.
        second: String,
    },
    /// Registers cannot be where a device has them.
    #[error(
        "{bytes:#x} bytes of registers of {device} cannot be at {start:#x}: that is in memory, \
         past all addresses, or nothing"
    )]
    MmioPlace {
        /// The id of the device.
        device: String,
        /// Where they begin.
        start: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// The saved machine has a device that this one has not.
    #[error("the saved machine has a device {id}, and this one has none")]
    UnknownState {
        /// The id of the device.
        id: String,
    },
    /// This machine has a device whose state is missing.
    #[error("the saved machine has no state of the device {id}")]
    MissingState {
        /// The id of the device.
        id: String,
    },
    /// The interrupts of the saved machine have other numbers.
    #[error("the saved machine has other interrupt numbers")]
    OtherInterrupts,
    /// A device does not come to rest, or cannot go on.
    #[error("{id} cannot be paused, or cannot go on")]
    Pause {
        /// The id of the device.
        id: String,
        /// The reason.
        #[source]
        source: StateError,
    },
    /// The state of a device cannot be saved or taken up.
    #[error("the state of {id} cannot be saved or taken up")]
    State {
        /// The id of the device.
        id: String,
        /// The reason.
        #[source]
        source: StateError,
    },
}
