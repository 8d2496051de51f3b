#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod args;
mod attachments;
pub mod autoboot;
pub mod block;
mod boot;
mod build_error;
mod builder;
mod claims;
mod clock;
mod instances;
mod interface;
pub mod limits;
mod memory_node;
pub mod network;
mod openings;
mod package;
mod packages;
mod policy;
mod rest;
#[cfg(feature = "serde")]
mod saved;
mod services;
mod state;
#[cfg(any(test, feature = "test-utils"))]
pub mod test_utils;
mod trace;
mod tree;
mod vof;

pub use args::Failed;
pub use boot::{BootError, Booted, boot, plug_in};
pub use build_error::BuildError;
pub use builder::VofBuilder;
pub use package::{Buffer, Context, Instance, Package, Progress, Stack, Throw, Transfer};
pub use policy::{Agreement, CasPolicy, CasRefusal, KnownProperties, PropertyPolicy};
#[cfg(feature = "serde")]
pub use saved::{
    RestoreError, STATE_VERSION, Saved, SavedCall, SavedInstance, SavedInstances, SavedNode,
    SavedRange, SavedSlot, SavedTable, VofState,
};
pub use tree::{BlobError, DeviceTree, NextProperty, NodeId, Resolved, SetError};
pub use vof::Vof;
