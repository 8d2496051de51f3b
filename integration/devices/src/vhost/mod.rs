//! Queues that somebody else works on: another process, or the host's kernel.
//!
//! Such a worker gets at guest memory by itself, and nobody sees what it writes there: neither who
//! has decoded code from it nor who tracks changes. Where that matters, queues are
//! [relayed](relay): the worker gets rings of its own, and a buffer that it has used is marked as
//! written before the driver hears of it. The data still goes straight between the worker and guest
//! memory. Where it does not matter, as on KVM, worker and driver share their rings, and this
//! process has no part in it.

pub(crate) mod descriptors;
pub(crate) mod kernel;
pub(crate) mod kernel_session;
pub(crate) mod memory;
pub(crate) mod relay;
pub(crate) mod requests;
pub(crate) mod vring;
pub(crate) mod worker;

use self::requests::Requests;

/// What others do with guest memory, until it is stopped.
pub(crate) trait Session: Send + Sync {
    /// Has them leave guest memory alone, and returns when they do. Once is enough, and whoever
    /// comes later finds that done.
    fn stop(&self);

    /// How their requests are refused, if they are gone and that is known to be done.
    fn refusal(&self) -> Option<Requests> {
        None
    }
}
