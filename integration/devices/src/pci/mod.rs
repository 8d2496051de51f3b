//! A PCI bus in software: functions with a type 0 header, and where their registers are.

mod function;

pub use function::{BarPlace, PciFunction};
