//! PCI as PAPR has it: a host bridge in front of a bus of the VMM's own (LoPAPR §B.6.5; IEEE 1275,
//! PCI bus binding).
//!
//! A VMM has functions on a bus, with configuration space and registers, as on any machine:
//! [`PciBus`] is all that is asked of it.

mod address;
mod bus;
mod doorbell;
mod pins;
mod windows;

pub use address::PciAddress;
pub use bus::PciBus;
pub use doorbell::Doorbell;
pub use pins::{PciPin, PciPins};
pub use windows::{PciWindow, PciWindows};
