//! A machine that was saved: what there is of it besides its configuration and its RAM, where it
//! comes from, and how it is taken up.
//!
//! The state of a machine is plain data, which nobody vouches for when it comes back: all of it is
//! checked before the machine runs. `crate::snapshot` has it saved.

mod document;
mod error;
mod folder;
mod id;
mod live;
mod memory;
mod outline;
mod resumption;
mod shape;
mod state;

pub use error::{RestoreError, SaveError};
pub use folder::SavedMachine;
pub(crate) use folder::save;
pub(crate) use live::Live;
pub use memory::Progress;
pub(crate) use memory::used_ram;
pub(crate) use outline::Outline;
pub use resumption::Resumption;
pub(crate) use resumption::Source;
pub use state::MachineState;
