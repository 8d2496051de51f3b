//! A machine that moves to another process while it runs.

pub(crate) mod handover;
pub(crate) mod pace;
pub(crate) mod protocol;
pub(crate) mod ram;
mod url;

pub use url::{MigrationUrl, MigrationUrlError};
