//! The API: Cloud Hypervisor's, as HTTP over a Unix socket, for [`lifecycle::Vmm`](crate::lifecycle).
//!
//! One thread, `api`, has the socket and all its clients, and waits for none of them: what they send
//! comes when it comes, up to limits of size, time and number. The verbs are done by a few threads of
//! their own (`verb-0` and so on), so that one that takes long is in the way of neither the others nor
//! of `vmm.ping` and `vm.info`, which are answered at once. `routes` is the one table of paths, from
//! which the OpenAPI document is made, too.

mod answer;
mod connection;
mod openapi;
mod place;
mod routes;
mod server;
#[cfg(feature = "test-utils")]
pub mod test_utils;
mod timed;
mod workers;

pub use openapi::document;
pub(crate) use place::Listener;
pub use place::{ApiSocket, SocketError};
pub(crate) use server::Server;
