//! The VMM's API, as any client has it: HTTP/1.1 over a Unix socket (RFC 9112).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{Attempt, Failure, Result};
use crate::patience::HANG;

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    socket: PathBuf,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Api {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.into() }
    }

    /// Whether somebody listens.
    pub(crate) fn is_there(&self) -> bool {
        UnixStream::connect(&self.socket).is_ok()
    }

    /// Asks for something that has to be done.
    pub(crate) fn put(&self, what: &str, body: Option<&Value>) -> Result<String> {
        let answer = self.ask("PUT", what, body)?;
        match answer.status {
            200..=299 => Ok(answer.body),
            status => Err(Failure::new(format!("{what} has status {status}: {}", answer.body))),
        }
    }

    /// What `vm.info` says is the machine's state; what is said where there is none.
    pub(crate) fn state(&self) -> Result<String> {
        let answer = self.ask("GET", "vm.info", None)?;
        let info: Option<Value> = serde_json::from_str(&answer.body).ok();
        let state = info.as_ref().and_then(|info| info["state"].as_str());
        Ok(match (answer.status, state) {
            (200, Some(state)) => state.to_owned(),
            (status, _) => format!("{status}: {}", answer.body),
        })
    }

    /// One request, with a connection of its own.
    pub(crate) fn ask(&self, method: &str, what: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let ask = || {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(HANG))?;
            stream.set_write_timeout(Some(HANG))?;
            let length = body.len();
            let head = format!(
                "{method} /api/v1/{what} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n"
            );
            stream.write_all((head + &body).as_bytes())?;
            let mut said = Vec::new();
            stream.read_to_end(&mut said)?;
            Ok(String::from_utf8_lossy(&said).into_owned())
        };
        let said: std::io::Result<String> = ask();
        let said = said.attempt(|| format!("ask for {what} at {}", self.socket.display()))?;
        let parse = || {
            let (head, body) = said.split_once("\r\n\r\n")?;
            let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
            Some(Answer { status, body: body.to_owned() })
        };
        parse().ok_or_else(|| Failure::new(format!("the answer to {what} is no HTTP: {said:?}")))
    }
}
