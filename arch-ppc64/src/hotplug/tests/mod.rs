//! Connectors through the guest's door, and through the VMM's.

mod events;
mod guest;
mod hostile;
mod linux;
#[cfg(feature = "serde")]
mod saved;
mod slots;
mod states;
mod tree;

use super::*;
