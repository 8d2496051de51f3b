//! Folders of the host.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::options::{OptionError, Options};
use super::{DeviceId, HostPath, QueueCount, QueueSize, as_text};
use crate::quoted;

/// The longest tag, in bytes (Virtio 1.2 §5.11.4).
const TAG_BYTES_MAX: usize = 36;

/// A folder of the host that the guest can mount: `tag=TAG,socket=PATH[,id=ID][,num_queues=N]
/// [,queue_size=N]` on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct FsConfig {
    /// What the guest mounts it by.
    pub tag: Tag,
    /// The Unix socket of the program that has it, such as virtiofsd (vhost-user).
    pub socket: HostPath,
    /// What the device is called; `fs0` and so on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeviceId>,
    /// How many queues of requests it has.
    #[serde(default)]
    pub num_queues: QueueCount,
    /// How many descriptors each queue has.
    #[serde(default = "large")]
    pub queue_size: QueueSize,
}

fn large() -> QueueSize {
    QueueSize::LARGE
}

impl FsConfig {
    /// Takes the argument of `--fs` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["tag", "socket", "id", "num_queues", "queue_size"])?;
        Ok(Self {
            tag: options.need("tag")?,
            socket: options.need("socket")?,
            id: options.get("id")?,
            num_queues: options.get("num_queues")?.unwrap_or_default(),
            queue_size: options.get("queue_size")?.unwrap_or(QueueSize::LARGE),
        })
    }
}

/// What a guest mounts a folder by: 1 to 36 bytes.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("minLength" = 1))]
pub struct Tag(String);

impl Tag {
    /// The same as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_short = (1..=TAG_BYTES_MAX).contains(&text.len());
        let is_plain = !text.contains(char::is_control);
        let tag = (is_short && is_plain).then(|| Self(text.to_owned()));
        tag.ok_or("a tag is a text of 1 to 36 bytes")
    }
}

as_text!(Tag, |Tag(text)| text);

/// As it can be shown.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted::text(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_a_length() {
        let fs = FsConfig::parse("tag=home,socket=/run/fs").unwrap();
        assert_eq!((fs.num_queues.get(), fs.queue_size.get()), (1, 1024));
        assert!("x".repeat(36).parse::<Tag>().is_ok());
        for tag in ["", "a\0", &"x".repeat(37)] {
            let error = FsConfig::parse(&format!("tag={tag},socket=s")).unwrap_err().to_string();
            assert!(error.contains("1 to 36 bytes"), "{error}");
        }
        let error = FsConfig::parse("tag=home").unwrap_err().to_string();
        assert!(error.contains("\"socket\" is missing"), "{error}");
    }
}
