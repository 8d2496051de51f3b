//! What a machine without a kernel starts from.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::devices::as_text;
use super::options::{OptionError, Options};

/// What is started: `device=DEVICE[,file=FILE]` on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct BootConfig {
    /// What the machine starts from, and from nothing else: `disk0`, `disk1` and so on, in the order
    /// of `disks`; `disk`, the first that is no CD; `cdrom`, the first that is `readonly` and has an
    /// ISO 9660 file system; `net0` and so on, or `net`; the `id` of a disk or network interface; or
    /// the path of a node in the device tree. A partition may follow, as in `disk0:2`. What a guest
    /// names in its call of `boot` comes before, once.
    pub device: Name,
    /// The path of a program on a FAT or ISO 9660 file system of the disk or partition, such as
    /// `\boot\grub\powerpc.elf`; of the network's server. When left out, it is what the device has
    /// for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
}

/// What names something: not empty, and no longer than a device specifier can be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("minLength" = 1, "maxLength" = NAME_BYTES_MAX))]
pub struct Name(String);

/// As long as a device specifier of the client interface.
const NAME_BYTES_MAX: usize = 1023;

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("it is empty"),
            _ if text.contains('\0') => Err("it has a zero byte in it"),
            _ if text.len() > NAME_BYTES_MAX => Err("it is longer than 1023 bytes"),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

as_text!(Name, |Name(text)| text);

impl BootConfig {
    /// Takes the argument of `--boot` apart.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let options = Options::parse(text, &["device", "file"])?;
        Ok(Self { device: options.need("device")?, file: options.get("file")? })
    }

    /// How it is named on the command line.
    #[cfg(feature = "vof")]
    pub(crate) fn label(&self) -> String {
        let file =
            self.file.as_ref().map_or_else(String::new, |Name(file)| format!(",file={file}"));
        format!("--boot device={}{file}", self.device.0)
    }

    /// The device specifier (IEEE 1275 §4.3.1) that it is, with the path of a device that is called
    /// by its id.
    pub fn specifier<'p>(&self, path_of_id: impl FnOnce(&str) -> Option<&'p str>) -> String {
        let Name(device) = &self.device;
        let (id, arguments) = device.split_at(device.find(':').unwrap_or(device.len()));
        let mut specifier = format!("{}{arguments}", path_of_id(id).unwrap_or(id));
        if let Some(Name(file)) = &self.file {
            let has_arguments = specifier.contains(':');
            specifier.push(if has_arguments { ',' } else { ':' });
            if !file.starts_with(['\\', '/']) {
                specifier.push('\\');
            }
            specifier.push_str(file);
        }
        specifier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_device_and_a_file() {
        let parsed = |text| BootConfig::parse(text).unwrap();
        let json = |text| serde_json::from_str::<BootConfig>(text).unwrap();
        assert_eq!(parsed("device=disk0"), json(r#"{"device": "disk0"}"#));
        let both = parsed("device=disk0:2,file=\\boot\\grub");
        assert_eq!(both, json(r#"{"device": "disk0:2", "file": "\\boot\\grub"}"#));
        for (text, words) in [
            ("file=x", "\"device\" is missing"),
            ("disk0", "key=value"),
            ("device=", "device=: it is empty"),
            ("device=disk0,file=", "file=: it is empty"),
            (&format!("device={}", "x".repeat(1024)), "1023"),
            ("device=disk0,partition=1", "\"partition\""),
        ] {
            let error = BootConfig::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn ids_are_paths_of_devices() {
        let specifier = |text| {
            BootConfig::parse(text).unwrap().specifier(|id| (id == "root").then_some("/pci/scsi@1"))
        };
        for (text, expected) in [
            ("device=root", "/pci/scsi@1"),
            ("device=root:2", "/pci/scsi@1:2"),
            ("device=root,file=\\a\\b", "/pci/scsi@1:\\a\\b"),
            ("device=root:2,file=a", "/pci/scsi@1:2,\\a"),
            ("device=disk,file=/a", "disk:/a"),
            ("device=/pci/scsi@2:1", "/pci/scsi@2:1"),
            ("device=rooted", "rooted"),
        ] {
            assert_eq!(specifier(text), expected);
        }
    }
}
