//! Answers, and what is wrong with requests.

use hyper::StatusCode;

use super::workers::Full;
use crate::config::BodyError;
use crate::confine;
use crate::lifecycle::{Blame, LifecycleError};
use crate::reasons::reasons;

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// There is no such path.
    #[error("there is no {0}")]
    NoPath(String),
    /// It is there for another method.
    #[error("{path} is for {allowed}")]
    Method { path: &'static str, allowed: &'static str },
    /// Its body is too large.
    #[error("a request has at most {0} bytes")]
    TooLarge(usize),
    /// Its body did not come.
    #[error("the request's body cannot be read: {0}")]
    Unread(String),
    /// It has a body, and needs none.
    #[error("{0} takes no body")]
    NoBody(&'static str),
    /// Its body is wrong.
    #[error("{0}")]
    Body(&'static str, #[source] BodyError),
    /// It cannot be done.
    #[error("{0} cannot be done")]
    Verb(&'static str, #[source] LifecycleError),
    /// Nobody has time for it.
    #[error(transparent)]
    Full(#[from] Full),
    /// A bug.
    #[error("this request was given up: this is a bug")]
    GivenUp,
    /// The answer cannot be written.
    #[error("the answer cannot be written")]
    Unwritable(#[source] serde_json::Error),
}

impl ApiError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoPath(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unread(_) | Self::NoBody(_) | Self::Body(..) => StatusCode::BAD_REQUEST,
            Self::Verb(_, error) => match error.blame() {
                Blame::Request => StatusCode::BAD_REQUEST,
                Blame::NotFound => StatusCode::NOT_FOUND,
                Blame::State => StatusCode::METHOD_NOT_ALLOWED,
                Blame::Conflict => StatusCode::CONFLICT,
                Blame::Host => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::GivenUp | Self::Unwritable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The reasons, and what may help.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = reasons(self);
        reasons.extend(confine::hint(self).map(str::to_owned));
        reasons
    }
}
