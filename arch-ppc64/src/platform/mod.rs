//! How devices plug into the machine.
//!
//! A machine is a list of [`Device`]s. Its tree, hypercalls, RTAS calls, memory-mapped registers,
//! interrupts and saved state are views of them: whoever adds a device writes one type in one
//! place, and all of these come along.

mod device;
mod interrupts;
mod mmio;
mod state;

pub use device::Device;
pub use interrupts::{
    InterruptController, InterruptError, InterruptKind, InterruptLine, MAX_SOURCES, Signal,
    SourceNumber,
};
pub use mmio::{MmioHandler, MmioRange};
pub use state::{SaveState, StateError, StateValue};
