//! A machine that moves to another process while it runs, on this host or another one.
//!
//! `send` has the source's side, `receive` the destination's: each as far as a machine is concerned.
//! `call` is how a source reaches a destination, and finds out whose the machine is in the end.
//! What they say to each other is `protocol`, whose the machine is at each moment `handover`, and how
//! often RAM is gone through before the machine stands still `pace`. Connections are `link`'s.

mod call;
mod error;
mod handover;
mod link;
mod offer;
mod pace;
mod protocol;
mod ram;
mod receive;
mod send;
mod standstill;
mod url;

pub use error::MigrationError;
pub(crate) use link::Stop;
pub use protocol::WireError;
pub(crate) use receive::{Incoming, receive};
pub(crate) use send::SendOptions;
pub use url::{MigrationUrl, MigrationUrlError};
