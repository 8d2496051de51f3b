//! Why something is not proved.

use std::fmt::Display;

/// What did not hold, or could not be tried.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// The same, and what else there is to know.
    pub(crate) fn with(self, more: impl Display) -> Self {
        Self(format!("{}\n{more}", self.0))
    }
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What was tried when an operation of the host's failed.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Display> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure(format!("cannot {}: {error}", what())))
    }
}
