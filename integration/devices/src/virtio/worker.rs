//! What works on the queues of an active device.

use std::fmt;

use event_manager::MutEventSubscriber;

/// Something that works for an active device.
pub enum Worker {
    /// Handles one queue, and waits for nothing else than its driver: on a thread of its own, or on
    /// several with its [helpers](QueueHandler::helpers); or, in a machine that is to run the same
    /// each time, on the thread of the vCPU that notifies the queue.
    Queue {
        /// The number of the queue.
        index: u16,
        /// What handles it.
        handler: Box<dyn QueueHandler>,
    },
    /// Waits for files, its queues' doorbells among them, on a thread of its own. The doorbells are
    /// rung once when the device becomes active.
    Subscriber(Box<dyn MutEventSubscriber + Send>),
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { index, .. } => f.debug_tuple("Queue").field(index).finish(),
            Self::Subscriber(_) => f.write_str("Subscriber"),
        }
    }
}

/// Handles the buffers of a queue.
pub trait QueueHandler: Send {
    /// Handles what is available, until there is no more or, so that nobody waits for ever, for a
    /// bounded number of buffers; true where there may be more. Called when the driver has notified
    /// the queue, again while it is true, and once when the device becomes active.
    fn handle(&mut self) -> bool;

    /// Others that handle the same queue at the same time, each on a thread of its own: by default
    /// none. Asked for once, before the first [`handle`](Self::handle), and not where the queue is
    /// handled on a vCPU's thread.
    ///
    /// Each notification wakes one of those that sleep. One that is about to wait for something, with
    /// more in the queue, writes to the queue's doorbell itself, which wakes another. A thread is
    /// started when all others have something to do, so that there is one to be woken.
    fn helpers(&mut self) -> Vec<Box<dyn QueueHandler>> {
        Vec::new()
    }
}
