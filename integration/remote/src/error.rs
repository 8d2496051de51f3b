//! What can go wrong, in words for whoever typed the verb.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is nobody at the socket.
    #[error("there is no VMM at {}", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    /// There is something else.
    #[error("there is no VMM at {}: that is no socket", .socket.display())]
    NoSocket { socket: PathBuf },
    /// Nothing comes.
    #[error(
        "the VMM at {} has not answered in {} s (--timeout SECONDS says how long it may take)",
        .socket.display(), .limit.as_secs()
    )]
    Slow { socket: PathBuf, limit: Duration },
    /// It ended instead of an answer.
    #[error("the VMM at {} went away before its answer was complete", .socket.display())]
    Closed { socket: PathBuf },
    /// Something else has the socket.
    #[error("what answers at {} does not speak HTTP: {why}", .socket.display())]
    NoHttp { socket: PathBuf, why: String },
    /// No answer of a VMM is that long.
    #[error("the answer from {} is longer than {limit} bytes", .socket.display())]
    TooLong { socket: PathBuf, limit: usize },
    /// The answer is not what was asked for.
    #[error("the VMM's answer is not JSON")]
    NotJson { source: serde_json::Error },
    /// The VMM says no.
    #[error("{what}: {}{refusal}", status_words(.status))]
    Refused { what: &'static str, status: StatusCode, refusal: Refusal },
    /// A file that is to be sent cannot be.
    #[error("cannot use {}", .path.display())]
    File { path: PathBuf, source: io::Error },
    /// There is no configuration.
    #[error("create needs the FILE of a configuration; - is standard input")]
    NothingToCreate,
    /// A device cannot be written down: its path is no text.
    #[error("cannot write the request")]
    Body { source: serde_json::Error },
    /// The answer cannot be written.
    #[error("cannot write the answer to standard output")]
    Output { source: io::Error },
    /// The host has no room.
    #[error("cannot wait for the VMM")]
    Runtime { source: io::Error },
}

impl Error {
    /// The exit status: 2 for what the user said, 1 for the VMM and the host.
    pub(crate) const fn status(&self) -> u8 {
        match self {
            Self::File { .. } | Self::NothingToCreate | Self::Body { .. } => 2,
            _ => 1,
        }
    }
}

fn status_words(status: &StatusCode) -> String {
    match status.canonical_reason() {
        Some(words) => format!("{} {words}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// Why the VMM says no: what it is, then what that came from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(Vec<String>);

impl Refusal {
    /// Of the body of an answer: a list of texts in JSON, or any text.
    pub(crate) fn of(body: &[u8]) -> Self {
        if let Ok(causes) = serde_json::from_slice(body) {
            return Self(causes);
        }
        let text = String::from_utf8_lossy(body).trim().to_owned();
        Self(if text.is_empty() { Vec::new() } else { vec![text] })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// An error with what it came from, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_causes() {
        let said = |body: &str| Refusal::of(body.as_bytes()).to_string();
        assert_eq!(
            said(r#"["cannot boot", "no kernel", "ENOENT"]"#),
            ": cannot boot: no kernel: ENOENT"
        );
        assert_eq!(said("No such path\n"), ": No such path");
        assert_eq!(said("\"x\""), ": \"x\"");
        assert_eq!(said(""), "");
        assert_eq!(said("[]"), "");
        let error =
            Error::Refused { what: "/a", status: StatusCode::NOT_FOUND, refusal: Refusal::of(b"") };
        assert_eq!(with_causes(&error), "/a: 404 Not Found");
    }
}
