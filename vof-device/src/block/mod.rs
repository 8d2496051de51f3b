//! Disks for clients: what the host gives ([`BlockDevice`]), the [parts](label) that disks have, and
//! the package that clients read and write them by ([`BlockPackage`]).

mod access;
mod device;
mod disk;
mod instance;
pub mod label;
mod package;
mod parts;
mod region;
pub(crate) mod support;
mod task;
mod under_way;
mod worker;

pub use device::{BlockDevice, SECTOR_BYTES};
#[cfg(any(test, feature = "test-utils"))]
pub(crate) use instance::METHODS;
pub use package::BlockPackage;
pub use region::{Extent, Region};
