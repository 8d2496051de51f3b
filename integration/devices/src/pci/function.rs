//! What a function on the bus is.

use std::time::Instant;

use arch_ppc64::fdt::{FdtError, NodeBuilder};
use arch_ppc64::platform::{SaveState, StateError};

/// Where registers of a function are on the bus at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarPlace {
    /// Which base address register says so, 0 to 5.
    pub bar: usize,
    /// The first address on the bus.
    pub start: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl BarPlace {
    /// So many bytes from `start` on, by the register of that number.
    pub const fn new(bar: usize, start: u64, bytes: u64) -> Self {
        Self { bar, start, bytes }
    }
}

/// One function on the bus.
///
/// Called by several vCPU threads at once, with whatever a guest passes.
pub trait PciFunction: Send + Sync {
    /// What tells it from others of the machine, and what its saved state is found by, such as
    /// `disk0`.
    fn id(&self) -> &str;

    /// Reads 1, 2 or 4 bytes of configuration space in the order in which they are there;
    /// `register` is below 4096 and a multiple of their count. All ones where it has no register.
    fn read_config(&self, register: u16, data: &mut [u8]);

    /// Writes likewise. True where that may have changed [where its registers
    /// are](Self::bars).
    fn write_config(&self, register: u16, data: &[u8]) -> bool;

    /// Where its memory registers are, those that answer: none while memory space is disabled.
    fn bars(&self) -> Vec<BarPlace>;

    /// A load of 1 to 16 bytes, in memory order, from `offset` of a BAR's registers on.
    fn read_bar(&self, bar: usize, offset: u64, data: &mut [u8]);

    /// A store, likewise.
    fn write_bar(&self, bar: usize, offset: u64, data: &[u8]);

    /// Adds to its node in the tree what configuration space does not say.
    ///
    /// # Errors
    /// [`FdtError`] for what the tree cannot have.
    fn describe(&self, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        let _ = node;
        Ok(())
    }

    /// Comes to rest, as [devices](arch_ppc64::platform::Device::pause) do. By default, there is
    /// nothing to do.
    ///
    /// # Errors
    /// [`StateError`] when it does not; it goes on as before then.
    fn pause(&self, until: Instant) -> Result<(), StateError> {
        let _ = until;
        Ok(())
    }

    /// Goes on after a [pause](Self::pause), or with a state that it has taken up.
    ///
    /// # Errors
    /// [`StateError`] when it cannot.
    fn resume(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// What has to be saved of it, [paused](Self::pause). Without it, the bus cannot be saved.
    fn state(&self) -> Option<&dyn SaveState> {
        None
    }

    /// As after a reset of the bus: nothing is enabled, nothing in flight, BARs are unset.
    fn reset(&self);
}
