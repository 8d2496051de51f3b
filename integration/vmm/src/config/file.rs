//! Configuration files.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer, forward_to_deserialize_any};
use serde_path_to_error::Track;

use super::VmConfig;
use crate::host_file::{self, HostFile};
use crate::quoted;

/// The longest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is named by nothing.
    #[error("its path is empty")]
    NoPath,
    /// It cannot be read.
    #[error("cannot read {}", quoted::path(.path))]
    Read {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It is not JSON, or not of a machine.
    #[error("{}{}", quoted::path(.path), at(.key))]
    Content {
        /// Which file.
        path: PathBuf,
        /// Path of the key that is wrong, as in `cpus.boot_vcpus`; empty where it is none.
        key: String,
        /// What is wrong, and where.
        #[source]
        source: ContentError,
    },
}

impl FileError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::NoPath | Self::Content { .. } => true,
            Self::Read { source, .. } => !host_file::is_the_hosts(source),
        }
    }
}

/// What is wrong with the text of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContentError(String);

/// In the words of the parser, which quotes the file.
impl From<serde_json::Error> for ContentError {
    fn from(error: serde_json::Error) -> Self {
        Self(quoted::text(&error.to_string()))
    }
}

fn at(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(", at \"{}\"", quoted::text(key)) }
}

impl VmConfig {
    /// Reads a JSON file. What is left out of it has its default; an unknown key is an error.
    ///
    /// # Errors
    /// [`FileError`] names the file, the key, and the line and column.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        if path.as_os_str().is_empty() {
            return Err(FileError::NoPath);
        }
        let text = HostFile::open(path)
            .and_then(|file| file.read(MAX_CONFIG_BYTES))
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

    fn parse(text: &[u8]) -> Result<Self, (String, ContentError)> {
        let nowhere = |source| (String::new(), source);
        let text = utf8(text).map_err(nowhere)?;
        let mut json = serde_json::Deserializer::from_str(text);
        let mut track = Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let config: Self = object(tracked).map_err(|error| {
            let key = track.path().to_string();
            (if key == "." || key == "?" { String::new() } else { key }, error.into())
        })?;
        // Nothing may follow.
        json.end().map_err(|error| nowhere(error.into()))?;
        if config.payload.kernel.is_some() && config.payload.boot.is_some() {
            let both = "there can be \"kernel\" or \"boot\", not both";
            return Err(("payload".to_owned(), ContentError(both.to_owned())));
        }
        Ok(config)
    }
}

/// The text of a file in UTF-8, as JSON is to be exchanged (RFC 8259 §8.1), without the mark of the
/// byte order that some editors put before it.
fn utf8(file: &[u8]) -> Result<&str, ContentError> {
    let wrong = |what: String| Err(ContentError(what));
    // A JSON text begins with a character of ASCII: where the zeros of the first ones are tells
    // the others of Unicode's encodings (RFC 4627 §3), and so do their marks.
    let encoding = match *file {
        [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, 1..=0xff, ..] => "UTF-32, big-endian",
        [0xff, 0xfe, 0, 0, ..] | [1..=0xff, 0, 0, 0, ..] => "UTF-32, little-endian",
        [0xfe, 0xff, ..] | [0, 1..=0xff, ..] => "UTF-16, big-endian",
        [0xff, 0xfe, ..] | [1..=0xff, 0, ..] => "UTF-16, little-endian",
        _ => "",
    };
    if !encoding.is_empty() {
        return wrong(format!("this is text in {encoding}; JSON has to be in UTF-8"));
    }
    match std::str::from_utf8(file) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let at = error.valid_up_to();
            let byte = file.get(at).copied().unwrap_or(0);
            wrong(format!("this is no text in UTF-8, as JSON is: byte {at} is {byte:#04x}"))
        }
    }
}

/// Takes a structure from an object only. By itself, serde takes it from an array of its fields,
/// too.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    T::deserialize(ObjectOnly(deserializer))
}

/// As [`object`], of a structure that may be left out.
pub(super) fn some_object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    object(deserializer).map(Some)
}

/// As [`object`], of a list of structures.
pub(super) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(object)| object).collect())
}

/// As [`objects`], or of one structure that is not in a list.
pub(super) fn one_or_more<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct OneOrMore<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object, or a list of them")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            Ok(vec![T::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
            objects(SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(OneOrMore(PhantomData))
}

/// Gives what [`one_or_more`] takes: one is in no list, as with Cloud Hypervisor.
pub(super) fn as_one_or_more<T: Serialize, S: Serializer>(
    all: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match all {
        [one] => one.serialize(serializer),
        all => all.serialize(serializer),
    }
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
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
    use super::super::{
        ConsoleConfig, CpusConfig, DiskConfig, FsConfig, MemoryConfig, NetConfig, NumaConfig,
        NvramConfig, RngConfig, Size, VsockConfig, ZoneConfig,
    };
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
        assert_eq!(config.cpus, CpusConfig { boot_vcpus: 2, max_vcpus: Some(4), topology: None });
        let memory = MemoryConfig {
            size: Size(512 << 20),
            hotplug_size: Size(1 << 30),
            ..Default::default()
        };
        assert_eq!(config.memory, memory);
        assert_eq!(config.payload.kernel.as_deref(), Some(Path::new("k")));
        assert_eq!(config.machine.x_vof, Some(false));
        assert_eq!(VmConfig::parse(b"{}").unwrap(), VmConfig::default());
    }

    #[test]
    fn zones_and_nodes_are_objects() {
        let text = r#"{
            "cpus": {"boot_vcpus": 4, "max_vcpus": 8, "topology":
                {"threads_per_core": 4, "cores_per_die": 2, "dies_per_package": 1, "packages": 1}},
            "memory": {"size": 0, "shared": false, "zones": [
                {"id": "a", "size": "512M", "hugepages": true, "hugepage_size": "2M"},
                {"id": "b", "size": 268435456, "start": "1G", "hotplug_size": "1G", "prefault": true}
            ]},
            "numa": [
                {"guest_numa_id": 0, "cpus": [0, 1, 2, 3], "memory_zones": ["a"],
                    "distances": [{"destination": 1, "distance": 40}]},
                {"guest_numa_id": 1, "cpus": [4, 5, 6, 7], "memory_zones": ["b"]}
            ]
        }"#;
        let config = VmConfig::parse(text.as_bytes()).unwrap();
        let topology = "4:2:1:1".parse().ok();
        assert_eq!(config.cpus, CpusConfig { boot_vcpus: 4, max_vcpus: Some(8), topology });
        let zones = [
            "id=a,size=512M,hugepages=on,hugepage_size=2M",
            "id=b,size=256M,start=1G,hotplug_size=1G,prefault=on",
        ];
        assert_eq!(config.memory.zones, zones.map(|zone| ZoneConfig::parse(zone).unwrap()));
        assert_eq!((config.memory.size, config.memory.shared), (Size(0), Some(false)));
        let nodes = [
            "guest_numa_id=0,cpus=0-3,memory_zones=a,distances=1@40",
            "guest_numa_id=1,cpus=4-7,memory_zones=b",
        ];
        assert_eq!(config.numa, nodes.map(|node| NumaConfig::parse(node).unwrap()));
        config.check_layout().unwrap();
        for (text, words) in [
            (r#"{"memory": {"zones": {}}}"#, &["\"memory.zones\"", "sequence"][..]),
            (r#"{"memory": {"zones": [[0, 1]]}}"#, &["\"memory.zones[0]\"", "an object"]),
            (r#"{"memory": {"zones": [{"id": "a"}]}}"#, &["\"memory.zones[0]\"", "`size`"]),
            (r#"{"memory": {"zones": [{"id": "a b", "size": 1}]}}"#, &["zones[0].id", "an id has"]),
            (
                r#"{"memory": {"zones": [{"id": "a", "size": 1, "file": "f"}]}}"#,
                &["zones[0].file", "`hugepage_size`"],
            ),
            (r#"{"memory": {"hugepages": "on"}}"#, &["\"memory.hugepages\"", "boolean"]),
            (r#"{"cpus": {"topology": "4:2:1:1"}}"#, &["\"cpus.topology\"", "an object"]),
            (r#"{"cpus": {"topology": {"threads_per_core": 1}}}"#, &["`cores_per_die`"]),
            (r#"{"numa": {}}"#, &["\"numa\"", "sequence"]),
            (r#"{"numa": [{"guest_numa_id": 256}]}"#, &["\"numa[0].guest_numa_id\"", "256"]),
            (r#"{"numa": [{"guest_numa_id": 0, "cpus": "0-3"}]}"#, &["numa[0].cpus", "sequence"]),
            (
                r#"{"numa": [{"guest_numa_id": 0, "distances": [{"destination": 1}]}]}"#,
                &["numa[0].distances[0]", "`distance`"],
            ),
        ] {
            says(text, words);
        }
    }

    #[test]
    fn devices_are_objects() {
        let text = r#"{
            "disks": [{"path": "a.raw", "readonly": true}],
            "net": [{"socket": "passt"}],
            "rng": {"src": "/dev/urandom"},
            "vsock": [{"cid": 3, "socket": "v"}],
            "fs": [{"tag": "home", "socket": "f"}],
            "nvram": {"path": "n"},
            "serial": {"mode": "Null"},
            "console": {"mode": "Tty"}
        }"#;
        let config = VmConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.disks, [DiskConfig::parse("path=a.raw,readonly=on").unwrap()]);
        assert_eq!(config.net, [NetConfig::parse("socket=passt").unwrap()]);
        assert_eq!(config.rng, [RngConfig::parse("src=/dev/urandom").unwrap()]);
        assert_eq!(config.vsock, [VsockConfig::parse("cid=3,socket=v").unwrap()]);
        assert_eq!(config.fs, [FsConfig::parse("tag=home,socket=f").unwrap()]);
        assert_eq!(config.nvram, Some(NvramConfig::parse("path=n").unwrap()));
        assert_eq!((config.serial, config.console), (ConsoleConfig::Null, ConsoleConfig::Tty));
        for (text, words) in [
            (r#"{"disks": {"path": "a"}}"#, &["\"disks\"", "sequence"][..]),
            (r#"{"disks": [["a"]]}"#, &["\"disks[0]\"", "an object"]),
            (r#"{"disks": [{}]}"#, &["\"disks[0]\"", "`path`"]),
            (r#"{"disks": [{"path": ""}]}"#, &["\"disks[0].path\"", "the path is empty"]),
            (r#"{"disks": [{"path": "a", "iommu": true}]}"#, &["\"disks[0].iommu\"", "`direct`"]),
            (r#"{"disks": [{"path": "a", "queue_size": 3}]}"#, &["queue_size\"", "power of two"]),
            (
                r#"{"disks": [{"path": "a", "image_type": "vmdk"}]}"#,
                &["image_type\"", "convert -O raw"],
            ),
            (r#"{"net": [{}]}"#, &["\"net[0]\"", "\"tap\" and \"socket\""]),
            (r#"{"net": [{"tap": "t", "socket": "s"}]}"#, &["\"net[0]\"", "not both"]),
            (r#"{"net": [{"tap": "t", "mac": "x"}]}"#, &["\"net[0].mac\"", "six pairs"]),
            (r#"{"rng": "x"}"#, &["\"rng\"", "an object, or a list"]),
            (r#"{"rng": {"source": "x"}}"#, &["\"rng.source\"", "`src`"]),
            (r#"{"rng": ["x"]}"#, &["\"rng[0]\"", "an object"]),
            (r#"{"vsock": {"cid": 2, "socket": "x"}}"#, &["\"vsock.cid\"", "from 3"]),
            (r#"{"vsock": [{"cid": -1, "socket": "x"}]}"#, &["\"vsock[0].cid\"", "-1"]),
            (r#"{"fs": [{"tag": "", "socket": "x"}]}"#, &["\"fs[0].tag\"", "36 bytes"]),
            (r#"{"nvram": "n"}"#, &["\"nvram\"", "an object"]),
            (r#"{"nvram": null}"#, &["\"nvram\"", "an object"]),
            (r#"{"nvram": {}}"#, &["\"nvram\"", "`path`"]),
            (r#"{"nvram": {"path": ""}}"#, &["\"nvram.path\"", "the path is empty"]),
            (r#"{"nvram": {"path": "n", "size": 1}}"#, &["\"nvram.size\"", "`path`"]),
            (r#"{"serial": "tty"}"#, &["\"serial\"", "an object"]),
            (r#"{"serial": {"mode": "Stdio"}}"#, &["\"serial.mode\"", "`Tty`"]),
            (r#"{"console": {"mode": "File"}}"#, &["\"console\"", "\"file\""]),
        ] {
            says(text, words);
        }
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
        says("{\"tpm\": []}", &["\"tpm\"", "`payload`"]);
        says("{\"machine\": {\"x-vof\": 1}}", &["\"machine.x-vof\"", "boolean", "column"]);
        says("{\"machine\": {\"cpu\": \"POWER7\"}}", &["\"machine.cpu\"", "POWER7", "POWER9"]);
        says("{\"memory\": {\"size\": \"lots\"}}", &["\"memory.size\"", "lots", "512M"]);
        says("{\"cpus\": {\"boot_vcpus\": -1}}", &["\"cpus.boot_vcpus\"", "-1"]);
        says("{\"cpus\": {}, \"cpus\": {}}", &["duplicate", "cpus"]);
        says("{\"machine\": {\"cpu\": \"POWER9\", \"cpu\": \"POWER9\"}}", &["duplicate", "`cpu`"]);
        says("{\"cpus\": {\"boot_vcpus\": 4294967296}}", &["\"cpus.boot_vcpus\"", "4294967296"]);
        says("{\"cpus\": {\"boot_vcpus\": 1e999}}", &["number out of range", "line 1"]);
        says("{\"memory\": {\"size\": 18446744073709551616}}", &["\"memory.size\"", "a size"]);
        says(&"[".repeat(1 << 19), &["expected an object"]);
        says(&format!("{{\"memory\": {{\"size\": {}", "[".repeat(1 << 19)), &["\"memory.size\""]);
        says("\0\0\0\0\0\0\0\0", &["expected value"]);
    }

    /// Whatever is in the file: one line that a terminal shows as it is, and no longer than a few.
    #[test]
    fn what_is_quoted_is_escaped_and_cut() {
        let long = "A".repeat(1 << 19);
        for text in [
            "{\"\u{1b}[2J\\u0007\\n\": 1}".to_owned(),
            "{\"memory\": {\"size\": \"\\u001b]0;title\\u0007\u{202e}\\r\\n\"}}".to_owned(),
            "{\"machine\": {\"cpu\": \"\u{9b}31m\"}}".to_owned(),
            format!("{{\"{long}\": 1}}"),
            format!("{{\"cpus\": {{\"{long}\": 1}}}}"),
            format!("{{\"memory\": {{\"size\": \"{long}\"}}}}"),
            format!("{{\"payload\": \"{long}\"}}"),
        ] {
            let said = complaint(&text);
            let plain = |c: char| (' '..='~').contains(&c);
            assert!(said.chars().all(plain) && said.len() < 1000, "{said:?}");
            assert!(said.ends_with(|c: char| c.is_ascii_digit()), "no place: {said}");
        }
    }

    #[test]
    fn encodings_are_named() {
        let text = "{\"cpus\": {\"boot_vcpus\": 3}}";
        let with_mark = format!("\u{feff}{text}");
        let config = VmConfig::parse(with_mark.as_bytes()).unwrap();
        assert_eq!(config.cpus.boot_vcpus, 3);
        let wide = |text: &str, bytes: fn(u32) -> Vec<u8>| -> Vec<u8> {
            text.chars().flat_map(|c| bytes(c.into())).collect()
        };
        for text in [text, &with_mark] {
            for (file, encoding) in [
                (wide(text, |c| (c as u16).to_le_bytes().to_vec()), "UTF-16, little-endian"),
                (wide(text, |c| (c as u16).to_be_bytes().to_vec()), "UTF-16, big-endian"),
                (wide(text, |c| c.to_le_bytes().to_vec()), "UTF-32, little-endian"),
                (wide(text, |c| c.to_be_bytes().to_vec()), "UTF-32, big-endian"),
            ] {
                let (_, error) = VmConfig::parse(&file).unwrap_err();
                assert!(error.to_string().contains(encoding), "{error}");
            }
        }
        let (_, error) = VmConfig::parse(b"{\"payload\": {\"kernel\": \"\xe4\"}}").unwrap_err();
        assert!(error.to_string().ends_with("byte 24 is 0xe4"), "{error}");
    }

    /// What is written is what was read, and has the keys that it is read by.
    #[test]
    fn configurations_are_written_as_they_are_read() {
        let text = r#"{
            "cpus": {"boot_vcpus": 4, "max_vcpus": 8, "topology":
                {"threads_per_core": 4, "cores_per_die": 2, "dies_per_package": 1, "packages": 1}},
            "memory": {"size": 0, "hotplug_size": 0, "shared": true, "zones": [
                {"id": "a", "size": 536870912, "hotplug_size": 0, "hugepages": true},
                {"id": "b", "size": 268435456, "start": 1073741824, "hotplug_size": 268435456}]},
            "numa": [{"guest_numa_id": 0, "cpus": [0, 1], "memory_zones": ["a"],
                "distances": [{"destination": 1, "distance": 40}]}],
            "payload": {"initramfs": "i", "cmdline": "a=b",
                "boot": {"device": "disk0:2", "file": "\\boot\\grub"}},
            "machine": {"x-vof": false, "cpu": "POWER10", "interrupts": "xive", "mmu": "radix"},
            "disks": [{"path": "d", "readonly": true, "direct": false, "image_type": "Qcow2",
                "id": "root", "num_queues": 2, "queue_size": 128}],
            "net": [{"tap": "tap0", "vhost": true, "mac": "52:54:00:12:34:56"},
                {"vhost": false, "socket": "s", "id": "lan"}],
            "rng": {"src": "/dev/urandom"},
            "vsock": [{"cid": 3, "socket": "v"}, {"cid": 4, "id": "w"}],
            "fs": [{"tag": "t\u00e4", "socket": "f", "num_queues": 1, "queue_size": 1024}],
            "nvram": {"path": "n"},
            "serial": {"mode": "File", "file": "o"},
            "console": {"mode": "Socket", "socket": "c"}
        }"#;
        let read = VmConfig::parse(text.as_bytes()).unwrap();
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).unwrap());
        for config in [read, VmConfig::default()] {
            let written = serde_json::to_vec(&config).unwrap();
            assert_eq!(VmConfig::parse(&written).unwrap(), config);
        }
    }
}
