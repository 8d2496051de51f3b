//! Disks for clients: what the host gives ([`BlockDevice`]), and the [parts](label) that disks have.

mod device;
pub mod label;
mod region;

pub use device::{BlockDevice, SECTOR_BYTES};
pub use region::{Extent, Region};
