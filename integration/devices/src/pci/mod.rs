//! A PCI bus in software: functions with a type 0 header, and where their registers are.
//!
//! A [`Bus`] is what `arch-ppc64`'s host bridge asks for. A function has its [`ConfigSpace`], and its
//! messages in an [`Msix`] table.

mod bar;
mod bus;
mod config_space;
mod function;
mod msix;
mod saved;

pub use bar::{Bar, BarWidth};
pub use bus::{AddError, Bus};
pub use config_space::{Capability, ConfigError, ConfigSpace, Identity};
pub use function::{BarPlace, PciFunction};
pub use msix::Msix;
pub use saved::VectorState;
