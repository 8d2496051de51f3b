//! How devices plug into the machine.
//!
//! A machine is a list of [`Device`]s. Its tree, hypercalls, RTAS calls, memory-mapped registers,
//! interrupts and saved state are views of them: whoever adds a device writes one type in one
//! place, and all of these come along. [`PlatformBuilder`] collects them and hands out interrupt
//! numbers, [`Platform`] is the machine that they are.

mod aliases;
mod builder;
mod device;
mod error;
mod interrupts;
mod late;
mod machine;
mod mmio;
mod mmio_bus;
mod numbers;
mod observer;
mod outline;
mod simple;
#[cfg(feature = "serde")]
mod state;
mod state_error;

pub use aliases::Aliases;
pub use builder::PlatformBuilder;
pub use device::{Describe, Device};
pub use error::PlatformError;
pub use interrupts::{
    InterruptController, InterruptError, InterruptKind, InterruptLine, MAX_SOURCES, NoInterrupts,
    Signal, SourceNumber,
};
pub use late::LateInterrupts;
pub use machine::Platform;
#[cfg(feature = "serde")]
pub use machine::PlatformState;
pub use mmio::{MmioHandler, MmioRange};
pub use mmio_bus::MmioBus;
pub use numbers::InterruptNumbers;
pub use observer::PropertyObserver;
pub use outline::{outline, outline_with};
pub use simple::{HypercallDevice, KernelCalls, Nodes};
#[cfg(feature = "serde")]
pub use state::{SaveState, StateValue};
pub use state_error::StateError;

#[cfg(test)]
mod tests;
