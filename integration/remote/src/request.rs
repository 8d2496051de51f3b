//! A request, and what its answer is.

use serde_json::Value;

/// A request to the VMM.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Option<String>,
    pub(crate) answer: Answer,
    /// It may take any time, by what it is.
    pub(crate) is_long: bool,
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// JSON, or nothing.
    Json,
    /// Lines of text.
    Text,
}

impl Request {
    pub(crate) const fn get(path: &'static str) -> Self {
        Self { method: "GET", path, body: None, answer: Answer::Json, is_long: false }
    }

    pub(crate) fn put(path: &'static str) -> Self {
        Self { method: "PUT", ..Self::get(path) }
    }

    pub(crate) fn with(self, body: &Value) -> Self {
        Self { body: Some(body.to_string()), ..self }
    }

    pub(crate) fn long(self) -> Self {
        Self { is_long: true, ..self }
    }
}

/// Asked while another request is under way.
pub(crate) const PING: Request = Request::get("/api/v1/vmm.ping");
