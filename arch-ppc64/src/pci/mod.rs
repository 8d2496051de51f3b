//! PCI as PAPR has it: a host bridge in front of a bus of the VMM's own (LoPAPR §B.6.5; IEEE 1275,
//! PCI bus binding).
//!
//! A VMM has functions on a bus, with configuration space and registers, as on any machine:
//! [`PciBus`] is all that is asked of it. [`HostBridge`] is the device that shows it to the guest.

mod address;
mod bars;
mod bridge;
mod bus;
mod change_msi;
mod config_access;
mod config_space;
mod dma_window;
mod doorbell;
mod error;
mod function;
mod messages;
mod names;
mod node;
mod pins;
mod windows;

pub use address::PciAddress;
pub use bridge::{HostBridge, HostBridgeOptions, id_of, unit_of};
pub use bus::PciBus;
pub use dma_window::{DmaAccess, DmaWindow};
pub use doorbell::Doorbell;
pub use error::HostBridgeError;
pub use pins::{PciPin, PciPins};
pub use windows::{PciWindow, PciWindows};

#[cfg(test)]
pub(crate) mod tests;
