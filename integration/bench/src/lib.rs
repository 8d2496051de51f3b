//! What a call of the client interface costs, measured by hypercalls, as a guest makes them:
//! argument arrays in guest memory, `HypercallBus::dispatch`. The program is `vof-bench`; `benches/`
//! has the same for criterion.

pub mod claims;
pub mod disk;
pub mod guest;
#[cfg(feature = "libfdt")]
pub mod libfdt;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod random;
pub mod report;
pub mod suite;
pub mod trees;
pub mod unit;
pub mod walk;
pub mod worst;
