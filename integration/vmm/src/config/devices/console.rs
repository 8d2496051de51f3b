//! Where consoles are on the host.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HostPath;

/// Where the other end of a console is: `tty`, `pty`, `null`, `off`, `file=PATH` or `socket=PATH`
/// on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "Keys", into = "Keys")]
#[schemars(!try_from, with = "Keys")]
pub enum ConsoleConfig {
    /// Nowhere: there is no console.
    Off,
    /// Nowhere: what is written is dropped, and nothing comes.
    Null,
    /// At standard input and output of this process.
    Tty,
    /// At a new pseudo-terminal, whose name is told on standard error.
    Pty,
    /// In a file, which is written anew; nothing comes.
    File(HostPath),
    /// At whoever connects to this Unix socket, one after the other.
    Socket(HostPath),
}

/// Where the other end of a console is.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schemars(rename = "ConsoleConfig")]
struct Keys {
    /// What kind of end it has.
    mode: Mode,
    /// The file of mode `File`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<HostPath>,
    /// The Unix socket of mode `Socket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    socket: Option<HostPath>,
}

/// What kind of end a console has.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "ConsoleMode")]
enum Mode {
    /// There is no console.
    #[serde(alias = "off")]
    Off,
    /// What is written is dropped, and nothing comes.
    #[serde(alias = "null")]
    Null,
    /// Standard input and output of this process.
    #[serde(alias = "tty")]
    Tty,
    /// A new pseudo-terminal, whose name is told on standard error.
    #[serde(alias = "pty")]
    Pty,
    /// A file, which is written anew; nothing comes.
    #[serde(alias = "file")]
    File,
    /// Whoever connects to a Unix socket, one after the other.
    #[serde(alias = "socket")]
    Socket,
}

impl TryFrom<Keys> for ConsoleConfig {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        match (keys.mode, keys.file, keys.socket) {
            (Mode::Off, None, None) => Ok(Self::Off),
            (Mode::Null, None, None) => Ok(Self::Null),
            (Mode::Tty, None, None) => Ok(Self::Tty),
            (Mode::Pty, None, None) => Ok(Self::Pty),
            (Mode::File, Some(file), None) => Ok(Self::File(file)),
            (Mode::Socket, None, Some(socket)) => Ok(Self::Socket(socket)),
            (Mode::File, ..) => Err("mode File needs the key \"file\", and no \"socket\""),
            (Mode::Socket, ..) => Err("mode Socket needs the key \"socket\", and no \"file\""),
            _ => Err("only the modes File and Socket have a \"file\" or \"socket\""),
        }
    }
}

impl From<ConsoleConfig> for Keys {
    fn from(config: ConsoleConfig) -> Self {
        let (mode, file, socket) = match config {
            ConsoleConfig::Off => (Mode::Off, None, None),
            ConsoleConfig::Null => (Mode::Null, None, None),
            ConsoleConfig::Tty => (Mode::Tty, None, None),
            ConsoleConfig::Pty => (Mode::Pty, None, None),
            ConsoleConfig::File(path) => (Mode::File, Some(path), None),
            ConsoleConfig::Socket(path) => (Mode::Socket, None, Some(path)),
        };
        Self { mode, file, socket }
    }
}

impl FromStr for ConsoleConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = |path: &str| path.parse().map_err(|why| format!("{text}: {why}"));
        match text.split_once('=') {
            None if text == "off" => Ok(Self::Off),
            None if text == "null" => Ok(Self::Null),
            None if text == "tty" => Ok(Self::Tty),
            None if text == "pty" => Ok(Self::Pty),
            Some(("file", path)) => Ok(Self::File(at(path)?)),
            Some(("socket", path)) => Ok(Self::Socket(at(path)?)),
            _ => Err("a console is tty, pty, null, off, file=PATH or socket=PATH".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_ends() {
        for (text, json) in [
            ("off", r#"{"mode": "Off"}"#),
            ("null", r#"{"mode": "null"}"#),
            ("tty", r#"{"mode": "Tty"}"#),
            ("pty", r#"{"mode": "Pty"}"#),
            ("file=/a,b=c", r#"{"mode": "File", "file": "/a,b=c"}"#),
            ("socket=s", r#"{"mode": "Socket", "socket": "s"}"#),
        ] {
            assert_eq!(
                text.parse::<ConsoleConfig>().unwrap(),
                serde_json::from_str(json).unwrap(),
                "{text}"
            );
        }
        for text in ["", "stdout", "file", "file=", "socket=", "tty=x", "TTY"] {
            assert!(text.parse::<ConsoleConfig>().is_err(), "{text}");
        }
        for json in [
            r#"{"mode": "File"}"#,
            r#"{"mode": "Tty", "file": "x"}"#,
            r#"{"mode": "File", "socket": "x"}"#,
            r#"{"mode": "Socket", "file": "x", "socket": "x"}"#,
            r#"{"file": "x"}"#,
        ] {
            assert!(serde_json::from_str::<ConsoleConfig>(json).is_err(), "{json}");
        }
    }
}
