//! Disks.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::options::{OptionError, Options, Switch};
use super::{DeviceId, HostPath, QueueCount, QueueSize, as_text};

/// A disk: `path=FILE[,readonly=on|off][,direct=on|off][,image_type=raw|qcow2][,id=ID]
/// [,num_queues=N][,queue_size=N]` on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct DiskConfig {
    /// The image: a file, or a block device.
    pub path: HostPath,
    /// Whether the guest can only read it; then others may read it as well.
    #[serde(default)]
    pub readonly: bool,
    /// Whether the host's page cache is left out (O_DIRECT).
    #[serde(default)]
    pub direct: bool,
    /// What the image is. When left out it is taken as raw, unless it looks like another: then this
    /// has to be said, as the guest could have written what it looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_type: Option<ImageType>,
    /// What the disk is called; `disk0` and so on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeviceId>,
    /// How many queues it has.
    #[serde(default)]
    pub num_queues: QueueCount,
    /// How many descriptors each queue has.
    #[serde(default = "usual")]
    pub queue_size: QueueSize,
}

fn usual() -> QueueSize {
    QueueSize::USUAL
}

/// The format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("enum" = ["raw", "qcow2", "Raw", "Qcow2"]))]
pub enum ImageType {
    /// The disk, byte for byte.
    Raw,
    /// QEMU's format, version 2 or 3: known, to be refused by name.
    Qcow2,
}

/// In any case of letters: Cloud Hypervisor writes `Raw`.
impl FromStr for ImageType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            _ if text.eq_ignore_ascii_case("raw") => Ok(Self::Raw),
            _ if text.eq_ignore_ascii_case("qcow2") => Ok(Self::Qcow2),
            _ => Err("the type of an image is raw; of others, `qemu-img convert -O raw` makes one"),
        }
    }
}

as_text!(ImageType, |format| format!("{format:?}"));

impl DiskConfig {
    /// Takes the argument of `--disk` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let keys = ["path", "readonly", "direct", "image_type", "id", "num_queues", "queue_size"];
        let options = Options::parse(text, &keys)?;
        let switch =
            |key| Ok::<_, OptionError>(options.get(key)?.is_some_and(|Switch(is_on)| is_on));
        Ok(Self {
            path: options.need("path")?,
            readonly: switch("readonly")?,
            direct: switch("direct")?,
            image_type: options.get("image_type")?,
            id: options.get("id")?,
            num_queues: options.get("num_queues")?.unwrap_or_default(),
            queue_size: options.get("queue_size")?.unwrap_or(QueueSize::USUAL),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_disks() {
        let disk = DiskConfig::parse("path=/a b.raw").unwrap();
        let json: DiskConfig = serde_json::from_str(r#"{"path": "/a b.raw"}"#).unwrap();
        assert_eq!(disk, json);
        assert_eq!((disk.num_queues.get(), disk.queue_size.get()), (1, 256));
        let all = "path=x,readonly=on,direct=on,image_type=Raw,id=root,num_queues=4,queue_size=128";
        let json = r#"{"path": "x", "readonly": true, "direct": true, "image_type": "raw",
            "id": "root", "num_queues": 4, "queue_size": 128}"#;
        assert_eq!(DiskConfig::parse(all).unwrap(), serde_json::from_str(json).unwrap());
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (text, words) in [
            ("", "key=value"),
            ("a.raw", "key=value"),
            ("readonly=on", "\"path\" is missing"),
            ("path=", "path=: the path is empty"),
            ("path=a,b.raw", "no comma"),
            ("path=a,readonly=yes", "readonly=yes"),
            ("path=a,readonly", "key=value"),
            ("path=a,path=b", "twice"),
            ("path=a,file=b", "\"file\""),
            ("path=a,image_type=vmdk", "convert -O raw"),
            ("path=a,num_queues=0", "1 to 64"),
            ("path=a,queue_size=100", "power of two"),
            ("path=a,id=a b", "an id has"),
        ] {
            let error = DiskConfig::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
