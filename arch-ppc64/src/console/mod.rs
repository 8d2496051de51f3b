//! The console that the host supplies to the machine.

mod queued;

use std::time::Duration;

pub use queued::{INPUT_LIMIT_BYTES, QueuedConsole};

/// Where console text goes to and comes from.
///
/// One console serves the hvterm hypercalls, RTAS `display-character` and the client interface's
/// `read` and `write`, so that text appears in the order in which the guest made it. Calls come
/// from vCPU threads: no method may block on a person.
pub trait Console: Send + Sync {
    /// Shows `text`; returns how many leading bytes were taken (all of them by default, so that a
    /// machine without a console never makes its guest wait).
    fn write(&self, text: &[u8]) -> usize {
        text.len()
    }

    /// Takes typed bytes into `buf`; returns how many, 0 when none is waiting.
    fn read(&self, buf: &mut [u8]) -> usize {
        let _ = buf;
        0
    }

    /// Waits until there is something to [`read`](Self::read), for `limit` at most; a guess is good
    /// enough, and by default it does not wait. For guests that look for keys in a tight loop.
    fn wait(&self, limit: Duration) {
        let _ = limit;
    }
}

/// A console that nobody looks at: takes all, gives nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoConsole;

impl Console for NoConsole {}

impl<C: Console + ?Sized> Console for std::sync::Arc<C> {
    fn write(&self, text: &[u8]) -> usize {
        (**self).write(text)
    }

    fn read(&self, buf: &mut [u8]) -> usize {
        (**self).read(buf)
    }

    fn wait(&self, limit: Duration) {
        (**self).wait(limit);
    }
}
