//! Configuration files.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_path_to_error::Track;

use super::VmConfig;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is not JSON, or not of a machine.
    #[error("{}{}", .path.display(), at(.key))]
    Content {
        /// Which file.
        path: PathBuf,
        /// Path of the key that is wrong, as in `cpus.boot_vcpus`; empty where it is none.
        key: String,
        /// What is wrong, and in which line and column.
        #[source]
        source: serde_json::Error,
    },
}

fn at(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(", at \"{key}\"") }
}

impl VmConfig {
    /// Reads a JSON file. What is left out of it has its default; an unknown key is an error.
    ///
    /// # Errors
    /// [`FileError`] names the file, the key, and the line and column.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read(path)
            .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
        Self::from_json(&text, path)
    }

    /// As [`from_file`](Self::from_file), of a file that is read already.
    ///
    /// # Errors
    /// [`FileError::Content`] with the `path`, which nobody opens.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, FileError> {
        Self::parse(text).map_err(|(key, source)| FileError::Content {
            path: path.to_owned(),
            key,
            source,
        })
    }

    fn parse(text: &[u8]) -> Result<Self, (String, serde_json::Error)> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let mut track = Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let config = object(tracked).map_err(|error| {
            let key = track.path().to_string();
            (if key == "." || key == "?" { String::new() } else { key }, error)
        })?;
        // Nothing may follow.
        json.end().map_err(|error| (String::new(), error))?;
        Ok(config)
    }
}

/// Takes a structure from an object only. By itself, serde takes it from an array of its fields,
/// too.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    T::deserialize(ObjectOnly(deserializer))
}

struct ObjectOnly<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CpusConfig, MemoryConfig, Size};
    use super::*;

    /// What is said of a file with this content.
    fn complaint(text: &str) -> String {
        let error = VmConfig::from_json(text.as_bytes(), Path::new("m.json")).unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    }

    fn says(text: &str, words: &[&str]) {
        let said = complaint(text);
        for word in words {
            assert!(said.contains(word), "{text}: no {word:?} in {said}");
        }
    }

    #[test]
    fn keys_are_cloud_hypervisors() {
        let text = r#"{
            "cpus": {"boot_vcpus": 2, "max_vcpus": 4},
            "memory": {"size": 536870912, "hotplug_size": "1G"},
            "payload": {"kernel": "k", "initramfs": "i", "cmdline": "quiet"},
            "machine": {"x-vof": false, "cpu": "POWER10"}
        }"#;
        let config = VmConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.cpus, CpusConfig { boot_vcpus: 2, max_vcpus: Some(4) });
        let memory = MemoryConfig { size: Size(512 << 20), hotplug_size: Size(1 << 30) };
        assert_eq!(config.memory, memory);
        assert_eq!(config.payload.kernel.as_deref(), Some(Path::new("k")));
        assert_eq!(config.machine.x_vof, Some(false));
        assert_eq!(VmConfig::parse(b"{}").unwrap(), VmConfig::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        says("{", &["m.json", "EOF", "line 1 column 1"]);
        says("", &["EOF"]);
        says("[]", &["m.json", "sequence", "expected an object", "line 1"]);
        says("{\"cpus\": [1]}", &["\"cpus\"", "sequence", "expected an object"]);
        says("{\"machine\": [true]}", &["\"machine\"", "sequence"]);
        says("3", &["integer"]);
        says("{} x", &["trailing characters", "column 4"]);
        says("{\n \"cpus\": {\"boot\": 1}}", &["\"cpus.boot\"", "`boot_vcpus`", "line 2"]);
        says("{\"disks\": []}", &["\"disks\"", "`payload`"]);
        says("{\"machine\": {\"x-vof\": 1}}", &["\"machine.x-vof\"", "boolean", "column"]);
        says("{\"machine\": {\"cpu\": \"POWER7\"}}", &["\"machine.cpu\"", "POWER7", "POWER9"]);
        says("{\"memory\": {\"size\": \"lots\"}}", &["\"memory.size\"", "lots", "512M"]);
        says("{\"cpus\": {\"boot_vcpus\": -1}}", &["\"cpus.boot_vcpus\"", "-1"]);
        says("{\"cpus\": {}, \"cpus\": {}}", &["duplicate", "cpus"]);
    }
}
