//! A machine that was saved: what there is of it besides its configuration and its RAM, where it
//! comes from, and how it is taken up.
//!
//! The state of a machine is plain data, which nobody vouches for when it comes back: all of it is
//! checked before the machine runs. [`crate::snapshot`] has it saved.

mod error;
mod live;
mod resumption;
mod shape;
mod state;

pub use error::{RestoreError, SaveError};
pub(crate) use live::Live;
pub use resumption::Resumption;
#[allow(unused_imports, reason = "the folder and migration come next")]
pub(crate) use resumption::Source;
pub use state::MachineState;
