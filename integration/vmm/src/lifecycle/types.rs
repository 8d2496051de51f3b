//! What the verbs take and tell, with the keys of Cloud Hypervisor's API.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::ser::Error;
use serde::{Deserialize, Serialize, Serializer};

use crate::config::{Body, VmConfig};
use crate::consoles::Ptys;

/// What a VMM is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ping {
    /// What was built, with its version.
    pub build_version: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// What it was built with.
    pub features: Vec<String>,
}

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum VmState {
    /// It is known, and does not run.
    Created,
    /// It runs.
    Running,
    /// It stands still.
    Paused,
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VmInfo {
    /// What it is called, where it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is, with the devices that it has by now.
    #[schemars(with = "VmConfig")]
    pub config: ShownConfig,
    /// Where it is in its life.
    pub state: VmState,
    /// How much memory its guest has, in bytes.
    pub memory_actual_size: u64,
    /// How many virtual CPUs its guest has.
    pub cpus_actual: u64,
}

/// A configuration as it is shown: the `file` of a console with mode `Pty` is the name of the
/// pseudo-terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownConfig {
    /// The configuration.
    pub config: VmConfig,
    pub(super) ptys: Ptys,
}

impl Serialize for ShownConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut config = serde_json::to_value(&self.config).map_err(S::Error::custom)?;
        for (console, pty) in [("serial", &self.ptys.serial), ("console", &self.ptys.console)] {
            if let Some(pty) = pty {
                config[console]["file"] = pty.to_string_lossy().into();
            }
        }
        config.serialize(serializer)
    }
}

/// How large a machine is to be; what is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub struct Resize {
    /// Virtual CPUs in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_vcpus: Option<u32>,
    /// Memory in all, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_ram: Option<u64>,
    /// There is no balloon: 0, or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_balloon: Option<u64>,
}

/// A device that a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct RemoveDevice {
    /// What it is called.
    pub id: String,
}

/// Where a machine is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Snapshot {
    /// A folder, as `file:///PATH`.
    pub destination_url: String,
}

/// A saved machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Restore {
    /// The folder that it is in, as `file:///PATH`.
    pub source_url: String,
    /// Whether all of its memory is read before it runs, in place of each page when it is used.
    #[serde(default)]
    pub prefault: bool,
    /// Whether it runs at once; otherwise it stands still.
    #[serde(default)]
    pub resume: bool,
}

/// Where a machine goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct SendMigration {
    /// Who takes it, as `unix:PATH` or `tcp:ADDRESS:PORT`.
    pub destination_url: String,
    /// Cloud Hypervisor's way without a copy, which is not here: false, or left out.
    #[serde(default)]
    pub local: bool,
    /// How long it may stand still, in milliseconds; 100 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime_ms: Option<u64>,
    /// How long all of it may take, in seconds; 3600 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// What is done when that is over.
    #[serde(default)]
    pub timeout_strategy: TimeoutStrategy,
}

/// What is done when a migration takes too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimeoutStrategy {
    /// It is given up, and the machine goes on where it is.
    #[default]
    Cancel,
    /// The machine stands still for as long as it takes.
    Ignore,
}

impl FromStr for TimeoutStrategy {
    type Err = &'static str;

    /// In whatever case: as pseries-remote is told it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            _ if text.eq_ignore_ascii_case("cancel") => Ok(Self::Cancel),
            _ if text.eq_ignore_ascii_case("ignore") => Ok(Self::Ignore),
            _ => Err("the strategies are cancel and ignore"),
        }
    }
}

/// Where a machine comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ReceiveMigration {
    /// Where it is waited for, as `unix:PATH` or `tcp:ADDRESS:PORT`.
    pub receiver_url: String,
}

/// The places in the table of keys that other VMMs have.
macro_rules! bodies {
    ($($body:ident: $place:literal),*) => {$(
        impl Body for $body {
            const PLACE: &'static str = $place;
        }
    )*};
}
bodies!(
    Resize: "resize",
    RemoveDevice: "device",
    Snapshot: "snapshot",
    Restore: "restore",
    SendMigration: "migration",
    ReceiveMigration: "migration"
);
