//! Randomness.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::options::{OptionError, Options};
use super::{DeviceId, HostPath};

/// A source of randomness for the guest: `src=FILE[,id=ID]` on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct RngConfig {
    /// What it is read from, such as `/dev/urandom`.
    pub src: HostPath,
    /// What the device is called; `rng0` and so on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeviceId>,
}

impl RngConfig {
    /// Takes the argument of `--rng` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["src", "id"])?;
        Ok(Self { src: options.need("src")?, id: options.get("id")? })
    }
}
