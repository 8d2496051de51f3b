//! Non-volatile memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::devices::HostPath;
use super::options::{OptionError, Options};

/// Where the machine's non-volatile memory is kept: `path=FILE` on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct NvramConfig {
    /// The file: made where it is not there.
    pub path: HostPath,
}

impl NvramConfig {
    /// Takes the argument of `--nvram` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["path"])?;
        Ok(Self { path: options.need("path")? })
    }

    /// How it is named on the command line.
    pub(crate) fn label(&self) -> String {
        format!("--nvram path={}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_objects_are_the_same() {
        let flag = NvramConfig::parse("path=a b").unwrap();
        assert_eq!(flag, serde_json::from_str(r#"{"path": "a b"}"#).unwrap());
        assert_eq!(flag.label(), "--nvram path=a b");
        for (text, words) in [
            ("", "key=value"),
            ("a", "key=value"),
            ("path=", "the path is empty"),
            ("path=a,size=8K", "\"size\""),
            ("path=a,b", "no comma"),
        ] {
            let error = NvramConfig::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
