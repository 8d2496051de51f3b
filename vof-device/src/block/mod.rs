//! Disks for clients: what the host gives ([`BlockDevice`]), and the parts that disks have.

mod device;
mod region;

pub use device::{BlockDevice, SECTOR_BYTES};
pub use region::{Extent, Region};
