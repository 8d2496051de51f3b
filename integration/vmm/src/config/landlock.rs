//! Files that the program may have besides those that its machine is made of.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VmConfig;
use super::devices::HostPath;
use super::options::{OptionError, Options};

/// A file, or a folder with all that is in it, that the program may use though nothing in its
/// configuration names it: `path=PATH,access=rw` on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct LandlockRule {
    /// The file or folder, which has to be there.
    pub path: HostPath,
    /// What may be done with it.
    pub access: LandlockAccess,
}

/// What may be done with files: `r` for reading, `w` for writing, making and removing, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("enum" = ["r", "w", "rw", "wr"]))]
pub struct LandlockAccess {
    /// Files are read, and folders are listed.
    pub read: bool,
    /// Files are written, made and removed.
    pub write: bool,
}

impl FromStr for LandlockAccess {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "r" => Ok(Self { read: true, write: false }),
            "w" => Ok(Self { read: false, write: true }),
            "rw" | "wr" => Ok(Self { read: true, write: true }),
            _ => Err("the values are r, w and rw"),
        }
    }
}

impl TryFrom<String> for LandlockAccess {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LandlockAccess> for String {
    fn from(access: LandlockAccess) -> Self {
        access.to_string()
    }
}

impl fmt::Display for LandlockAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.read, self.write) {
            (true, true) => "rw",
            (false, true) => "w",
            _ => "r",
        })
    }
}

impl LandlockRule {
    /// Takes one value of `--landlock-rules` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["path", "access"])?;
        Ok(Self { path: options.need("path")?, access: options.need("access")? })
    }
}

/// As on the command line.
impl fmt::Display for LandlockRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--landlock-rules path={},access={}", self.path, self.access)
    }
}

impl VmConfig {
    /// The same machine without what it says of landlock: whoever wrote a machine that was saved, or
    /// sends one, does not say what this process may have.
    #[must_use]
    pub fn without_landlock(self) -> Self {
        Self { landlock_enable: None, landlock_rules: Vec::new(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_ones_rules_do_not_count() {
        let rule = LandlockRule::parse("path=/,access=rw").unwrap();
        let rules = vec![rule];
        let own = VmConfig::default();
        let other = VmConfig { landlock_enable: Some(false), landlock_rules: rules, ..own.clone() };
        assert_ne!(other, own);
        assert_eq!(other.without_landlock(), own);
    }

    #[test]
    fn arguments_and_objects_are_the_same() {
        for (text, shown) in [("r", "r"), ("w", "w"), ("rw", "rw"), ("wr", "rw")] {
            let flag = LandlockRule::parse(&format!("path=/a b,access={text}")).unwrap();
            let json = format!(r#"{{"path": "/a b", "access": "{text}"}}"#);
            assert_eq!(flag, serde_json::from_str(&json).unwrap());
            assert_eq!(flag.to_string(), format!("--landlock-rules path=/a b,access={shown}"));
            let written = serde_json::to_value(&flag).unwrap();
            assert_eq!(written, serde_json::json!({"path": "/a b", "access": shown}));
        }
        for (text, words) in [
            ("path=/a", "access"),
            ("access=r", "path"),
            ("path=/a,access=x", "the values are r, w and rw"),
            ("path=/a,access=r,more=1", "\"more\""),
        ] {
            let error = LandlockRule::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let json = r#"{"path": "/a", "access": "all"}"#;
        let error = serde_json::from_str::<LandlockRule>(json).unwrap_err().to_string();
        assert!(error.contains("the values are r, w and rw"), "{error}");
    }
}
