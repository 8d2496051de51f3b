#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod args;
mod builder;
mod claims;
mod complaints;
mod instances;
pub mod limits;
mod policy;
mod services;
mod state;
#[cfg(any(test, feature = "test-utils"))]
pub mod test_utils;
mod trace;
mod tree;
mod vof;

pub use builder::{BuildError, VofBuilder};
pub use policy::{CasPolicy, CasRefusal, KnownProperties, PropertyPolicy};
pub use tree::{BlobError, DeviceTree, NextProperty, NodeId, Resolved, SetError};
pub use vof::Vof;
