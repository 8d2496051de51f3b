//! What went wrong, said so that the reader knows what to do next.

use std::fmt;
use std::io;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    ending: Ending,
}

/// How the process ends for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With the status that the command has for its own failures.
    Usual,
    /// With this status.
    Status(u8),
    /// By this signal, which somebody sent.
    Signal(i32),
}

impl Failure {
    /// A failure that ends the command in the usual way.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ending: Ending::Usual }
    }

    /// Ends the process in another way.
    pub(crate) fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// How the process is to end.
    pub(crate) fn how(&self) -> Ending {
        self.ending
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says what was tried when the system refused it.
pub(crate) trait Attempt<T> {
    /// `what` completes "cannot …".
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::new(format!("cannot {}: {error}", what())))
    }
}
