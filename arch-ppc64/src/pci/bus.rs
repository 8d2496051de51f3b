//! What a host bridge asks of the bus that the VMM has behind it.

use std::time::Instant;

use super::PciAddress;
use crate::fdt::{FdtError, NodeBuilder};
use crate::platform::StateError;

/// The PCI functions of a machine, behind one host bridge.
///
/// Everything is as on a PCI bus: the bridge finds registers, capabilities and messages of a
/// function in its configuration space, and programs them there. So a VMM's own bus needs no more
/// than an adapter. All of it may be called by several vCPU threads at once, with whatever a guest
/// passes.
pub trait PciBus: Send + Sync {
    /// The functions that there are, on bus 0 all of them, and none of them a bridge to another
    /// bus. Asked when the host bridge is made, and when it is told that a device [has
    /// come](super::HostBridge::add).
    fn functions(&self) -> Vec<PciAddress>;

    /// Reads 1, 2 or 4 bytes of a function's configuration space, in the order in which they are
    /// there (numbers are little-endian). `register` is below 4096 and a multiple of their count.
    /// All ones where there is no such function or register.
    fn read_config(&self, function: PciAddress, register: u16, data: &mut [u8]);

    /// Writes 1, 2 or 4 bytes of a function's configuration space, likewise.
    fn write_config(&self, function: PciAddress, register: u16, data: &[u8]);

    /// A load of 1 to 16 bytes, in memory order, at an address of the bus: fills `data`, with all
    /// ones where no function has a register.
    fn read_memory(&self, at: u64, data: &mut [u8]);

    /// A store of 1 to 16 bytes, in memory order, at an address of the bus.
    fn write_memory(&self, at: u64, data: &[u8]);

    /// Adds to the node of a function what its configuration space does not say, such as the
    /// `device_type` and the address of a network card.
    ///
    /// # Errors
    /// [`FdtError`] for what the tree cannot have.
    fn describe(&self, function: PciAddress, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        let _ = (function, node);
        Ok(())
    }

    /// The machine is switched on or starts again: functions are as after a reset of the bus.
    fn reset(&self) {}

    /// The functions come to rest, as [devices](crate::platform::Device::pause) do.
    ///
    /// # Errors
    /// [`StateError`] names the function that does not.
    fn pause(&self, until: Instant) -> Result<(), StateError> {
        let _ = until;
        Ok(())
    }

    /// They [go on](crate::platform::Device::resume).
    ///
    /// # Errors
    /// [`StateError`] names the function that cannot.
    fn resume(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// What has to be saved of the functions. (Feature `serde`.)
    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        None
    }
}
