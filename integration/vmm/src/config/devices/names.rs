//! Names: of files on the host, and of devices.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::as_text;
use crate::quoted;

/// The longest id of a device, in bytes.
const ID_BYTES_MAX: usize = 32;

/// The path of a file on the host, not empty; relative to where the program runs.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 1))]
pub struct HostPath(PathBuf);

impl HostPath {
    /// The same path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for HostPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("the path is empty"),
            _ if text.contains('\0') => Err("no path has a zero byte in it"),
            _ => Ok(Self(text.into())),
        }
    }
}

as_text!(HostPath, |HostPath(path)| path.to_string_lossy().into_owned());

/// As it can be shown.
impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted::path(&self.0))
    }
}

/// What a device is called: letters, digits, `-`, `_` and `.`, at most 32, the first of them no
/// sign.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"))]
pub struct DeviceId(String);

impl DeviceId {
    /// The one that a device has when it is given none: what it is, and which of them, from 0 on.
    pub(super) fn default_of(kind: &str, number: usize) -> Self {
        Self(format!("{kind}{number}"))
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= ID_BYTES_MAX && text.chars().all(is_name) {
            return Ok(Self(text.to_owned()));
        }
        Err("an id has 1 to 32 letters, digits, -, _ and ., and begins with a letter or digit")
    }
}

as_text!(DeviceId, |DeviceId(id)| id);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_names() {
        for id in ["disk0", "0", "root-disk_1.b", &"x".repeat(32)] {
            assert_eq!(id.parse::<DeviceId>().unwrap().as_str(), id);
        }
        for id in ["", "_disk", ".", "a b", "a/b", "ä", "a\n", &"x".repeat(33)] {
            assert!(id.parse::<DeviceId>().is_err(), "{id}");
        }
    }

    #[test]
    fn paths_are_not_empty() {
        assert_eq!("a b".parse::<HostPath>().unwrap().as_path(), Path::new("a b"));
        assert_eq!("".parse::<HostPath>(), Err("the path is empty"));
        assert!("a\0".parse::<HostPath>().is_err());
    }
}
