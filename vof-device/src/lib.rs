#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod args;
mod builder;
mod claims;
mod clock;
mod complaints;
mod instances;
pub mod limits;
mod policy;
mod saved;
mod services;
mod state;
#[cfg(any(test, feature = "test-utils"))]
pub mod test_utils;
mod trace;
mod tree;
mod vof;

pub use builder::{BuildError, VofBuilder};
pub use policy::{CasPolicy, CasRefusal, KnownProperties, PropertyPolicy};
pub use saved::{
    RestoreError, STATE_VERSION, Saved, SavedInstance, SavedInstances, SavedNode, SavedRange,
    SavedSlot, SavedTable, VofState,
};
pub use tree::{BlobError, DeviceTree, NextProperty, NodeId, Resolved, SetError};
pub use vof::Vof;
